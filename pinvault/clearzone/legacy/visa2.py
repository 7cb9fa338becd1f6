"""Visa format 2 (IBM VISA-2): length, a PIN of 4 to 6 digits, and decimal fill.

Nibbles: length 4 to 6, digits zero-filled on the right to six, nine decimal digits. IBM
repeats one digit; the Docutel block (payShield format 02) is the same with digits of the
user's choice, and so any are good here.
"""

from pinvault.clearzone.legacy.short_field import join, split
from pinvault.clearzone.pin import Pin


def encode(pin: Pin, fill: bytes) -> bytes:
    """Give the clear 8-byte block; `fill` is at least nine ASCII digits.

    Raise Malformed when the PIN has more than six digits.

    >>> encode(Pin(b"1234"), b"987654321").hex().upper()
    '4123400987654321'
    """
    return join(pin, fill)


def decode(block: bytes) -> Pin:
    """Read a clear 8-byte block, or raise Malformed.

    >>> with decode(bytes.fromhex("4123400555555555")) as pin:
    ...     pin
    <PIN>
    >>> decode(bytes.fromhex("412340055555555A"))
    Traceback (most recent call last):
    pinvault.clearzone.pin.Malformed
    """
    return split(block, fill_alphabet=b"0123456789")

"""Eurocheque format 3 (IBM ECI-3): length, a PIN of 4 to 6 digits, and nibbles of any value.

Nibbles: length 4 to 6, digits zero-filled on the right to six, nine nibbles of any value.
"""

from binascii import hexlify

from pinvault.clearzone.legacy.short_field import join, split
from pinvault.clearzone.pin import Pin

RANDOM_BYTES = 5


def encode(pin: Pin, random: bytes) -> bytes:
    """Give the clear 8-byte block; `random` is five random bytes, of which nine nibbles are used.

    Raise Malformed when the PIN has more than six digits.

    >>> encode(Pin(b"1234"), bytes.fromhex("ABCDEF0123")).hex().upper()
    '4123400ABCDEF012'
    """
    return join(pin, hexlify(random))


def decode(block: bytes) -> Pin:
    """Read a clear 8-byte block, or raise Malformed.

    >>> with decode(bytes.fromhex("4123400ABCDEF012")) as pin:
    ...     pin
    <PIN>
    >>> decode(bytes.fromhex("4123401ABCDEF012"))
    Traceback (most recent call last):
    pinvault.clearzone.pin.Malformed
    """
    return split(block, fill_alphabet=b"0123456789abcdef")

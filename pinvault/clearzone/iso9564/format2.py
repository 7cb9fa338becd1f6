"""ISO 9564-1:2017 format 2 (9.3.4): a PIN field with fill F; no PAN and nothing random.

Nibbles: control 2, length 4 to C, digits, F to the end. It is the form in which an IC card
takes a PIN (payShield format 34): the same PIN and key give the same block for every card.
"""

from pinvault.clearzone.iso9564.fields import DIGIT_NIBBLES, join, split
from pinvault.clearzone.pin import Pin


def encode(pin: Pin) -> bytes:
    """Give the clear 8-byte block.

    >>> encode(Pin(b"1234")).hex().upper()
    '241234FFFFFFFFFF'
    """
    return join(b"2", pin, b"f" * DIGIT_NIBBLES)


def decode(block: bytes) -> Pin:
    """Read a clear 8-byte block, or raise Malformed.

    >>> with decode(bytes.fromhex("241234FFFFFFFFFF")) as pin:
    ...     pin
    <PIN>
    >>> decode(bytes.fromhex("241234FFFFFFFFFE"))
    Traceback (most recent call last):
    pinvault.clearzone.pin.Malformed
    """
    return split(block, control=b"2", fill_alphabet=b"f")

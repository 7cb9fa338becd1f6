"""Visa format 3 (IBM VISA-3): digits, the delimiter F, then padding.

Nibbles: 4 to 12 digits, F, then one pad of any value, repeated to the end. IBM reads up to
the delimiter and no further; here a pad that is not the same to the end is refused.
"""

from binascii import unhexlify

from pinvault.clearzone.iso9564.fields import FIELD_BYTES, nibbles_of
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin


def encode(pin: Pin, pad: bytes) -> bytes:
    """Give the clear 8-byte block; `pad` is one hex character.

    >>> encode(Pin(b"1234"), b"5").hex().upper()
    '1234F55555555555'
    """
    return unhexlify((digits_of(pin) + b"f").ljust(2 * FIELD_BYTES, pad))


def decode(block: bytes) -> Pin:
    """Read a clear 8-byte block, or raise Malformed.

    >>> with decode(bytes.fromhex("1234F55555555555")) as pin:
    ...     pin
    <PIN>
    >>> decode(bytes.fromhex("1234F55555555550"))
    Traceback (most recent call last):
    pinvault.clearzone.pin.Malformed
    """
    digits, _, padding = nibbles_of(block).partition(b"f")
    if padding.strip(padding[-1:]):
        raise Malformed
    return Pin(digits)

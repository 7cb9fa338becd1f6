"""ISO 9564-1:2017 format 0 (9.3.2): PIN field with fill F, added modulo 2 to the PAN field.

Nibbles: control 0, length 4 to C, digits, F to the end; the PAN field is 0000 and the
twelve digits before the check digit. The same PIN, PAN and key give the same block.
"""

from pinvault.clearzone.iso9564.fields import DIGIT_NIBBLES, join, pan_field, split, xor
from pinvault.clearzone.pin import Pin
from pinvault.model.pan import Pan


def encode(pin: Pin, pan: Pan) -> bytes:
    """Give the clear 8-byte block.

    >>> encode(Pin(b"1234"), Pan("4000001234562000")).hex().upper()
    '041234FEDCBA9DFF'
    """
    return xor(join(b"0", pin, b"f" * DIGIT_NIBBLES), pan_field(pan))


def decode(block: bytes, pan: Pan) -> Pin:
    """Read a clear 8-byte block, or raise Malformed.

    >>> with decode(bytes.fromhex("041234FEDCBA9DFF"), Pan("4000001234562000")) as pin:
    ...     pin
    <PIN>
    >>> decode(bytes.fromhex("041234FEDCBA9DFE"), Pan("4000001234562000"))
    Traceback (most recent call last):
    pinvault.clearzone.pin.Malformed
    """
    return split(xor(block, pan_field(pan)), control=b"0", fill_alphabet=b"f")

"""Visa format 4 (IBM VISA-4) and Plus (payShield format 04): format 0 with the PAN's left end.

Nibbles: the PIN field of format 0, added modulo 2 to 0000 and the PAN's twelve leftmost digits.
"""

from binascii import unhexlify

from pinvault.clearzone.iso9564.fields import DIGIT_NIBBLES, join, split, xor
from pinvault.clearzone.pin import Pin
from pinvault.model.pan import Pan


def pan_field(pan: Pan) -> bytes:
    """Give the 8-byte PAN field: 0000 and the PAN's twelve leftmost digits.

    The check digit is not one of them. A PAN with fewer than twelve digits before its check
    digit is padded with zeros on the left, as in format 0.

    >>> pan_field(Pan("5555555551234567")).hex().upper()
    '0000555555555123'
    >>> pan_field(Pan("400000123452")).hex().upper()
    '0000040000012345'
    """
    return unhexlify("0000" + pan.digits()[:-1][:12].rjust(12, "0"))


def encode(pin: Pin, pan: Pan) -> bytes:
    """Give the clear 8-byte block.

    >>> encode(Pin(b"1234"), Pan("5555555551234567")).hex().upper()
    '041261AAAAAAAEDC'
    """
    return xor(join(b"0", pin, b"f" * DIGIT_NIBBLES), pan_field(pan))


def decode(block: bytes, pan: Pan) -> Pin:
    """Read a clear 8-byte block, or raise Malformed.

    >>> with decode(bytes.fromhex("041261AAAAAAAEDC"), Pan("5555555551234567")) as pin:
    ...     pin
    <PIN>
    """
    return split(xor(block, pan_field(pan)), control=b"0", fill_alphabet=b"f")

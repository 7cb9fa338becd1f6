"""Mastercard's Pay Now & Pay Later (payShield format 35): format 2 bound to the PAN of format 0.

Nibbles: control 2, length 4 to C, digits, F to the end, added modulo 2 to 0000 and the twelve
PAN digits before the check digit.
"""

from pinvault.clearzone.iso9564 import format2
from pinvault.clearzone.iso9564.fields import pan_field, xor
from pinvault.clearzone.pin import Pin
from pinvault.model.pan import Pan


def encode(pin: Pin, pan: Pan) -> bytes:
    """Give the clear 8-byte block.

    >>> encode(Pin(b"1234"), Pan("4000001234562000")).hex().upper()
    '241234FEDCBA9DFF'
    """
    return xor(format2.encode(pin), pan_field(pan))


def decode(block: bytes, pan: Pan) -> Pin:
    """Read a clear 8-byte block, or raise Malformed.

    >>> with decode(bytes.fromhex("241234FEDCBA9DFF"), Pan("4000001234562000")) as pin:
    ...     pin
    <PIN>
    """
    return format2.decode(xor(block, pan_field(pan)))

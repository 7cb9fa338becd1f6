"""ISO 9564-1:2017 format 1 (9.3.3): a PIN field whose fill is a transaction field; no PAN.

Nibbles: control 1, length 4 to C, digits, random nibbles to the end. Nothing binds the
block to a card, so it is for places that do not know the PAN.
"""

from binascii import hexlify

from pinvault.clearzone.iso9564.fields import join, split
from pinvault.clearzone.pin import Pin

RANDOM_BYTES = 5


def encode(pin: Pin, random: bytes) -> bytes:
    """Give the clear 8-byte block; `random` is five random bytes, the transaction field.

    >>> encode(Pin(b"1234"), bytes.fromhex("ABCDEF0123")).hex().upper()
    '141234ABCDEF0123'
    """
    return join(b"1", pin, hexlify(random))


def decode(block: bytes) -> Pin:
    """Read a clear 8-byte block, or raise Malformed. Any transaction field is good.

    >>> with decode(bytes.fromhex("141234ABCDEF0123")) as pin:
    ...     pin
    <PIN>
    """
    return split(block, control=b"1", fill_alphabet=b"0123456789abcdef")

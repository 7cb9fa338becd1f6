"""OEM-1, of Diebold, NCR and IBM 3624 machines (payShield format 03): digits, then padding.

Nibbles: 4 to 12 digits, then one pad from A to F, repeated to the end. Machines may also be
set to pad with a decimal digit; such a block does not tell where its PIN ends, and is refused.
"""

from binascii import unhexlify

from pinvault.clearzone.iso9564.fields import FIELD_BYTES, nibbles_of
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin

_PADS = (b"a", b"b", b"c", b"d", b"e", b"f")


def encode(pin: Pin) -> bytes:
    """Give the clear 8-byte block, padded with F.

    >>> encode(Pin(b"1234")).hex().upper()
    '1234FFFFFFFFFFFF'
    """
    return unhexlify(digits_of(pin).ljust(2 * FIELD_BYTES, b"f"))


def decode(block: bytes) -> Pin:
    """Read a clear 8-byte block, or raise Malformed.

    The padding is taken off at the right, so that whatever stands before it must be the PIN.

    >>> with decode(bytes.fromhex("1234AAAAAAAAAAAA")) as pin:
    ...     pin
    <PIN>
    >>> decode(bytes.fromhex("1234F5678FFFFFFF"))
    Traceback (most recent call last):
    pinvault.clearzone.pin.Malformed
    """
    nibbles = nibbles_of(block)
    pad = nibbles[-1:]
    digits = nibbles.rstrip(pad)
    if pad not in _PADS:
        raise Malformed
    return Pin(digits)

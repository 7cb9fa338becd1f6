"""Eurocheque format 2 (IBM ECI-2): four PIN digits, then twelve nibbles of any value.

Only the four digits can tell that a block is wrong: under a wrong key, about one block
in seven still opens.
"""

from binascii import unhexlify

from pinvault.clearzone.iso9564.fields import nibbles_of
from pinvault.clearzone.opening import digits_of, length_of
from pinvault.clearzone.pin import Malformed, Pin

RANDOM_BYTES = 6
_PIN_DIGITS = 4


def encode(pin: Pin, random: bytes) -> bytes:
    """Give the clear 8-byte block; `random` is six random bytes.

    Raise Malformed when the PIN has not exactly four digits.

    >>> encode(Pin(b"1234"), bytes.fromhex("ABCDEF012345")).hex().upper()
    '1234ABCDEF012345'
    """
    if length_of(pin) != _PIN_DIGITS:
        raise Malformed
    return unhexlify(digits_of(pin)) + random


def decode(block: bytes) -> Pin:
    """Read a clear 8-byte block, or raise Malformed.

    >>> with decode(bytes.fromhex("1234ABCDEF012345")) as pin:
    ...     pin
    <PIN>
    """
    return Pin(nibbles_of(block)[:_PIN_DIGITS])

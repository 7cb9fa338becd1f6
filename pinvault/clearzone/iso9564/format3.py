"""ISO 9564-1:2017 format 3 (9.3.5): as format 0, with random fill from A to F.

Nibbles: control 3, length 4 to C, digits, random nibbles A to F to the end, added
modulo 2 to the PAN field of format 0.
"""

from collections.abc import Callable

from pinvault.clearzone.iso9564.fields import DIGIT_NIBBLES, join, pan_field, split, xor
from pinvault.clearzone.pin import Pin
from pinvault.model.pan import Pan

RANDOM_BYTES = 16
_FILL = b"abcdef"
_EVEN = 256 - 256 % len(_FILL)


def fill_from(random: bytes) -> bytes:
    """Turn random bytes into fill characters A to F, each equally likely.

    Bytes of 252 and more are passed over, since they would favour A to D. Should a
    run of them leave fewer than ten characters (less than once in 10^11), the
    caller draws again.

    >>> fill_from(bytes([0, 1, 5, 6, 255, 251]))
    b'abfaf'
    """
    return bytes(_FILL[value % len(_FILL)] for value in random if value < _EVEN)


def draw_fill(random: Callable[[int], bytes]) -> bytes:
    """Draw fill until there is enough of it; `random` gives so many random bytes."""
    fill = b""
    while len(fill) < DIGIT_NIBBLES:
        fill += fill_from(random(RANDOM_BYTES))
    return fill


def encode(pin: Pin, pan: Pan, fill: bytes) -> bytes:
    """Give the clear 8-byte block; `fill` is at least ten characters from a to f.

    >>> encode(Pin(b"1234"), Pan("5555555551234567"), b"aaaaaaaaaa").hex().upper()
    '341261FFFFB89EFC'
    """
    return xor(join(b"3", pin, fill), pan_field(pan))


def decode(block: bytes, pan: Pan) -> Pin:
    """Read a clear 8-byte block, or raise Malformed.

    >>> with decode(bytes.fromhex("341261AAAAEDCBA9"), Pan("5555555551234567")) as pin:
    ...     pin
    <PIN>
    """
    return split(xor(block, pan_field(pan)), control=b"3", fill_alphabet=_FILL)

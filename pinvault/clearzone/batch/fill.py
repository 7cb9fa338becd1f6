"""Random fill for a whole batch.

Rules:
- Every random byte comes from the HSM, and none is stretched.
"""

from collections.abc import Callable

from hsm.device import RANDOM_BYTES
from pinvault.clearzone.batch.columns import table

Random = Callable[[int], bytes]
"""Gives 1 to 65,536 random bytes."""

_LETTERS = 6
_PAIRS = _LETTERS * _LETTERS
_EVEN = 256 - 256 % _PAIRS
_UNEVEN = bytes(range(_EVEN, 256))


def _pair(byte: int) -> int:
    first, second = divmod(byte % _PAIRS, _LETTERS)
    return 0xAA + (first << 4) + second


_PAIR = table(_pair)


def draw(length: int, *, random: Random) -> bytes:
    """Give `length` random bytes, in as many calls as that takes."""
    sizes = [RANDOM_BYTES] * (length // RANDOM_BYTES) + [length % RANDOM_BYTES]
    return b"".join(random(size) for size in sizes if size)


def draw_letters(length: int, *, random: Random) -> bytes:
    """Give `length` bytes of two nibbles A to F, all 36 pairs equally likely.

    A random byte gives a pair; 252 and more are passed over, since they would favour some.

    >>> draw_letters(4, random=lambda _: bytes([0, 255, 7, 35, 251])).hex().upper()
    'AABBFFFF'
    """
    letters = b""
    while len(letters) < length:
        missing = length - len(letters)
        # One byte in 64 is passed over; twice that and a little more, and this runs once.
        drawn = draw(missing + missing // 32 + 32, random=random)
        letters += drawn.translate(_PAIR, _UNEVEN)
    return letters[:length]

"""Arithmetic on columns: one byte of every item of a batch, side by side in one int.

Rules:
- `&`, `|`, `^` and a shift of an int treat all items at once, in less than a nanosecond each.
- A column of n items has n bytes, the first item lowest. Nothing crosses from one item to the
  next: what a shift pushes over an edge is masked off, and no sum carries.
- A mask has FF (or F in one nibble) where something holds, and zeros elsewhere.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final

from pinvault.model.batch import MAX_ITEMS

_ORDER: Final = "little"  # CPython reads long ints faster from this end


def table(function: Callable[[int], int]) -> bytes:
    """Tabulate a function of one byte, as `bytes.translate` takes it."""
    return bytes(map(function, range(256)))


def choose(mask: int, inside: int, outside: int) -> int:
    """Take the bits of `inside` where the mask has ones, and of `outside` elsewhere.

    >>> f"{choose(0x0FF0, 0xAAAA, 0x1234):04X}"
    '1AA4'
    """
    return outside ^ ((outside ^ inside) & mask)


def add(left: Iterable[int], right: Iterable[int]) -> list[int]:
    """Add columns modulo 2; where one side has fewer of them, zeros stand for the rest.

    >>> [hex(column) for column in add([0x0F, 0x0F], [0xFF])]
    ['0xf0', '0xf']
    """
    return [first ^ second for first, second in zip_longest(left, right, fillvalue=0)]


_IS_ZERO = table(lambda byte: 0x00 if byte else 0xFF)


@dataclass(frozen=True, slots=True)
class Grid:
    """The shape of a batch: `items` rows, and columns with 1 in every row or every nibble."""

    items: int
    ones: int = field(repr=False)
    nibble_ones: int = field(repr=False)

    @classmethod
    def over(cls, rows: bytes, *, width: int) -> "Grid":
        """Shape the grid of 1 to 10,000 rows of `width` bytes; ValueError when they are not."""
        items, rest = divmod(len(rows), width)
        if rest or not 1 <= items <= MAX_ITEMS:
            raise ValueError("a batch has 1 to 10000 items of one size")
        ones = int.from_bytes(b"\x01" * items, _ORDER)
        return cls(items, ones, ones * 0x11)

    def every(self, byte: int) -> int:
        """Give the column with the same byte in every row."""
        return self.ones * byte

    def column(self, data: bytes) -> int:
        """Read a column from its n bytes."""
        return int.from_bytes(data, _ORDER)

    def data(self, column: int) -> bytes:
        """Write a column as its n bytes."""
        return column.to_bytes(self.items, _ORDER)

    def is_zero(self, column: int) -> int:
        """Give the mask of the rows that hold zero."""
        return self.column(self.data(column).translate(_IS_ZERO))

    def letters(self, column: int) -> int:
        """Give 1 in every nibble that is above 9.

        >>> grid = Grid.over(b"..", width=1)
        >>> grid.data(grid.letters(grid.column(bytes.fromhex("9AF0")))).hex()
        '0110'
        """
        return column >> 3 & (column >> 2 | column >> 1) & self.nibble_ones

    def nibble_right(self, columns: Iterable[int]) -> list[int]:
        """Move rows right by one nibble: zero comes in on the left, the last one is lost.

        >>> [hex(column) for column in Grid.over(b".", width=1).nibble_right([0x12, 0x34])]
        ['0x1', '0x23']
        """
        low, left, moved = self.every(0x0F), 0, []
        for column in columns:
            moved.append((left & low) << 4 | (column >> 4 & low))
            left = column
        return moved

    def unweave(self, rows: bytes, columns: range, *, width: int) -> list[int]:
        """Read some columns of rows of `width` bytes."""
        return [self.column(rows[at::width]) for at in columns]

    def weave(self, columns: Iterable[int], *, width: int) -> bytes:
        """Write rows of `width` bytes that begin with the columns and end with zeros."""
        rows = bytearray(self.items * width)
        for at, column in enumerate(columns):
            rows[at::width] = self.data(column)
        return bytes(rows)

    def add(self, rows: bytes, columns: Sequence[int], *, width: int) -> bytes:
        """Add columns modulo 2 to the left ones of rows of `width` bytes."""
        added = bytearray(rows)
        for at, column in enumerate(self.unweave(rows, range(len(columns)), width=width)):
            added[at::width] = self.data(column ^ columns[at])
        return bytes(added)

    def keep(self, rows: bytes, mask: int, *, width: int) -> bytes:
        """Keep the rows of `width` bytes that the mask covers, and set the others to zero.

        >>> Grid.over(b"..", width=1).keep(bytes.fromhex("ABCDABCD"), 0xFF00, width=2).hex()
        '0000abcd'
        """
        kept = int.from_bytes(self.weave([mask & self.ones], width=width), _ORDER)
        kept = (kept << 8 * width) - kept  # 1 at the foot of a row becomes ones all over it
        return (int.from_bytes(rows, _ORDER) & kept).to_bytes(len(rows), _ORDER)

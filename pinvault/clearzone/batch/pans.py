"""The PANs of a batch: which are well-formed, which name an account again, and their PAN fields.

Rules:
- All of this is decided item by item before the HSM is touched, and no PIN block counts in it.
- PANs of 12 to 19 digits are moved to one right edge in three steps, so that the work is the
  same whatever their lengths are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pinvault.clearzone.batch.columns import Grid, choose, table
from pinvault.model.batch import PAN_BYTES, ItemStatus
from pinvault.model.pan import MAX_DIGITS, MIN_DIGITS
from pinvault.model.pins import Format

_HEAD_BYTES = MIN_DIGITS // 2
_TAIL_BYTES = PAN_BYTES - _HEAD_BYTES
_ACCOUNT = slice(3, 9)
"""The bytes of the twelve digits before the check digit, in a PAN that has 19 digits."""
_ONE, _PAYING_BIT = b"\0\0\0\0\1", 39
_NUMBER_BYTES = memoryview(b"").cast("I").itemsize


def _kind(byte: int) -> int:
    """Tell a byte of a PAN's tail: 0 two digits, 1 a digit and F, 2 two F, 3 anything else."""
    high, low = byte >> 4, byte & 0x0F
    if high <= 9:
        return 0 if low <= 9 else 1 if low == 0xF else 3
    return 2 if byte == 0xFF else 3


def _kinds_of(length: int) -> int:
    """Give the kinds of the tail bytes of a PAN of 12 to 19 digits, two bits each."""
    digits = length - MIN_DIGITS
    kinds = [0] * (digits // 2) + [1] * (digits % 2)
    kinds += [2] * (_TAIL_BYTES - len(kinds))
    return sum(kind << 2 * at for at, kind in enumerate(kinds))


_LENGTHS = {_kinds_of(length): length for length in range(MIN_DIGITS, MAX_DIGITS + 1)}


def _mask_of_moves(step: int) -> bytes:
    """Tabulate by the kinds whether a PAN is moved by `step` nibbles on its way to the edge."""
    lacks = {kinds: MAX_DIGITS - length for kinds, length in _LENGTHS.items()}
    return table(lambda kinds: 0xFF if lacks.get(kinds, 0) & step else 0x00)


_KIND = table(_kind)
_WELL_FORMED = table(lambda kinds: 0xFF if kinds in _LENGTHS else 0x00)
_LENGTH_LESS_12 = table(lambda kinds: _LENGTHS.get(kinds, MIN_DIGITS) - MIN_DIGITS)
_MOVES = {step: _mask_of_moves(step) for step in (4, 2, 1)}
_STATUS = table(lambda well_formed: ItemStatus.DONE if well_formed else ItemStatus.PAN_MALFORMED)


@dataclass(frozen=True, slots=True)
class PanColumn:
    """The PANs of a batch.

    `statuses` has one byte an item: DONE for those that may go on, else PAN_MALFORMED or
    ACCOUNT_REPEATED.
    """

    grid: Grid = field(repr=False)
    statuses: bytes
    _digits: Sequence[int] = field(repr=False)
    _kinds: bytes = field(repr=False)
    _account: Sequence[int] = field(repr=False)

    def pan_field(self, block_format: Format) -> Sequence[int]:
        """Give the PAN fields of a format, as columns from the left; zeros follow the last one.

        Formats 0 and 3: zeros, and the twelve digits before the check digit (ISO 9564-1:2017,
        9.3.2.3). Format 4: the PAN's length less twelve in one nibble, and the PAN (9.3.6).
        """
        match block_format:
            case Format.ISO_0 | Format.ISO_3:
                return (0, 0, *self._account)
            case Format.ISO_4:
                return self._format4()
        return ()

    def _format4(self) -> list[int]:
        grid, digits = self.grid, []
        for column in self._digits:
            fill = column >> 3 & column >> 2 & grid.nibble_ones
            digits.append(column & ~(fill * 0xF))
        first, *others = grid.nibble_right(digits)
        return [first | grid.column(self._kinds.translate(_LENGTH_LESS_12)) << 4, *others]


def admit(pans: bytes, *, accounts_once: bool) -> PanColumn:
    """Read 1 to 10,000 PANs of ten bytes each: 12 to 19 digits as nibbles, then F to the end.

    `accounts_once` lets only the first item of an account go on: of the last eight of the
    twelve digits before the check digit. ValueError for too few, too many, or half a PAN.
    """
    grid = Grid.over(pans, width=PAN_BYTES)
    texts = [pans[at::PAN_BYTES] for at in range(PAN_BYTES)]
    digits = [grid.column(text) for text in texts]
    kinds = _kinds(grid, texts[_HEAD_BYTES:])
    account = _at_the_right_edge(grid, digits[: _ACCOUNT.stop], kinds)[_ACCOUNT]
    statuses = grid.data(_well_formed(grid, digits, kinds)).translate(_STATUS)
    if accounts_once and not _ascending(grid, account[2:]):
        # Last digits first: what differs most from card to card is what a set hashes by.
        last_eight = grid.weave(reversed(account[2:]), width=_NUMBER_BYTES)
        statuses = only_the_first(statuses, memoryview(last_eight).cast("I"))
    return PanColumn(grid, statuses, digits, kinds, account)


def _kinds(grid: Grid, tails: Sequence[bytes]) -> bytes:
    """Give the kinds of the four tail bytes of every PAN, two bits each."""
    kinds = 0
    for at, tail in enumerate(tails):
        kinds |= grid.column(tail.translate(_KIND)) << 2 * at
    return grid.data(kinds)


def _well_formed(grid: Grid, digits: Sequence[int], kinds: bytes) -> int:
    letters = 0
    for column in digits[:_HEAD_BYTES]:
        letters |= grid.letters(column)
    return grid.is_zero(letters) & grid.column(kinds.translate(_WELL_FORMED))


def _at_the_right_edge(grid: Grid, digits: Sequence[int], kinds: bytes) -> list[int]:
    """Move every PAN right to where one of 19 digits stands, zeros coming in on the left."""
    columns = list(digits)
    for step, mask_of_moves in _MOVES.items():
        mask = grid.column(kinds.translate(mask_of_moves))
        moved = grid.nibble_right(columns) if step == 1 else [*[0] * (step // 2), *columns]
        columns = [choose(mask, *both) for both in zip(moved, columns, strict=False)]
    return columns


def _ascending(grid: Grid, account: Sequence[int]) -> bool:
    """Tell whether every account is above the one before it, as in a sorted file: none repeats.

    All are compared at once: with a bit above each that pays when the one before is not less.
    """
    width = 1 + len(account)
    rows = grid.weave([0, *account], width=width)
    one, payer = _lanes(grid.items - 1)
    left = (int.from_bytes(rows[width:]) | payer) - int.from_bytes(rows[:-width]) - one
    return left & payer == payer


@lru_cache(maxsize=8)
def _lanes(count: int) -> tuple[int, int]:
    """Give one, and the bit that pays, in so many places; of a size that comes again and again."""
    one = int.from_bytes(_ONE * count)
    return one, one << _PAYING_BIT


def only_the_first(statuses: bytes, numbers: memoryview) -> bytes:
    """Mark every item whose account, or block, an earlier item with a well-formed PAN has."""
    if len(set(numbers)) == len(numbers):
        return statuses
    marked, seen = bytearray(statuses), set()
    for at, number in enumerate(numbers):
        if statuses[at] == ItemStatus.DONE:
            if number in seen:
                marked[at] = ItemStatus.ACCOUNT_REPEATED
            seen.add(number)
    return bytes(marked)

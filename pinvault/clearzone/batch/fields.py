"""Reads and writes the PIN fields of a whole batch: eight columns of ISO 9564-1:2017, 9.3.

Rules:
- What is well-formed, and what is written, is what the codecs of `iso9564` say.
- Every nibble of every item is looked at, whatever was found in the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pinvault.clearzone.batch.columns import Grid, choose, table
from pinvault.clearzone.batch.fill import Random, draw, draw_letters
from pinvault.clearzone.iso9564.fields import FIELD_BYTES
from pinvault.clearzone.pin import MAX_DIGITS, MIN_DIGITS
from pinvault.model.pins import Format
from pinvault.model.profiles import PinLength

CONTROL = {Format.ISO_0: 0x00, Format.ISO_1: 0x10, Format.ISO_3: 0x30, Format.ISO_4: 0x40}
"""The control nibble of each format, in its place in the first byte."""
_FILLED = range(1 + MIN_DIGITS // 2, FIELD_BYTES)
"""The bytes that may hold fill."""


def _fill_mask(at: int) -> bytes:
    """Tabulate by the first byte which nibbles of the byte `at` are fill: none to both."""
    return table(lambda first: 0xFF >> 4 * min(2, max(0, (first & 0x0F) + 2 - 2 * at)))


_FILL_MASKS = tuple(_fill_mask(at) for at in _FILLED)


@dataclass(frozen=True, slots=True)
class PinFields:
    """Eight columns of PIN fields, the masks of the fill in the last five, and which are good."""

    columns: Sequence[int] = field(repr=False)
    fill: Sequence[int] = field(repr=False)
    good: int = field(repr=False)


def read(
    grid: Grid, columns: Sequence[int], *, block_format: Format, pin_length: PinLength
) -> PinFields:
    """Read the eight columns; `good` is the mask of the items that are well-formed."""
    first, *others = columns
    heads = grid.data(first)
    fill = [grid.column(heads.translate(mask)) for mask in _FILL_MASKS]
    faults = grid.column(heads.translate(_faults_of_heads(block_format, pin_length)))
    for column, mask in zip(others, [0, 0, *fill], strict=True):
        letters = grid.letters(column)
        faults |= choose(mask, _not_fill(grid, column, letters, block_format), letters)
    return PinFields(columns, fill, grid.is_zero(faults))


def write(grid: Grid, fields: PinFields, *, block_format: Format, random: Random) -> list[int]:
    """Give the eight columns of the same PINs in another format."""
    first, *digits = fields.columns[: _FILLED.start]
    filled = [
        choose(mask, new, old)
        for mask, new, old in zip(
            fields.fill,
            _new_fill(grid, block_format, random),
            fields.columns[_FILLED.start :],
            strict=True,
        )
    ]
    return [first & grid.every(0x0F) | grid.every(CONTROL[block_format]), *digits, *filled]


def _faults_of_heads(block_format: Format, pin_length: PinLength) -> bytes:
    """Tabulate which first bytes are faults: 0 for the format's control and an allowed length."""
    faults = bytearray(b"\x01" * 256)
    for length in range(MIN_DIGITS, MAX_DIGITS + 1):
        if pin_length.allows(length):
            faults[CONTROL[block_format] | length] = 0
    return bytes(faults)


def _not_fill(grid: Grid, column: int, letters: int, block_format: Format) -> int:
    """Give ones in every nibble that is no fill of the format; `letters` are its letters."""
    match block_format:
        case Format.ISO_0:
            return column ^ grid.every(0xFF)
        case Format.ISO_3:
            return letters ^ grid.nibble_ones
        case Format.ISO_4:
            return column ^ grid.every(0xAA)
    return 0


def _new_fill(grid: Grid, block_format: Format, random: Random) -> list[int]:
    """Give five columns of fill."""
    length = len(_FILLED) * grid.items
    match block_format:
        case Format.ISO_0:
            return [grid.every(0xFF)] * len(_FILLED)
        case Format.ISO_4:
            return [grid.every(0xAA)] * len(_FILLED)
        case Format.ISO_3:
            drawn = draw_letters(length, random=random)
        case _:
            drawn = draw(length, random=random)
    return grid.unweave(drawn, range(len(_FILLED)), width=len(_FILLED))

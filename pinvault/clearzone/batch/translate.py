"""Translates a batch of PIN blocks from one key and format to another, in two to four HSM calls.

Rules:
- What is not admitted is not opened: zeros are deciphered in its place.
- Nothing of a block that was refused is enciphered, and its place in the answer is zeros.
- Formats 0, 1 and 3 take one HSM call each way whatever the number of items. Format 4 takes
  two, with the PAN fields added between them (ISO 9564-1:2017, 9.3.6).
- The work is the same whatever the PIN blocks hold, but that what was refused is blanked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pinvault.clearzone.batch.columns import Grid, add
from pinvault.clearzone.batch.fields import CONTROL, read, write
from pinvault.clearzone.batch.fill import Random, draw
from pinvault.clearzone.batch.pans import PanColumn, only_the_first
from pinvault.clearzone.iso9564 import format4
from pinvault.clearzone.iso9564.fields import FIELD_BYTES
from pinvault.model.batch import ItemStatus
from pinvault.model.pins import Format
from pinvault.model.profiles import PinLength

Cipher = Callable[[bytes], bytes]
"""Enciphers or deciphers whole blocks in ECB under one key: as many bytes out as in."""
ANY_LENGTH = PinLength()


@dataclass(frozen=True, slots=True)
class Translated:
    """One `ItemStatus` byte an item, and its PIN block of 8 or 16 bytes: zeros if not DONE."""

    statuses: bytes
    blocks: bytes = field(repr=False)


def translate(
    blocks: bytes,
    pans: PanColumn | None,
    *,
    source: Format,
    target: Format,
    decipher: Cipher,
    encipher: Cipher,
    random: Random,
    pin_length: PinLength = ANY_LENGTH,
    blocks_once: bool = False,
) -> Translated:
    """Translate 1 to 10,000 PIN blocks, each bound to the PAN in its place.

    `pans` may be None where neither format carries a PAN. A PIN whose length `pin_length`
    does not allow is refused; with `blocks_once` a block of 8 bytes is opened for the first of
    the PANs alone that it comes with. ValueError, before the HSM is touched, for blocks that are
    not one a PAN, and for formats other than 0, 1, 3 and 4.
    """
    _check_formats(source, target)
    grid = Grid.over(blocks, width=source.block_bytes)
    opener = _Side(grid, source, _pan_field(grid, pans, source), decipher)
    maker = _Side(grid, target, _pan_field(grid, pans, target), encipher)
    statuses = pans.statuses if pans else bytes(grid.items)
    if blocks_once:
        statuses = only_the_first(statuses, memoryview(blocks).cast("Q"))
    ended = grid.column(statuses)
    admitted = grid.is_zero(ended)
    if ended:  # which the PANs alone decide, and the statuses tell
        blocks = grid.keep(blocks, admitted, width=source.block_bytes)
    fields = read(grid, opener.open(blocks), block_format=source, pin_length=pin_length)
    good = fields.good & admitted
    made = maker.make(write(grid, fields, block_format=target, random=random), good, random)
    if good != grid.every(0xFF):  # which the statuses tell
        ended |= (admitted ^ good) & grid.every(ItemStatus.REFUSED)
        made = grid.keep(made, good, width=target.block_bytes)
    return Translated(grid.data(ended), made)


@dataclass(frozen=True, slots=True)
class _Side:
    """Where PIN blocks come from, or go to: their format, PAN fields and cipher."""

    grid: Grid
    block_format: Format
    pan_field: Sequence[int] = field(repr=False)
    cipher: Cipher

    def open(self, blocks: bytes) -> list[int]:
        """Decipher PIN blocks into the eight columns of their PIN fields."""
        grid, width = self.grid, self.block_format.block_bytes
        clear = self.cipher(blocks)
        if self.block_format is Format.ISO_4:
            clear = self.cipher(grid.add(clear, self.pan_field, width=width))
            return grid.unweave(clear, range(FIELD_BYTES), width=width)
        return add(grid.unweave(clear, range(width), width=width), self.pan_field)

    def make(self, columns: Sequence[int], good: int, random: Random) -> bytes:
        """Encipher the eight columns of PIN fields, with zeros for what is not good."""
        grid, width = self.grid, self.block_format.block_bytes
        if self.block_format is Format.ISO_4:
            drawn = draw(format4.RANDOM_BYTES * grid.items, random=random)
            tail = grid.unweave(drawn, range(format4.RANDOM_BYTES), width=format4.RANDOM_BYTES)
            clear = [column & good for column in [*columns, *tail]]
            inner = self.cipher(grid.weave(clear, width=width))
            return self.cipher(grid.add(inner, self.pan_field, width=width))
        clear = [column & good for column in add(columns, self.pan_field)]
        return self.cipher(grid.weave(clear, width=width))


def _check_formats(*formats: Format) -> None:
    if not all(block_format in CONTROL for block_format in formats):
        raise ValueError("the PIN blocks of a batch are of format 0, 1, 3 or 4")


def _pan_field(grid: Grid, pans: PanColumn | None, block_format: Format) -> Sequence[int]:
    """Give the PAN fields that a format adds, or nothing when it adds none."""
    if pans is None:
        if block_format.carries_pan:
            raise ValueError("the format is bound to a PAN, and none were given")
        return ()
    if pans.grid != grid:
        raise ValueError("a batch has one PAN a PIN block")
    return pans.pan_field(block_format)

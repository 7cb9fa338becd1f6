"""Moves stored PANs and PIN blocks from key version to key version, a column at a time.

Rules:
- Only what proves well-formed is enciphered again: a PAN that has its redundancy, its card and its
  index, and a PIN field of format 4 (ISO 9564-1:2017, 9.3.6) that is bound to such a PAN. Zeros are
  enciphered in place of the rest, and None is given for it.
- Every row is opened and read, whatever was found in the others.
- Clear columns live in one function, and never outlive its call. The PIN fields' random part stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from hsm.device import Device
from pinvault.clearzone import stored_pan
from pinvault.clearzone.batch import fields
from pinvault.clearzone.batch.columns import Grid
from pinvault.clearzone.batch.pans import PanColumn, admit
from pinvault.clearzone.iso9564.fields import FIELD_BYTES, xor
from pinvault.clearzone.one_face import one_face
from pinvault.model.batch import PAN_BYTES
from pinvault.model.call import Deadline
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import ANY_LENGTH

BLOCK_BYTES: Final = Format.ISO_4.block_bytes
"""A stored PAN and a PIN block of format 4 are of one size."""
_QUANTUM_S: Final = 0.001
_ALL: Final = 0xFF
_CONTROL: Final = 0x10
_DIGITS: Final = 2 * PAN_BYTES


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """Ciphertexts of the store, 1 to 10,000, all under the key version `key`."""

    key: str
    ciphertexts: Sequence[bytes] = field(repr=False)


class RestoreZone:
    """Opens what the store holds, and enciphers it under another key version.

    `index` gives the index by which a PAN is found again. Of both methods: `target` is the key
    version to encipher under. Without one nothing is enciphered, and what opened comes back as it
    is. What did not prove well-formed is None.
    """

    def __init__(self, device: Device, *, index: Callable[[Pan], bytes]) -> None:
        self._device = device
        self._index = index

    def pans(
        self,
        sealed: StoredColumn,
        *,
        owners: Sequence[str],
        indexes: Sequence[bytes],
        target: str | None,
        deadline: Deadline,
    ) -> list[bytes | None]:
        """Give stored PANs again; a row has its owner and the index of its PAN."""

        def work() -> list[bytes | None]:
            grid, rows, good = _rows_of(sealed)
            bindings = b"".join(map(stored_pan.binding, owners))
            clear = self._open(sealed.key, rows, bindings, deadline)
            read = _Pans.read(grid, clear)
            good &= self._indexed(read, indexes)
            if target is not None:
                kept = grid.keep(clear, good, width=BLOCK_BYTES)
                rows = self._make(target, kept, bindings, deadline)
            return _given(grid, rows, good)

        return one_face(work, quantum_s=_QUANTUM_S, deadline=deadline)

    def blocks(
        self,
        sealed: StoredColumn,
        *,
        pans: StoredColumn,
        owners: Sequence[str],
        target: str | None,
        deadline: Deadline,
    ) -> list[bytes | None]:
        """Give PIN blocks of format 4 again; a row has the owner of a stored PAN and that."""

        def work() -> list[bytes | None]:
            grid, rows, good = _rows_of(sealed)
            _, pan_rows, pan_good = _rows_of(pans)
            bindings = b"".join(map(stored_pan.binding, owners))
            bound = _Pans.read(grid, self._open(pans.key, pan_rows, bindings, deadline))
            pan_fields = grid.weave(bound.column.pan_field(Format.ISO_4), width=BLOCK_BYTES)
            clear = self._open(sealed.key, rows, pan_fields, deadline)
            good &= pan_good & bound.good & _well_formed(grid, clear)
            if target is not None:
                kept = grid.keep(clear, good, width=BLOCK_BYTES)
                rows = self._make(target, kept, pan_fields, deadline)
            return _given(grid, rows, good)

        return one_face(work, quantum_s=_QUANTUM_S, deadline=deadline)

    def _open(self, key: str, rows: bytes, between: bytes, deadline: Deadline) -> bytes:
        """Decipher twice, with what the rows are bound to added between."""
        inner = self._device.decipher(key, rows, timeout=deadline.remaining())
        return self._device.decipher(key, xor(inner, between), timeout=deadline.remaining())

    def _make(self, key: str, clear: bytes, between: bytes, deadline: Deadline) -> bytes:
        """Encipher twice, with what the rows are bound to added between."""
        inner = self._device.encipher(key, clear, timeout=deadline.remaining())
        return self._device.encipher(key, xor(inner, between), timeout=deadline.remaining())

    def _indexed(self, pans: "_Pans", indexes: Sequence[bytes]) -> int:
        """Give the mask of the PANs that are well-formed and have their row's index."""
        grid, texts = pans.column.grid, pans.packed.hex()
        verdicts = bytearray(grid.data(pans.good))
        for at, index in enumerate(indexes):
            if verdicts[at]:
                digits = texts[at * _DIGITS : (at + 1) * _DIGITS].rstrip("f")
                verdicts[at] = _ALL * (self._index(Pan(digits)) == index)
        return grid.column(bytes(verdicts))


@dataclass(frozen=True, slots=True)
class _Pans:
    """The PANs of clear blocks: as a batch reads them, packed, and the mask of the good."""

    column: PanColumn = field(repr=False)
    packed: bytes = field(repr=False)
    good: int

    @classmethod
    def read(cls, grid: Grid, clear: bytes) -> "_Pans":
        """Read what `stored_pan.clear_block` gave: control and length, digits and fill, zeros."""
        head, *digits = grid.unweave(clear, range(1 + PAN_BYTES), width=BLOCK_BYTES)
        low = grid.every(0x0F)
        faults = digits[-1] & low  # where a batch has fill, zeros begin here
        packed = grid.weave([*digits[:-1], digits[-1] | low], width=PAN_BYTES)
        column = admit(packed, accounts_once=False)
        length_less_12 = column.pan_field(Format.ISO_4)[0] >> 4 & low
        faults |= head ^ (grid.every(_CONTROL) | length_less_12) | grid.column(column.statuses)
        for rest in grid.unweave(clear, range(1 + PAN_BYTES, BLOCK_BYTES), width=BLOCK_BYTES):
            faults |= rest
        return cls(column, packed, grid.is_zero(faults))


def _rows_of(sealed: StoredColumn) -> tuple[Grid, bytes, int]:
    """Give the rows, zeros in place of what has another size, and the mask of the others."""
    sized = bytes(len(each) == BLOCK_BYTES for each in sealed.ciphertexts)
    both = zip(sealed.ciphertexts, sized, strict=True)
    rows = b"".join(each if is_sized else bytes(BLOCK_BYTES) for each, is_sized in both)
    grid = Grid.over(rows, width=BLOCK_BYTES)
    return grid, rows, grid.column(sized) * _ALL


def _well_formed(grid: Grid, clear: bytes) -> int:
    """Give the mask of the clear blocks that begin with a PIN field of format 4."""
    columns = grid.unweave(clear, range(FIELD_BYTES), width=BLOCK_BYTES)
    return fields.read(grid, columns, block_format=Format.ISO_4, pin_length=ANY_LENGTH).good


def _given(grid: Grid, rows: bytes, good: int) -> list[bytes | None]:
    """Cut the rows, and give those that are good."""
    cut = (rows[at : at + BLOCK_BYTES] for at in range(0, len(rows), BLOCK_BYTES))
    return [row if is_good else None for row, is_good in zip(cut, grid.data(good), strict=True)]

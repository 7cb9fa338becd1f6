"""Packs the PIN blocks and PANs of a batch into columns, and unpacks what comes back.

Rules:
- A PAN of a batch has 10 bytes: two digits a byte from the left, filled with F.
- One bad PAN does not stop the others: it is packed as fill alone, which the server calls
  PAN_MALFORMED. One block of a wrong size would shift all that follow, and is refused here.
"""

from collections.abc import Iterable

from pinvault.client.answers import ItemStatus
from pinvault.client.values import IsoFormat, PackedPins

PAN_NIBBLES = 20


def packed(
    pins: Iterable[tuple[str | None, bytes]] | PackedPins, *, source: IsoFormat, target: IsoFormat
) -> PackedPins:
    """Pack pairs of a PAN and a PIN block, or give what is packed already.

    ValueError when a block has not the size of the source's format, 8 bytes or 16 (ISO_4).

    >>> batch = packed([("4111111111111111", bytes(8))], source="ISO_0", target="ISO_3")
    >>> batch.pans.hex().upper()
    '4111111111111111FFFF'
    """
    if isinstance(pins, PackedPins):
        return pins
    rows, size = list(pins), block_bytes(source)
    if any(len(block) != size for _, block in rows):
        raise ValueError("every PIN block of a batch has the size of its source format")
    bound = {source, target} != {"ISO_1"}
    return PackedPins(
        pin_blocks=b"".join(block for _, block in rows),
        pans=b"".join(_packed_pan(pan or "") for pan, _ in rows) if bound else b"",
    )


def unpack(
    statuses: bytes, blocks: bytes, *, target: IsoFormat
) -> tuple[tuple[ItemStatus, ...], tuple[bytes | None, ...]]:
    """Give a status an item, and its PIN block where it is done."""
    size, known = block_bytes(target), {number: ItemStatus(number) for number in set(statuses)}
    read = tuple(map(known.__getitem__, statuses))
    return read, tuple(
        blocks[at * size : (at + 1) * size] if status is ItemStatus.DONE else None
        for at, status in enumerate(read)
    )


def block_bytes(form: IsoFormat) -> int:
    """Give the size of a PIN block in bytes."""
    return 16 if form == "ISO_4" else 8


def _packed_pan(pan: str) -> bytes:
    is_pan = len(pan) <= PAN_NIBBLES and pan.isascii() and pan.isdigit()
    return bytes.fromhex((pan if is_pan else "").ljust(PAN_NIBBLES, "F"))

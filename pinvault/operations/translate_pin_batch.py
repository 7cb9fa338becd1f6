"""TranslatePinBatch: a column of PIN blocks under one key and format to another, in one call.

Rules:
- An account may stand only once in a batch (the clear zone sees to it), so that the caller's
  rate of batches is its rate for every PAN.
- Nothing that is made in a batch is kept for its PAN, so what opens for others too goes under
  keys that nothing here deciphers with.
"""

from dataclasses import dataclass

from pinvault.clearzone.parcels import BlockToMake, SealedBlock
from pinvault.clearzone.zone import has_aliases
from pinvault.model.batch import MAX_ITEMS, PAN_BYTES, ItemStatus
from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.pins import Format, PinBlockSource, PinBlockTarget
from pinvault.operations.desk import Desk
from pinvault.operations.passage import Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A key and a format."""

    key: str
    format: Format


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedBatch:
    """One status byte an item, the blocks, zeros where one was not done, and both keys."""

    statuses: bytes
    pin_blocks: bytes
    source_key: Key
    target_key: Key


@dataclass(frozen=True, slots=True)
class TranslatePinBatch:
    """The use case, with what it stands on."""

    desk: Desk

    def __call__(
        self, call: Call, *, source: Column, target: Column, pin_blocks: bytes, pans: bytes
    ) -> TranslatedBatch:
        """Translate what can be translated, or refuse the whole batch."""
        desk = self.desk
        sealed, to_make = self._resolve(source, target)
        call.notes.items = _count(pin_blocks, pans, source.format, target.format)
        passage = Passage(sources=(sealed,), targets=(to_make,), target_at="target")
        terms = desk.admit(call, passage)
        if to_make.reopens and has_aliases(target.format, terms.pin_length):
            raise Refusal(Reason.KEY_USAGE_MISMATCH, field="target.key")

        done = desk.zone.translate_batch(pin_blocks, pans, sealed, to_make, terms)

        call.notes.items_not_done = call.notes.items - done.statuses.count(ItemStatus.DONE)
        return TranslatedBatch(
            statuses=done.statuses,
            pin_blocks=done.blocks,
            source_key=sealed.key,
            target_key=to_make.key,
        )

    def _resolve(self, source: Column, target: Column) -> tuple[SealedBlock, BlockToMake]:
        """Resolve both columns as a single block of theirs would be."""
        sealed = self.desk.router.sealed_block(
            PinBlockSource(
                key=source.key,
                format=source.format,
                pan=None,
                ciphertext=bytes(source.format.block_bytes),
            ),
            at="source",
        )
        to_make = self.desk.router.block(
            PinBlockTarget(key=target.key, format=target.format, pan=None), at="target"
        )
        return sealed, to_make


def _count(pin_blocks: bytes, pans: bytes, source: Format, target: Format) -> int:
    """Count the items of columns that fit together, or refuse."""
    items, rest = divmod(len(pin_blocks), source.block_bytes)
    if rest or not 1 <= items <= MAX_ITEMS:
        raise Refusal(Reason.BATCH_INVALID, field="pin_blocks")
    wants_pans = source.carries_pan or target.carries_pan
    if len(pans) != (items * PAN_BYTES if wants_pans else 0):
        raise Refusal(Reason.BATCH_INVALID, field="pans")
    return items

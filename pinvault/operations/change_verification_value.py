"""ChangeVerificationValue: the current PIN is verified and the new one's value made, or neither."""

from dataclasses import dataclass

from pinvault.clearzone.parcels import BlockToMake, Reference, Sealed, SealedBlock
from pinvault.model.call import Call
from pinvault.model.keys import Key, Mode
from pinvault.model.pan import Pan
from pinvault.model.pins import PinBlockSource, PinBlockTarget, PinSource
from pinvault.model.references import ValueRef
from pinvault.model.verification import PinOffset, Pvv
from pinvault.operations.desk import Desk
from pinvault.operations.passage import Passage, require_bound
from pinvault.operations.route import one_pan
from pinvault.operations.verify_pin import key_of

CHANGING = frozenset({Mode.C})


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReference:
    """A stored PIN block, and the block to be stored in its place."""

    current: PinBlockSource
    target: PinBlockTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedValue:
    """What stands for the new PIN, None when the current one was wrong; and all keys."""

    made: Pvv | PinOffset | bytes | None
    source_keys: tuple[Key, ...]
    reference_keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class ChangeVerificationValue:
    """The use case, with what it stands on."""

    desk: Desk

    def __call__(
        self,
        call: Call,
        *,
        current_source: PinSource,
        new_source: PinSource,
        pan: Pan,
        reference: ValueRef | BlockReference,
    ) -> ChangedValue:
        """Change what stands for the PIN, or refuse; a wrong current PIN is no refusal."""
        desk = self.desk
        one_pan(pan, current_source.pan, new_source.pan)
        current = desk.router.source(current_source, caller=call.caller, at="current_source")
        new = desk.source(call, new_source, pan=pan, at="new_source")
        require_bound([(current, "current_source"), (new, "new_source")])
        known, target = self._reference(reference, pan)
        passage = _passage(current, new, known, target, pan)
        terms = desk.admit(call, passage)

        changed = desk.zone.change(current, new, known, target, pan, terms)

        call.notes.opened_by(*changed.openers)
        if target is not None and isinstance(changed.made, bytes):
            desk.keep(call, target, changed.made, pan)
        return ChangedValue(
            made=changed.made,
            source_keys=changed.openers,
            reference_keys=(key_of(known), *((target.key,) if target is not None else ())),
        )

    def _reference(
        self, reference: ValueRef | BlockReference, pan: Pan
    ) -> tuple[Reference, BlockToMake | None]:
        if isinstance(reference, ValueRef):
            at = f"verification_value.{reference.kind}"
            known = self.desk.schemes.reference(reference, CHANGING, at=at)
            return known, None
        one_pan(pan, reference.current.pan, reference.target.pan)
        stored = self.desk.router.sealed_block(reference.current, at="pin_block.current")
        require_bound([(stored, "pin_block.current")])
        return stored, self.desk.router.block(reference.target, at="pin_block.target")


def _passage(
    current: Sealed, new: Sealed, known: Reference, target: BlockToMake | None, pan: Pan
) -> Passage:
    if isinstance(known, SealedBlock):
        targets = (target,) if target is not None else ()
        return Passage(
            sources=(current, new, known), targets=targets, pan=pan, target_at="pin_block.target"
        )
    return Passage(
        sources=(current, new),
        methods=(known.method,),
        pan=pan,
    )

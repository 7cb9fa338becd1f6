"""VerifyPin: whether a PIN is the one that a PVV, an offset or another PIN block stands for."""

from dataclasses import dataclass

from pinvault.clearzone.parcels import Reference, Sealed, SealedBlock
from pinvault.model.call import Call
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import PinBlockSource, PinSource
from pinvault.model.references import ValueRef
from pinvault.operations.desk import Desk
from pinvault.operations.passage import Passage, leave_to_bind
from pinvault.operations.route import one_pan
from pinvault.operations.schemes import VERIFYING


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Whether it is the PIN, and the keys of both sides."""

    matches: bool
    source_key: Key
    reference_key: Key


@dataclass(frozen=True, slots=True)
class VerifyPin:
    """The use case, with what it stands on."""

    desk: Desk

    def __call__(
        self, call: Call, *, source: PinSource, pan: Pan, reference: ValueRef | PinBlockSource
    ) -> Verified:
        """Verify the PIN, or refuse; a wrong PIN is no refusal."""
        desk = self.desk
        one_pan(pan, source.pan, reference.pan if isinstance(reference, PinBlockSource) else None)
        sealed = desk.router.source(source, caller=call.caller, at="source")
        if isinstance(reference, PinBlockSource):
            known: Reference = desk.router.sealed_block(reference, at="pin_block")
        else:
            at = f"verification_value.{reference.kind}"
            known = desk.schemes.reference(reference, VERIFYING, at=at)
        passage = _passage((sealed,), known, pan)
        terms = desk.admit(call, passage)

        matches, opener = desk.zone.verify(sealed, known, pan, terms)

        call.notes.opened_by(opener)
        return Verified(matches=matches, source_key=opener, reference_key=key_of(known))


def key_of(reference: Reference) -> Key:
    """Give the key under which a reference stands."""
    return reference.key if isinstance(reference, SealedBlock) else reference.method.key


def _passage(sources: tuple[Sealed, ...], reference: Reference, pan: Pan) -> Passage:
    if isinstance(reference, SealedBlock):
        everything = (*sources, reference)
        return Passage(sources=everything, pan=pan, permissions=leave_to_bind(*everything))
    return Passage(
        sources=sources,
        methods=(reference.method,),
        pan=pan,
        permissions=leave_to_bind(*sources),
    )

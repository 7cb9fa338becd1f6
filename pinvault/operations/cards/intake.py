"""Takes in what a call about a known card brings: its sources, its PAN, its leave to pass.

Rules:
- Names, grants and PANs are judged before the HSM is touched; then the card's own PAN is opened,
  since limits are kept by it, and what is bound to a PAN is bound to it.
- Every source must say that it is for this card: it is bound to the PAN, or to the card's id. An
  envelope that says so of no card is taken where the caller's row gives leave to, since it is good
  once; a PIN block, which never wears out, is not.
- A stored PIN may become a new PIN of a card with the same PAN, and proves nothing of who asks.
- A PIN block takes leave of its own to become a PIN that can be revealed: who may register a PAN
  would have the PIN of any block for it.
"""

from dataclasses import dataclass, replace

from pinvault.clearzone.card_zone import SealedPan, Terms
from pinvault.clearzone.parcels import EnvelopeToMake, Sealed, SealedBlock, StoredOf
from pinvault.clearzone.stored import StoredUnreadable
from pinvault.model.call import Call
from pinvault.model.cards import ById, owner
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Usage
from pinvault.model.pan import Pan
from pinvault.model.pins import CardSource, PinSource
from pinvault.operations.cards import kept
from pinvault.operations.cards.desk import CardDesk, KnownCard
from pinvault.operations.passage import Passage, leave_to_bind, require_bound
from pinvault.policy.translation import Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A PIN source of a call, and its field in the request; `is_new` where it gives a new PIN."""

    source: PinSource
    at: str
    is_new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A call that may work: the card's PAN, its sources in the order given, and on what terms."""

    pan: Pan
    sources: tuple[Sealed, ...]
    terms: Terms


def admit(
    desk: CardDesk,
    call: Call,
    known: KnownCard,
    *given: Source,
    target: EnvelopeToMake | None = None,
) -> Admitted:
    """Let a call about a card pass, or refuse; `target` is an envelope that the PIN goes out in."""
    sealed = tuple(_sealed(desk, call, known, each) for each in given)
    leave = leave_to_bind(*sealed) | _leave_to_reveal(known, given, sealed)
    passage = Passage(
        sources=sealed,
        targets=() if target is None else (target,),
        program=known.program.name,
        permissions=leave,
    )
    passage.note(call)
    desk.admission.grants.permit(passage.ask(), caller=call.caller, method=call.method)

    pan = open_pan(desk, call, known)
    for each in passage.stored:
        prove(desk, call, each)
    desk.admission.note(call, pan)
    bound = replace(passage, sources=tuple(replace(part, pan=pan) for part in sealed), pan=pan)
    bound.let_pass(call, desk.admission)
    program = known.program
    return Admitted(
        pan=pan,
        sources=bound.sources,
        terms=Terms(deadline=call.deadline, pin_length=program.pin_length, rules=program.rules),
    )


def open_pan(desk: CardDesk, call: Call, known: KnownCard) -> Pan:
    """Give a card's PAN; a fault of ours when it is not the one that finds the card."""
    card = known.card
    key = kept.opening_key(desk, card.pan_key, desk.keys.pan, Usage.D0)
    whose = owner(card.id, card.program, card.external_id)
    sealed = SealedPan(key=key, owner=whose, ciphertext=card.pan_cipher)
    pan = desk.zone.open_pan(sealed, call.deadline)
    if desk.index.of(pan) != card.pan_index:
        raise StoredUnreadable
    return pan


def prove(desk: CardDesk, call: Call, stored: StoredOf) -> KnownCard:
    """Give the card of a stored PIN, once its PAN has opened for it and its program, or refuse."""
    known = desk.look_up(call, ById(stored.card_id))
    open_pan(desk, call, known)
    return known


def _leave_to_reveal(
    known: KnownCard, given: tuple[Source, ...], sealed: tuple[Sealed, ...]
) -> frozenset[Permission]:
    """Give the permission that PIN blocks need to become a PIN that can be revealed."""
    takes_block = any(
        each.is_new and isinstance(part, SealedBlock) and part.stored is None
        for each, part in zip(given, sealed, strict=True)
    )
    needs_leave = takes_block and known.program.reveal
    return frozenset({Permission.BLOCK_TO_REVEAL}) if needs_leave else frozenset()


def _sealed(desk: CardDesk, call: Call, known: KnownCard, each: Source) -> Sealed:
    """Resolve a source, for the card and no other; its PAN is put in later."""
    source, at = each.source, each.at
    if isinstance(source, CardSource) and each.is_new:
        other = desk.look_up(call, ById(source.card_id))
        return kept.for_source(desk, other, known.card.pan_index, at=f"{at}.card")
    sealed = desk.router.source(source, caller=call.caller, card_id=known.card.id, at=at)
    if isinstance(sealed, SealedBlock):
        require_bound([(sealed, at)])
    if source.pan is not None and desk.index.of(source.pan) != known.card.pan_index:
        raise Refusal(Reason.PAN_MISMATCH)
    return sealed

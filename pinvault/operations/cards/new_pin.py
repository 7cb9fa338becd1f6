"""New PINs: set, changed and reset, by whatever right; one transaction ends all of these.

Rules:
- All of a new PIN is there or nothing: what verifies and reveals it, tries, the token or session
  that was used, what the sources used up, messages, and the answer for the request's id.
- A PIN replaces the one that was seen before the HSM was asked, or the call is refused.
- How often a card's PIN may be new is bounded, since every new PIN gives tries back.
- A PIN that is drawn here leaves in an envelope, once it is kept: what went out is the card's PIN.
- A new PIN is judged only after the current one was right, which its refusal tells: all tries are
  there again then, and what was used up stays so.
"""

from dataclasses import dataclass, replace
from typing import Any

from pinvault.clearzone.card_zone import Made, Outcome, Recipe, SpentNonce
from pinvault.clearzone.parcels import EnvelopeToMake, Reference
from pinvault.model.call import Call
from pinvault.model.cards import EventType
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.verification import PinOffset
from pinvault.operations.cards import kept, trial, uses
from pinvault.operations.cards.answers import (
    MICROSECONDS,
    PinIssued,
    PinPlaced,
    PinState,
    PinVerdict,
    state_of,
)
from pinvault.operations.cards.desk import CardDesk, KnownCard
from pinvault.operations.cards.intake import Admitted
from pinvault.operations.cards.once import Once
from pinvault.operations.cards.trial import Step
from pinvault.store import Connection, pins
from pinvault.store.pins import NO_PIN, PinMaterial, StoredPin


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """By what right a PIN becomes new, and what others are told of it.

    `first` is what they are told of a card's first PIN; without it, a PIN must be there. What
    `lifts` lifts the block of that one. `counts` is a step of the first transaction, which uses one
    of what may be tried; `uses_up` one of the last, which uses up what is good once.
    """

    event: EventType
    first: EventType | None = None
    lifts: bool = False
    counts: Step | None = None
    uses_up: Step | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPin:
    """One call that is to make the PIN of a card new."""

    desk: CardDesk
    call: Call
    known: KnownCard
    admitted: Admitted
    right: Right
    once: Once[Any]

    def issue(self, length: int, target: EnvelopeToMake) -> PinIssued:
        """Draw the PIN, keep it and seal it for the partner of the target, or refuse."""
        desk, pan, scheme = self.desk, self.admitted.pan, self.known.program.scheme
        recipe = kept.recipe(desk, self.known.program, pan)
        before = self._begin()
        bound = replace(target, pan=pan)
        made, envelope = desk.zone.generate(length, bound, recipe, pan, self.admitted.terms)
        stored_keys = tuple(dict.fromkeys(kept.keys_of(recipe)))
        self.call.notes.opened_by(*stored_keys)
        material = kept.material(recipe, made)
        placed = desk.write(lambda db: self._replace(db, before, material, ()))
        return PinIssued(
            card_id=self.known.card.id,
            set_at=placed.set_at / MICROSECONDS,
            envelope=envelope,
            offset=made.value if isinstance(made.value, PinOffset) else None,
            scheme="" if scheme is None else scheme.name,
            target_key=target.key,
            stored_keys=stored_keys,
        )

    def place(self) -> PinPlaced:
        """Set the PIN, the first or another, or refuse."""
        desk, admitted = self.desk, self.admitted
        (new,) = admitted.sources
        recipe = kept.recipe(desk, self.known.program, admitted.pan)
        before = self._begin()
        with self.once.released():
            made = desk.zone.make(new, recipe, admitted.pan, admitted.terms)
            stored_keys = self._note(made, *kept.keys_of(recipe))
            material = kept.material(recipe, made.result)

            def end(db: Connection) -> PinPlaced:
                state = self._state(self._replace(db, before, material, made.spent))
                placed = PinPlaced(
                    card_id=self.known.card.id,
                    set_at=state.set_at,
                    blocked=state.blocked,
                    source_keys=made.openers,
                    stored_keys=stored_keys,
                )
                self.once.finish(db, placed)
                return placed

            return desk.write(end)

    def change(self) -> PinVerdict:
        """Set the PIN if the current one is right, or refuse; a wrong one is no refusal."""
        desk, known, pan = self.desk, self.known, self.admitted.pan
        recipe = kept.recipe(desk, known.program, pan)
        steps = filter(None, (self.right.counts, self._require_left))
        counted = trial.begin(desk, known, self.once, *steps)
        with self.once.released():
            reference, changed = self._compare(counted, recipe)
            stored_keys = self._note(changed, kept.key_of(reference), *kept.keys_of(recipe))

            def end(db: Connection) -> PinVerdict:
                if changed.result is None:
                    state = trial.wrong(db, desk, known, counted)
                    uses.spend(db, desk, changed.spent)
                else:
                    material = kept.material(recipe, changed.result)
                    state = self._state(self._replace(db, counted, material, changed.spent))
                verdict = PinVerdict(
                    matches=changed.result is not None,
                    tries_left=state.tries_left,
                    blocked=state.blocked,
                    set_at=None if changed.result is None else state.set_at,
                    source_keys=changed.openers,
                    stored_keys=stored_keys,
                )
                self.once.finish(db, verdict)
                return verdict

            return desk.write(end)

    def _compare(
        self, counted: StoredPin, recipe: Recipe
    ) -> tuple[Reference, Outcome[Made | None]]:
        """Make what is to be kept if the current PIN is right, or refuse a weak new one."""
        desk, pan, terms = self.desk, self.admitted.pan, self.admitted.terms
        current, new = self.admitted.sources
        spent: list[SpentNonce] = []

        def clear(db: Connection) -> None:
            trial.right(db, self.known, counted)
            uses.spend(db, desk, spent)

        try:
            with trial.nothing_compared(desk, counted):
                known = kept.reference(desk, counted, pan)
                return known, desk.zone.change(current, new, known, recipe, pan, terms, spent=spent)
        except Refusal as refusal:
            if refusal.reason is Reason.PIN_WEAK:
                desk.write(clear)
            raise

    def _begin(self) -> StoredPin | None:
        """See, in the first transaction, which PIN is to be replaced, or refuse."""
        counts = self.right.counts

        def look(db: Connection) -> StoredPin | None:
            if counts is not None:
                counts(db)
            self.once.begin(db)
            before = pins.get_pin(db, self.known.card.id)
            if before is None and self.right.first is None:
                raise Refusal(Reason.PIN_NOT_SET)
            self._require_left(db)
            return before

        writes = counts is not None or self.once.has_id
        return self.desk.write(look) if writes else self.desk.read(look)

    def _replace(
        self,
        db: Connection,
        before: StoredPin | None,
        material: PinMaterial,
        spent: tuple[SpentNonce, ...],
    ) -> StoredPin:
        """Do everything that makes the PIN new, and give it, or refuse."""
        desk, known, right, now = self.desk, self.known, self.right, self.desk.micros()
        if right.uses_up is not None:
            right.uses_up(db)
        was_blocked = right.lifts and pins.unblock(db, known.card.id)
        replaces = NO_PIN if before is None else before.generation
        placed = pins.put_pin(db, known.card.id, material, replaces=replaces, now=now)
        if placed is None:
            raise Refusal(Reason.PIN_CHANGED_MEANWHILE)
        uses.count(db, desk, known, uses.CHANGES, known.program.changes)
        uses.spend(db, desk, spent)
        event = right.first if before is None and right.first is not None else right.event
        operation = self.once.operation
        desk.tell(db, event, known, now=now, operation=operation)
        if was_blocked:
            desk.tell(db, EventType.CARD_PIN_UNBLOCKED, known, now=now)
        return placed

    def _state(self, pin: StoredPin) -> PinState:
        return state_of(pin, self.known.program)

    def _require_left(self, db: Connection) -> None:
        uses.require_left(db, self.desk, self.known, uses.CHANGES, self.known.program.changes)

    def _note(self, outcome: Outcome[Any], *stored: Key) -> tuple[Key, ...]:
        """Note what opened the sources and what is kept, and give the keys of the latter once."""
        keys = tuple(dict.fromkeys(stored))
        self.call.notes.opened_by(*outcome.openers, *keys)
        return keys

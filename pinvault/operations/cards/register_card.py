"""RegisterCard: a card of a program; its PAN is kept enciphered, and found by a keyed hash.

What never changes of a card is sealed, and is proven whenever its row is read.
"""

from dataclasses import dataclass, replace

from pinvault.model.call import Call
from pinvault.model.cards import ID_RANDOM_BYTES, CardStatus, card_id, owner
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key, Usage
from pinvault.model.pan import Pan
from pinvault.operations.cards import kept
from pinvault.operations.cards.answers import CardView
from pinvault.operations.cards.desk import CardDesk
from pinvault.operations.cards.once import NO_ID, Once, Request
from pinvault.policy.grants import Ask
from pinvault.store import Connection, cards
from pinvault.store.cards import Card

NO_SEQUENCE_NUMBER = "00"


@dataclass(frozen=True, slots=True)
class RegisterCard:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(
        self,
        call: Call,
        *,
        program: str,
        pan: Pan,
        sequence_number: str | None,
        expiry: str,
        status: CardStatus,
        external_id: str | None,
        request: Request = NO_ID,
    ) -> CardView:
        """Register the card, or refuse one that is there already."""
        desk, once = self.desk, Once(self.desk, call, request, CardView)
        desk.admission.note(call, pan)
        if (told := once.told()) is not None:
            return told
        its_program = desk.programs.get(program)
        if its_program is None:
            raise Refusal(Reason.PROGRAM_UNKNOWN, field="program")
        call.notes.program = program
        desk.admission.admit(call, Ask(programs=[program]), pan)
        key = kept.making_key(desk, desk.keys.pan, Usage.D0)

        if once.has_id:
            desk.write(once.begin)
        with once.released():
            card = self._card(
                call,
                pan,
                key,
                program=program,
                external_id=external_id,
                sequence_number=sequence_number or NO_SEQUENCE_NUMBER,
                expiry=expiry,
                status=status.value,
            )
            call.notes.opened_by(key)
            view = CardView.of(card, None, its_program)

            def end(db: Connection) -> CardView:
                if not cards.insert_card(db, card):
                    raise Refusal(Reason.CARD_ALREADY_EXISTS)
                call.notes.card = card.id
                once.finish(db, view)
                return view

            return desk.write(end)

    def _card(
        self, call: Call, pan: Pan, key: Key, *, program: str, external_id: str | None, **facts: str
    ) -> Card:
        """Draw the card's id, seal its PAN for it, and then all that is said of it."""
        desk, now = self.desk, self.desk.micros()
        drawn = desk.zone.random(ID_RANDOM_BYTES, call.deadline)
        new_id = card_id(now_ms=now // 1000, drawn=drawn)
        sealed = desk.zone.seal_pan(
            pan, owner=owner(new_id, program, external_id), key=key, deadline=call.deadline
        )
        card = Card(
            id=new_id,
            program=program,
            external_id=external_id,
            pan_index=desk.index.of(pan),
            pan_cipher=sealed,
            pan_key=key.id,
            last_four=pan.digits()[-4:],
            created_at=now,
            changed_at=now,
            seal=b"",
            **facts,
        )
        return replace(card, seal=desk.seals.of_card(card))

"""SetCardStatus: where a card is in its life; a closed one stays closed."""

from dataclasses import dataclass, replace

from pinvault.model.call import Call
from pinvault.model.cards import CardRef, CardStatus
from pinvault.model.errors import Reason, Refusal
from pinvault.operations.cards.answers import CardView
from pinvault.operations.cards.desk import CardDesk, KnownCard
from pinvault.store import Connection, cards, pins


@dataclass(frozen=True, slots=True)
class SetCardStatus:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(self, call: Call, *, card: CardRef, status: CardStatus) -> CardView:
        """Change the status and give the card, or refuse."""
        known = self.desk.find(call, card)
        return self.desk.write(lambda db: self._set(db, known, status))

    def _set(self, db: Connection, known: KnownCard, status: CardStatus) -> CardView:
        card_id, now = known.card.id, self.desk.micros()
        while True:
            found = cards.get_card(db, card_id)
            if found is None:
                raise Refusal(Reason.CARD_UNKNOWN)
            present = self.desk.proven(found).card
            if present.status == CardStatus.CLOSED and status is not CardStatus.CLOSED:
                raise Refusal(Reason.CARD_STATUS, field="status")
            # Another call may have changed it since it was looked at; then it is looked at again.
            if cards.set_status(db, card_id, expected=present.status, status=status.value, now=now):
                changed = replace(present, status=status.value, changed_at=now)
                return CardView.of(changed, pins.get_pin(db, card_id), known.program)

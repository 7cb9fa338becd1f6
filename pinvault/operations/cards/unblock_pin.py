"""UnblockPin: the block of a card's PIN is lifted, and all tries are there again."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.cards import CardRef, EventType
from pinvault.model.errors import Reason, Refusal
from pinvault.operations.cards.answers import CardView
from pinvault.operations.cards.desk import CardDesk, KnownCard
from pinvault.store import Connection, pins


@dataclass(frozen=True, slots=True)
class UnblockPin:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(self, call: Call, *, card: CardRef) -> CardView:
        """Lift the block, if there is one, and give the card, or refuse."""
        known = self.desk.find(call, card)
        return self.desk.write(lambda db: self._unblock(db, known))

    def _unblock(self, db: Connection, known: KnownCard) -> CardView:
        card_id = known.card.id
        if pins.unblock(db, card_id):
            self.desk.tell(db, EventType.CARD_PIN_UNBLOCKED, known, now=self.desk.micros())
        pin = pins.get_pin(db, card_id)
        if pin is None:
            raise Refusal(Reason.PIN_NOT_SET)
        return CardView.of(known.card, pin, known.program)

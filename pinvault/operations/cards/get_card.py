"""GetCard: a card, and how its PIN stands."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.cards import CardRef
from pinvault.operations.cards.answers import CardView
from pinvault.operations.cards.desk import CardDesk
from pinvault.store import pins


@dataclass(frozen=True, slots=True)
class GetCard:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(self, call: Call, *, card: CardRef) -> CardView:
        """Give the card, or refuse."""
        known = self.desk.find(call, card)
        pin = self.desk.read(lambda db: pins.get_pin(db, known.card.id))
        return CardView.of(known.card, pin, known.program)

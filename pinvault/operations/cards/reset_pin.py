"""ResetPin: another PIN in the place of one that is forgotten or blocked."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.cards import CardRef, EventType, PinUse
from pinvault.model.pins import PinSource
from pinvault.operations.cards.answers import PinPlaced
from pinvault.operations.cards.desk import CardDesk
from pinvault.operations.cards.intake import Source, admit
from pinvault.operations.cards.new_pin import NewPin, Right
from pinvault.operations.cards.once import NO_ID, Once, Request


@dataclass(frozen=True, slots=True)
class ResetPin:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(
        self,
        call: Call,
        *,
        card: CardRef,
        new: PinSource,
        request: Request = NO_ID,
    ) -> PinPlaced:
        """Replace the PIN and lift its block, or refuse."""
        desk, once = self.desk, Once(self.desk, call, request, PinPlaced)
        if (told := once.told()) is not None:
            return told
        known = desk.find(call, card, PinUse.SET)
        admitted = admit(desk, call, known, Source(source=new, at="new_source", is_new=True))
        right = Right(event=EventType.PIN_RESET, lifts=True)
        new_pin = NewPin(
            desk=desk, call=call, known=known, admitted=admitted, right=right, once=once
        )
        return new_pin.place()

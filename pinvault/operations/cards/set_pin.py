"""SetPin: a card's PIN, the first or another, by the card or by a control token that names it."""

from dataclasses import dataclass, replace

from pinvault.model.call import Call
from pinvault.model.cards import CardRef, EventType, PinUse, TokenKind
from pinvault.model.pins import PinSource
from pinvault.operations.cards.answers import PinPlaced
from pinvault.operations.cards.desk import CardDesk, KnownCard
from pinvault.operations.cards.intake import Source, admit
from pinvault.operations.cards.new_pin import NewPin, Right
from pinvault.operations.cards.once import NO_ID, Once, Request
from pinvault.store import Connection


@dataclass(frozen=True, slots=True)
class SetPin:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(
        self,
        call: Call,
        *,
        card: CardRef | None,
        control_token: str | None,
        new: PinSource,
        request: Request = NO_ID,
    ) -> PinPlaced:
        """Set the PIN, or refuse; a block stays, and so does a token that set nothing."""
        desk, once = self.desk, Once(self.desk, call, request, PinPlaced)
        if (told := once.told()) is not None:
            return told
        known, right = self._entitled(call, card, control_token)
        admitted = admit(desk, call, known, Source(source=new, at="new_source", is_new=True))
        new_pin = NewPin(
            desk=desk, call=call, known=known, admitted=admitted, right=right, once=once
        )
        return new_pin.place()

    def _entitled(
        self, call: Call, card: CardRef | None, control_token: str | None
    ) -> tuple[KnownCard, Right]:
        desk, kind = self.desk, TokenKind.SET_PIN
        right = Right(event=EventType.PIN_SET, first=EventType.PIN_SET)
        if control_token is None:
            if card is None:
                raise ValueError("a card or a token names the card")
            return desk.find(call, card, PinUse.SET), right

        known = desk.holder(call, control_token, kind, PinUse.SET)

        def redeem(db: Connection) -> None:
            desk.redeem(db, call, control_token, kind, known)

        return known, replace(right, uses_up=redeem)

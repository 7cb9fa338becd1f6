"""ChangePin: the current PIN is checked and the new one set, in one step."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.cards import CardRef, EventType, PinUse
from pinvault.model.pins import PinSource
from pinvault.operations.cards import trial
from pinvault.operations.cards.answers import PinVerdict
from pinvault.operations.cards.desk import CardDesk
from pinvault.operations.cards.intake import Source, admit
from pinvault.operations.cards.new_pin import NewPin, Right
from pinvault.operations.cards.once import NO_ID, Once, Request


@dataclass(frozen=True, slots=True)
class ChangePin:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(
        self,
        call: Call,
        *,
        card: CardRef,
        current: PinSource,
        new: PinSource,
        request: Request = NO_ID,
    ) -> PinVerdict:
        """Change the PIN, or refuse; a wrong current one is no refusal, and costs a try."""
        desk, once = self.desk, Once(self.desk, call, request, PinVerdict)
        if (told := once.told()) is not None:
            return told
        known = desk.find(call, card, PinUse.SET, PinUse.CHECK)
        trial.require_tries(desk, known)
        admitted = admit(
            desk,
            call,
            known,
            Source(source=current, at="current_source"),
            Source(source=new, at="new_source", is_new=True),
        )
        right = Right(event=EventType.PIN_CHANGED)
        new_pin = NewPin(
            desk=desk, call=call, known=known, admitted=admitted, right=right, once=once
        )
        return new_pin.change()

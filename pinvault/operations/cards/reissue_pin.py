"""ReissuePin: a new PIN that is drawn here, kept, and given out in an envelope for a partner.

Nobody chose it, and whoever asks does not see it. It takes no id of a request: an answer that is
told again would have to be kept, with the PIN in it. Who asks again gets another PIN, which is then
the card's.
"""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.cards import CardRef, EventType, PinUse
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pins import EnvelopeTarget
from pinvault.operations.cards.answers import PinIssued
from pinvault.operations.cards.desk import CardDesk
from pinvault.operations.cards.intake import admit
from pinvault.operations.cards.new_pin import NewPin, Right
from pinvault.operations.cards.once import NO_ID, Once

_AT = "profile"


@dataclass(frozen=True, slots=True)
class ReissuePin:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(self, call: Call, *, card: CardRef, profile: str) -> PinIssued:
        """Issue the PIN, the first or another, and lift a block, or refuse."""
        desk = self.desk
        known = desk.find(call, card, PinUse.SET)
        target = desk.router.envelope(EnvelopeTarget(profile=profile, pan=None), at=_AT)
        length = known.program.pin_length.minimum
        if not target.profile.pin_length.allows(length):
            raise Refusal(Reason.PROFILE_MISMATCH, field=_AT)
        admitted = admit(desk, call, known, target=target)
        new_pin = NewPin(
            desk=desk,
            call=call,
            known=known,
            admitted=admitted,
            right=Right(event=EventType.PIN_RESET, first=EventType.PIN_SET, lifts=True),
            once=Once(desk, call, NO_ID, PinIssued),
        )
        return new_pin.issue(length, target)

"""CreatePinSession: leave to set, change or reset one card's PIN on a page of this server."""

import base64
from dataclasses import dataclass, field

from pinvault.model.call import Call
from pinvault.model.cards import CardRef, PinUse, SessionAction
from pinvault.model.errors import Reason, Refusal, Violation
from pinvault.operations.cards.answers import MICROSECONDS
from pinvault.operations.cards.desk import CardDesk
from pinvault.store import sessions
from pinvault.store.sessions import PinSession

ID_BYTES = 18
SECRET_BYTES = 32
USES = {
    SessionAction.SET: (PinUse.SET,),
    SessionAction.CHANGE: (PinUse.SET, PinUse.CHECK),
    SessionAction.RESET: (PinUse.SET,),
}
"""What the card's status must allow for each action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedSession:
    """A session, what opens it, and until when it is good (Unix seconds)."""

    session_id: str
    secret: str = field(repr=False)
    card_id: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class CreatePinSession:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(
        self, call: Call, *, card: CardRef, action: SessionAction, origin: str
    ) -> CreatedSession:
        """Create the session for a page within `origin`, or refuse."""
        desk = self.desk
        known = desk.find(call, card, *USES[action])
        if origin not in known.program.origins:
            unknown = Violation("origin", "the card's program has no such origin")
            raise Refusal(Reason.REQUEST_INVALID, violations=(unknown,))

        drawn = desk.zone.random(ID_BYTES + SECRET_BYTES, call.deadline)
        session_id, secret = text_of(drawn[:ID_BYTES]), text_of(drawn[ID_BYTES:])

        expires_at = desk.micros() + int(known.program.session_s * MICROSECONDS)
        session = PinSession(
            id=session_id,
            card_id=known.card.id,
            action=action.value,
            caller=call.caller,
            origin=origin,
            entries=0,
            expires_at=expires_at,
        )
        hashed = desk.seals.of_session("session", session, secret)
        desk.write(lambda db: sessions.add_session(db, session, secret_hash=hashed))
        return CreatedSession(
            session_id=session_id,
            secret=secret,
            card_id=known.card.id,
            expires_at=expires_at / MICROSECONDS,
        )


def text_of(drawn: bytes) -> str:
    """Write random bytes in base64url without padding."""
    return base64.urlsafe_b64encode(drawn).rstrip(b"=").decode()

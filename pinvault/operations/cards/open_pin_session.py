"""OpenPinSession: the secret of a page's address becomes one that only the page has, once."""

from dataclasses import dataclass, field

from pinvault.model.call import Call
from pinvault.model.cards import SessionAction
from pinvault.model.errors import Reason, Refusal
from pinvault.model.profiles import PinLength
from pinvault.operations.cards.answers import MICROSECONDS
from pinvault.operations.cards.create_pin_session import SECRET_BYTES, text_of
from pinvault.operations.cards.desk import CardDesk
from pinvault.store import sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSession:
    """What a page must know; `expires_at` is in Unix seconds."""

    page_secret: str = field(repr=False)
    card_id: str
    last_four: str
    action: SessionAction
    pin_length: PinLength
    origin: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class OpenPinSession:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(self, call: Call, *, session_id: str, secret: str) -> OpenedSession:
        """Open the session, or refuse."""
        desk = self.desk
        session, known = desk.session(call, session_id)

        page_secret = text_of(desk.zone.random(SECRET_BYTES, call.deadline))

        hashed = desk.seals.of_session("session", session, secret)
        page_hash = desk.seals.of_session("page", session, page_secret)
        opened = desk.write(
            lambda db: sessions.exchange(
                db,
                session_id,
                secret_hash=hashed,
                page_hash=page_hash,
                now=desk.micros(),
            )
        )
        if opened is None:
            raise Refusal(Reason.SESSION_REFUSED)
        return OpenedSession(
            page_secret=page_secret,
            card_id=opened.card_id,
            last_four=known.card.last_four,
            action=SessionAction(opened.action),
            pin_length=known.program.pin_length,
            origin=opened.origin,
            expires_at=opened.expires_at / MICROSECONDS,
        )

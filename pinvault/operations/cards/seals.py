"""Seals of what stands in rows: who writes the store, and has no HSM, makes none.

Rules:
- A seal says all that must not be lied about, and what it is a seal of.
- It is an HMAC under a key that only the HSM gives, 32 bytes.
"""

import hmac
from dataclasses import dataclass, field

from pinvault.model.cards import TokenKind
from pinvault.store.cards import Card
from pinvault.store.sessions import PinSession


@dataclass(frozen=True, slots=True)
class Seals:
    """The seals under a key of 32 bytes."""

    key: bytes = field(repr=False)

    def of(self, purpose: str, *parts: str | bytes) -> bytes:
        """Seal what is said; a text holds no zero byte, and bytes come last."""
        said = (part.encode() if isinstance(part, str) else part for part in (purpose, *parts))
        return hmac.digest(self.key, b"\0".join(said), "sha256")

    def of_card(self, card: Card) -> bytes:
        """Seal all that registration said of a card."""
        words = (card.id, card.program, card.external_id or "", card.last_four)
        return self.of("card", *words, card.sequence_number, card.expiry, card.pan_index)

    def of_token(
        self, token: str, kind: TokenKind, *, card_id: str, caller: str, expires_at: int
    ) -> bytes:
        """Seal a control token for its caller."""
        return self.of("token", card_id, kind, caller, str(expires_at), token)

    def of_session(self, purpose: str, session: PinSession, secret: str) -> bytes:
        """Seal a secret of a session with all that is said of the session."""
        who = (session.id, session.card_id, session.action, session.caller, session.origin)
        return self.of(purpose, *who, str(session.expires_at), secret)

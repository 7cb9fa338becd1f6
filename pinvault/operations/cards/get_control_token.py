"""GetControlToken: what a token is good for, for whom it was issued to; the token stays good."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.cards import TokenKind
from pinvault.operations.cards.answers import MICROSECONDS
from pinvault.operations.cards.desk import CardDesk


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """A control token that could be redeemed now, and until when (Unix seconds)."""

    card_id: str
    kind: TokenKind
    expires_at: float


@dataclass(frozen=True, slots=True)
class GetControlToken:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(self, call: Call, *, control_token: str) -> TokenView:
        """Tell of the token, or refuse whatever is wrong with it by one reason."""
        kind, expires_at, known = self.desk.meaning(call, control_token)
        return TokenView(card_id=known.card.id, kind=kind, expires_at=expires_at / MICROSECONDS)

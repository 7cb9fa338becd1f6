"""IssueControlToken: leave for one use with one card's PIN, for whoever holds the token.

A token is a random UUID (version 4) that says nothing of the card. Its hash alone is kept.
"""

import uuid
from dataclasses import dataclass, field

from pinvault.model.call import Call
from pinvault.model.cards import CardRef, TokenKind
from pinvault.model.errors import Reason, Refusal
from pinvault.operations.cards.answers import MICROSECONDS
from pinvault.operations.cards.desk import CardDesk, token_hash
from pinvault.store import tokens

_UUID_BYTES = 16
_RANDOM = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A control token, its card, and until when it is good (Unix seconds)."""

    token: str = field(repr=False)
    card_id: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class IssueControlToken:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(self, call: Call, *, card: CardRef, kind: TokenKind) -> IssuedToken:
        """Issue the token, or refuse; the one before it, of its kind and card, is dead then."""
        desk = self.desk
        known = desk.find(call, card)
        if kind is TokenKind.REVEAL_PIN and not known.program.reveal:
            raise Refusal(Reason.PIN_NOT_REVEALABLE)

        drawn = desk.zone.random(_UUID_BYTES, call.deadline)
        token = str(uuid.UUID(bytes=drawn, version=_RANDOM))

        now = desk.micros()
        expires_at = now + int(known.program.token_s[kind] * MICROSECONDS)
        seal = desk.seals.of_token(
            token, kind, card_id=known.card.id, caller=call.caller, expires_at=expires_at
        )
        desk.write(
            lambda db: tokens.issue(
                db,
                card_id=known.card.id,
                kind=kind.value,
                token_hash=token_hash(token),
                seal=seal,
                caller=call.caller,
                now=now,
                expires_at=expires_at,
            )
        )
        return IssuedToken(token=token, card_id=known.card.id, expires_at=expires_at / MICROSECONDS)

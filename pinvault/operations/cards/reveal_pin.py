"""RevealPin: a card's PIN, sealed for whoever holds a control token and verified its cardholder.

Rules:
- The token, the count of reveals and the recipient's key are used up before the PIN is opened, and
  the message of it is kept before the answer leaves: a PIN that went out was told of.
- How the cardholder was verified is the requester's word; it is recorded.
"""

import hashlib
from dataclasses import dataclass, field

from pinvault.clearzone.envelope.p256 import require_point
from pinvault.clearzone.parcels import SealedBlock
from pinvault.model.call import Call
from pinvault.model.cards import EventType, PinUse, TokenKind, Verification
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.operations.cards import kept, uses
from pinvault.operations.cards.desk import CardDesk, KnownCard
from pinvault.operations.cards.intake import admit
from pinvault.store import Connection, pins

SHOWN_WITHIN_S = 300
"""How long a recipient may show what is sealed for it, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """A sealed PIN: a compact JWE for the recipient, and the key that it was kept under."""

    card_id: str
    envelope: str = field(repr=False)
    key: Key


@dataclass(frozen=True, slots=True)
class RevealPin:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(
        self, call: Call, *, control_token: str, verification: Verification, recipient: bytes
    ) -> Revealed:
        """Seal the PIN for the recipient (a P-256 point, 65 bytes, uncompressed), or refuse."""
        desk = self.desk
        _require_point(recipient)
        known = desk.holder(call, control_token, TokenKind.REVEAL_PIN, PinUse.REVEAL)
        admitted = admit(desk, call, known)
        call.notes.target = verification.value

        stored = desk.write(
            lambda db: self._use_up(db, call, known, control_token, recipient, admitted.pan)
        )
        call.notes.opened_by(stored.key)
        envelope = desk.zone.reveal(
            stored,
            recipient,
            card_id=known.card.id,
            expires=int(desk.now()) + SHOWN_WITHIN_S,
            terms=admitted.terms,
        )
        desk.write(lambda db: desk.tell(db, EventType.PIN_REVEALED, known, now=desk.micros()))
        return Revealed(card_id=known.card.id, envelope=envelope, key=stored.key)

    def _use_up(
        self,
        db: Connection,
        call: Call,
        known: KnownCard,
        control_token: str,
        recipient: bytes,
        pan: Pan,
    ) -> SealedBlock:
        """Use up what this reveal takes and give what it opens, or refuse and use up nothing."""
        desk = self.desk
        desk.redeem(db, call, control_token, TokenKind.REVEAL_PIN, known)
        pin = pins.get_pin(db, known.card.id)
        if pin is None:
            raise Refusal(Reason.PIN_NOT_SET)
        if not known.program.reveal:
            raise Refusal(Reason.PIN_NOT_REVEALABLE)
        stored = kept.to_reveal(desk, pin, pan)
        uses.count(db, desk, known, uses.REVEALS, known.program.reveals)
        uses.spend_recipient(db, desk, hashlib.sha256(recipient).digest())
        return stored


def _require_point(recipient: bytes) -> None:
    try:
        require_point(recipient)
    except ValueError:
        raise Refusal(Reason.RECIPIENT_KEY_REFUSED, field="recipient_key") from None

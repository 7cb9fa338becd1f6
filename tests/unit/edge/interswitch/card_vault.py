"""The fake PIN vault with numbers of cards, PINs in fields, sessions, and ids of requests."""

import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pinvault.client import (
    Card,
    CardNumber,
    ExternalId,
    Ibm3624Offset,
    KeyUse,
    PinVerdict,
    PlacedPin,
    SealedPin,
)
from pinvault.client.card_values import CardStatus, CreatedSession, IssuedPin, SessionAction
from tests.unit.edge.connectfi.fake_vault import (
    NOW,
    TRIES,
    WEAK,
    FakeCards,
    FakeVault,
    card,
    refusal,
)

SESSION = ("c2Vzc2lvbi1vZi10aGUtc2FtcGxl", "c2VjcmV0LW9mLXRoZS1zYW1wbGUtc2Vzc2lvbi0wMDAwMDE")
OFFSET = Ibm3624Offset(scheme="offset", value="6192")


@dataclass
class NumberedCards(FakeCards):
    """`vault.cards`, with the verbs that the other fake has not."""

    numbers: dict[str, str] = field(default_factory=dict)
    fields: dict[bytes, str] = field(default_factory=dict)
    spent: set[bytes] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    issues: str = ""
    offset: Ibm3624Offset | None = OFFSET
    sessions: list[tuple[str, SessionAction, str]] = field(default_factory=list)
    next_session: tuple[str, str] | None = SESSION
    expires_at: datetime = NOW + timedelta(minutes=10)

    def get(self, which: str | ExternalId | CardNumber) -> Card:
        if not isinstance(which, CardNumber):
            return super().get(which)
        self._ask("get")
        wanted = which.sequence_number
        found = [
            known
            for known in self.registered
            if self.numbers.get(known.card_id) == which.pan
            and wanted in (None, f"0{known.sequence_number}")
            and which.program in (None, known.program)
        ]
        if len(found) == 1:
            return found[0]
        raise refusal("CARD_AMBIGUOUS" if found else "CARD_UNKNOWN")

    def set_pin(
        self,
        card_id: str | None = None,
        *,
        new_pin: SealedPin,
        control_token: str | None = None,
        request_id: str | None = None,
    ) -> PlacedPin:
        if request_id in self.done:
            raise refusal("REQUEST_ID_REUSED")
        placed = super().set_pin(card_id, new_pin=new_pin, control_token=control_token)
        if request_id is not None:
            self.done.add(request_id)
        return placed

    def change_pin(self, card_id: str, *, current_pin: SealedPin, new_pin: SealedPin) -> PinVerdict:
        verdict = self.check_pin(card_id, current_pin)
        self.asked[-1] = "change_pin"
        if verdict:
            pin = self._opened(new_pin, card_id)
            if pin == WEAK:
                raise refusal("PIN_WEAK")
            self.pins[card_id] = pin
        return verdict

    def reissue_pin(self, card_id: str, *, profile: str) -> IssuedPin:
        self._ask(f"reissue_pin {profile}")
        self.pins[card_id] = "0000"
        return IssuedPin(
            card_id=card_id,
            set_at=NOW,
            envelope=self.issues,
            value=self.offset,
            target_key=KeyUse(name="bank-pin", version=1, check_value="A1B2C3"),
            stored_keys=(),
        )

    def create_session(
        self, which: ExternalId, action: SessionAction, *, origin: str
    ) -> CreatedSession:
        known = self.get(which)
        self._ask("create_session")
        self.sessions.append((known.card_id, action, origin))
        session_id, secret = self.next_session or (secrets.token_hex(12), secrets.token_hex(16))
        return CreatedSession(
            session_id=session_id,
            secret=secret,
            card_id=known.card_id,
            expires_at=self.expires_at.astimezone(UTC),
        )

    def _opened(self, sealed: SealedPin, card_id: str) -> str:
        if sealed.profile == "sealed-card":
            return super()._opened(sealed, card_id)
        if sealed.ciphertext in self.spent:
            raise refusal("ENVELOPE_REPLAYED")
        if sealed.ciphertext not in self.fields:
            raise refusal("PIN_SOURCE_REFUSED")
        return self.fields[sealed.ciphertext]


class CardVault(FakeVault):
    """A vault with cards and their numbers in it."""

    def __init__(self, *cards: Card, numbers: tuple[str, ...] = ()) -> None:
        by_card = dict(zip((each.card_id for each in cards), numbers, strict=False))
        self.cards: NumberedCards = NumberedCards(list(cards), numbers=by_card)


def numbered(
    external_id: str,
    *,
    sequence_number: str = "01",
    expiry: str = "5004",
    status: CardStatus = "ACTIVE",
    program: str = "debit",
) -> Card:
    """A card as the vendor's samples have it."""
    made = card(external_id, status=status, program=program)
    return replace(made, sequence_number=sequence_number, expiry=expiry)


def tries_of(cards: NumberedCards) -> int:
    return TRIES - cards.wrong.get(cards.registered[0].card_id, 0)

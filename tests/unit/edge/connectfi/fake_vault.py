"""A PIN vault at the SDK's face: cards, tokens and PINs in memory, refusals as the server has them.

A sealed PIN is a random text here; only the fake knows which digits it stands for.
"""

import base64
import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import grpc
from joserfc import jwe
from joserfc.jwk import ECKey

from pinvault.client import (
    Card,
    ControlToken,
    ExternalId,
    KeyUse,
    PinvaultError,
    PinVerdict,
    PlacedPin,
    RevealedPin,
    RevealKey,
    SealedPin,
    Vault,
)
from pinvault.client.card_values import CardStatus, ControlTokenUse, TokenType, VerifiedBy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEAK = "1111"
TRIES = 3
PIN_LIFE_S = 60


def card(external_id: str, *, status: CardStatus = "ACTIVE", program: str = "debit") -> Card:
    """A registered card; its id is made of its external id's place in the fake."""
    return Card(
        card_id="card_" + "".join(secrets.choice("ghijklmnopqrstuvwxyz") for _ in range(26)),
        program=program,
        external_id=external_id,
        last_four="9999",
        sequence_number="00",
        expiry="2912",
        status=status,
        pin=None,
        created_at=NOW,
    )


@dataclass
class FakeCards:
    """`vault.cards`."""

    registered: list[Card]
    opens: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, tuple[str, TokenType]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    fails: PinvaultError | Exception | None = None
    next_token: str | None = None

    def get(self, which: str | ExternalId) -> Card:
        self._ask("get")
        for known in self.registered:
            by_name = ExternalId(program=known.program, external_id=known.external_id or "")
            if which in (known.card_id, by_name):
                return known
        raise refusal("CARD_UNKNOWN")

    def issue_control_token(self, which: ExternalId, kind: TokenType) -> ControlToken:
        card_id = self.get(which).card_id
        self.tokens = {
            token: held for token, held in self.tokens.items() if held != (card_id, kind)
        }
        token = self.next_token or str(uuid.uuid4())
        self.tokens[token] = (card_id, kind)
        return ControlToken(token=token, card_id=card_id, expires_at=NOW)

    def get_control_token(self, control_token: str) -> ControlTokenUse:
        self._ask("get_control_token")
        card_id, kind = self._held(control_token)
        return ControlTokenUse(card_id=card_id, kind=kind, expires_at=NOW)

    def set_pin(
        self,
        card_id: str | None = None,
        *,
        new_pin: SealedPin,
        control_token: str | None = None,
    ) -> PlacedPin:
        self._ask("set_pin")
        target = card_id or self._held(control_token or "")[0]
        pin = self._opened(new_pin, target)
        if pin == WEAK:
            raise refusal("PIN_WEAK")
        self.pins[target] = pin
        self.tokens.pop(control_token or "", None)
        return PlacedPin(card_id=target, set_at=NOW, blocked=False, source_keys=(), stored_keys=())

    def check_pin(self, card_id: str, sealed: SealedPin) -> PinVerdict:
        self._ask("check_pin")
        pin = self._opened(sealed, card_id)
        if card_id not in self.pins:
            raise refusal("PIN_NOT_SET")
        if self.wrong.get(card_id, 0) == TRIES:
            raise refusal("PIN_BLOCKED")
        matches = pin == self.pins[card_id]
        self.wrong[card_id] = 0 if matches else self.wrong.get(card_id, 0) + 1
        left = TRIES - self.wrong[card_id]
        return PinVerdict(
            matches=matches,
            tries_left=left,
            blocked=not left,
            set_at=None,
            source_keys=(),
            stored_keys=(),
        )

    def reveal_pin(
        self, control_token: str, *, key: RevealKey, verified_by: VerifiedBy
    ) -> RevealedPin:
        self._ask(f"reveal_pin {verified_by}")
        card_id, _ = self._held(control_token)
        if card_id not in self.pins:
            raise refusal("PIN_NOT_SET")
        del self.tokens[control_token]
        return RevealedPin(
            card_id=card_id,
            envelope=_for(key, card_id, self.pins[card_id]),
            stored_key=KeyUse(name="pin-reveal", version=1, check_value="A1B2C3"),
        )

    def _ask(self, verb: str) -> None:
        self.asked.append(verb)
        if self.fails is not None:
            raise self.fails

    def _held(self, token: str) -> tuple[str, TokenType]:
        if token not in self.tokens:
            raise refusal("CONTROL_TOKEN_REFUSED")
        return self.tokens[token]

    def _opened(self, sealed: SealedPin, card_id: str) -> str:
        pin, bound_to = self.opens.pop(sealed.ciphertext)
        if bound_to != card_id:
            raise refusal("PIN_SOURCE_REFUSED")
        return pin


class FakeVault:
    """A vault with cards in it."""

    def __init__(self, *cards: Card) -> None:
        self.cards = FakeCards(list(cards))

    @property
    def face(self) -> Vault:
        """What it passes for."""
        return cast("Vault", self)

    def seal(self, pin: str, *, card: str) -> SealedPin:
        self.cards.asked.append("seal")
        ciphertext = secrets.token_bytes(32)
        self.cards.opens[ciphertext] = (pin, card)
        return SealedPin(profile="sealed-card", ciphertext=ciphertext)


def refusal(reason: str, code: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION) -> Exception:
    return PinvaultError(code=code, reason=reason, text="refused", call_id="call-1")


def _for(key: RevealKey, card_id: str, pin: str) -> str:
    """What the server seals for a key, by another implementation."""
    apv = base64.urlsafe_b64encode(card_id.encode()).rstrip(b"=").decode()
    content = json.dumps({"pin": pin, "card": card_id, "exp": int(time.time()) + PIN_LIFE_S})
    recipient = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y})
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "apv": apv}
    return jwe.encrypt_compact(header, content, recipient, algorithms=["ECDH-ES", "A256GCM"])

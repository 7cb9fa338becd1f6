"""Marqeta's three requests, from what arrived to what is answered.

Rules:
- Nothing is read of a body before the caller's tokens are right.
- A new PIN is sealed for its card as soon as the control token has told the card.
- A control token is good for cards of the dialect's program alone, and for what it was issued for.
- A PIN is revealed where the settings say so, of an active card; its digits come last, into the
  answer, and go nowhere else.
"""

import re
from typing import Final

from pinvault.client import Card, RevealKey
from pinvault.client.card_values import TokenType
from pinvault.edge import credentials, sections
from pinvault.edge.body import decode
from pinvault.edge.card_ids import external_card
from pinvault.edge.dialect import Answer, Arrived, EdgeReason, Endpoint, Refused
from pinvault.edge.ground import Ground
from pinvault.edge.marqeta.auth import CHALLENGE, basic_tokens
from pinvault.edge.marqeta.codes import CODES
from pinvault.edge.marqeta.wire import (
    NotDone,
    PinRequest,
    Revealed,
    RevealRequest,
    TokenIssued,
    TokenRequest,
)

REFUSALS: Final = {code.status: NotDone for code in CODES.values()}
PREFIXES: Final = ("", "/v3")
_CONTROL_TOKEN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Options(sections.Options, frozen=True, kw_only=True):
    """`[dialects.NAME]` with `kind = "marqeta"`; `reveal` lets callers see PINs."""

    reveal: bool = False


class Caller(credentials.Caller, frozen=True, kw_only=True):
    """A caller, by its two tokens."""

    application_token_sha256: credentials.Digest
    access_token_sha256: credentials.Digest


class Marqeta:
    """The API; see the package for what its documents leave open."""

    name = "marqeta"
    codes = CODES

    def __init__(self, ground: Ground[Options, Caller]) -> None:
        self._ground, self._cards = ground, ground.vault.cards

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Give the three of them, with and without the version before the path."""
        return tuple(
            endpoint
            for prefix in PREFIXES
            for endpoint in (
                Endpoint(
                    "POST",
                    f"{prefix}/pins/controltoken",
                    self.issue_token,
                    takes_clear_pin=False,
                    request=TokenRequest,
                    answers={**REFUSALS, 201: TokenIssued},
                    summary="Create a control token for the PIN of a card",
                    authentication="basic",
                ),
                Endpoint(
                    "PUT",
                    f"{prefix}/pins",
                    self.set_pin,
                    takes_clear_pin=True,
                    request=PinRequest,
                    answers={**REFUSALS, 204: None},
                    summary="Create or update the PIN of a card",
                    authentication="basic",
                ),
                Endpoint(
                    "POST",
                    f"{prefix}/pins/reveal",
                    self.reveal_pin,
                    takes_clear_pin=True,
                    request=RevealRequest,
                    answers={**REFUSALS, 200: Revealed},
                    summary="Reveal the PIN of a card",
                    authentication="basic",
                ),
            )
        )

    def issue_token(self, arrived: Arrived) -> Answer:
        """Have a token issued; the one before, of its type and card, is dead then."""
        self._authenticate(arrived)
        asked = decode(arrived, TokenRequest)
        self._ground.rates.spend_card(asked.card_token)
        if asked.controltoken_type == "REVEAL_PIN" and not self._ground.settings.reveal:
            raise Refused(EdgeReason.NOT_AUTHORISED)
        card = external_card(self._ground.settings.program, asked.card_token)
        issued = self._cards.issue_control_token(card, asked.controltoken_type)
        return Answer.json(201, TokenIssued(control_token=issued.token))

    def set_pin(self, arrived: Arrived) -> Answer:
        """Set the PIN of a token's card, the first or another."""
        self._authenticate(arrived)
        asked = decode(arrived, PinRequest)
        self._ground.rates.spend_card(asked.control_token)
        card_id = self._card_id(asked.control_token, "SET_PIN")
        sealed = asked.pin.seal(self._ground.vault, card_id=card_id)
        self._card(card_id)
        self._cards.set_pin(control_token=asked.control_token, new_pin=sealed)
        return Answer(status=204)

    def reveal_pin(self, arrived: Arrived) -> Answer:
        """Give the PIN of a token's card."""
        self._authenticate(arrived)
        if not self._ground.settings.reveal:
            raise Refused("PIN_NOT_REVEALABLE")
        asked = decode(arrived, RevealRequest)
        self._ground.rates.spend_card(asked.control_token)
        card = self._card(self._card_id(asked.control_token, "REVEAL_PIN"))
        if card.status != "ACTIVE":
            raise Refused("CARD_STATUS")
        with RevealKey() as key:
            revealed = self._cards.reveal_pin(
                asked.control_token, key=key, verified_by=asked.cardholder_verification_method
            )
            return Answer.json(
                200, Revealed(pin=key.open(revealed)), headers={"cache-control": "no-store"}
            )

    def render(self, refused: Refused, arrived: Arrived) -> Answer:  # noqa: ARG002 - as all do
        """Say what was not done."""
        code = self.codes[refused.reason]
        told = NotDone(error_code=code.code, error_message=code.message)
        return Answer.json(code.status, told, headers=CHALLENGE if code.status == 401 else {})

    def _authenticate(self, arrived: Arrived) -> None:
        application, access = basic_tokens(arrived.header("authorization"))
        shown = self._ground.credentials.shown(application_token=application, access_token=access)
        self._ground.admitted(shown)

    def _card_id(self, control_token: str, kind: TokenType) -> str:
        """Give the card that a token is for, before it is used up."""
        if not _CONTROL_TOKEN.fullmatch(control_token):
            raise Refused("CONTROL_TOKEN_REFUSED")
        held = self._cards.get_control_token(control_token)
        if held.kind != kind:
            raise Refused("CONTROL_TOKEN_REFUSED")
        return held.card_id

    def _card(self, card_id: str) -> Card:
        """Give a token's card, which must be of the dialect's program."""
        card = self._cards.get(card_id)
        if card.program != self._ground.settings.program:
            raise Refused("CONTROL_TOKEN_REFUSED")
        return card

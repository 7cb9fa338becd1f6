"""Rapyd's request, from what arrived to what is answered.

Rules:
- Nothing is read of a body, and nothing told of a card, before the signature is right.
- The PIN is sealed for its card as soon as the card is known.
- The id of the operation is the request's id on the server, and the id of the issued card is made
  of ours, so that webhook and answer agree in both.
"""

import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Final

from pinvault.client import Card, CardNumber
from pinvault.client.card_values import CardStatus
from pinvault.edge import sections
from pinvault.edge.body import decode
from pinvault.edge.card_ids import external_card
from pinvault.edge.dialect import Answer, Arrived, Endpoint, Parameter, Refused
from pinvault.edge.files import Unfit
from pinvault.edge.ground import Ground
from pinvault.edge.rapyd.auth import (
    ACCESS_KEY,
    SALT,
    SIGNATURE,
    TIMESTAMP,
    Caller,
    Spent,
    authenticate,
)
from pinvault.edge.rapyd.codes import CODES
from pinvault.edge.rapyd.wire import Done, NotDone, PinRequest, SandboxPinRequest, Status
from pinvault.edge.repeats import Repeats

PATH: Final = "/v1/issuing/cards/pin"
IDEMPOTENCY: Final = "idempotency"
ISSUED_ID: Final = "id"
KEPT_S: Final = 24 * 3600.0
REFUSALS: Final = {code.status: NotDone for code in CODES.values()}
STATUSES: Final[Mapping[CardStatus, str]] = {
    "INACTIVE": "INA",
    "ACTIVE": "ACT",
    "SUSPENDED": "BLO",
    "CLOSED": "BLO",
}
_NUMBER = re.compile(r"[0-9]{12,19}")


class Options(sections.Options, frozen=True, kw_only=True):
    """`[dialects.NAME]` with `kind = "rapyd"`; in the `sandbox` the PIN 1111 is refused."""

    sandbox: bool = False


class Rapyd:
    """The API; see the package for what its documents leave open."""

    name = "rapyd"
    codes = CODES

    def __init__(self, ground: Ground[Options, Caller]) -> None:
        self._ground, self._vault = ground, ground.vault
        self._spent = Spent(ground.now)
        self._repeats = Repeats(now=ground.now)
        self._kind = SandboxPinRequest if ground.settings.sandbox else PinRequest
        if ground.facts.tell_of(ISSUED_ID):
            text = f"tells {ISSUED_ID!r}, which is made of our card id as in the webhook: remove it"
            raise Unfit("facts_file", text)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Give the one that there is."""
        signed = (ACCESS_KEY, SALT, TIMESTAMP, SIGNATURE)
        endpoint = Endpoint(
            "POST",
            PATH,
            self.set_pin,
            takes_clear_pin=True,
            request=self._kind,
            answers={**REFUSALS, 200: Done},
            summary="Set the PIN of an issued card",
            parameters=(
                *(Parameter(name=name) for name in signed),
                Parameter(name=IDEMPOTENCY, required=False),
            ),
        )
        return (endpoint,)

    def set_pin(self, arrived: Arrived) -> Answer:
        """Set the PIN of a card, the first or another, once for each idempotency key."""
        signed = authenticate(arrived, self._ground.credentials, self._spent)
        caller = self._ground.admitted(signed)
        asked = decode(arrived, self._kind)
        self._ground.rates.spend_card(asked.card)
        key = arrived.headers.get(IDEMPOTENCY, "")
        if not key:
            return self._set(asked, operation=_operation(arrived))

        def do() -> tuple[Answer, float]:
            said = f"{self._ground.name}\0{caller.name}\0{key}"
            operation = str(uuid.uuid5(uuid.NAMESPACE_OID, said))
            return self._set(asked, operation=operation), self._ground.now() + KEPT_S

        return self._repeats.once(caller=caller.name, request_id=key, same=asked.card, do=do)

    def render(self, refused: Refused, arrived: Arrived) -> Answer:
        """Say what was not done."""
        code = self.codes[refused.reason]
        status = Status(
            error_code=code.code,
            status="ERROR",
            message=code.message,
            response_code=code.code,
            operation_id=_operation(arrived),
        )
        return Answer.json(code.status, NotDone(status))

    def _set(self, asked: PinRequest, *, operation: str) -> Answer:
        card = self._find(asked.card)
        sealed = asked.new_pin.seal(self._vault, card_id=card.card_id)
        self._vault.cards.set_pin(card.card_id, new_pin=sealed, request_id=operation)
        status = Status(
            error_code="", status="SUCCESS", message="", response_code="", operation_id=operation
        )
        return Answer.json(200, Done(status, self._told(card)))

    def _find(self, name: str) -> Card:
        """Give the card of an id or a number, which must be of the dialect's program."""
        program = self._ground.settings.program
        if _NUMBER.fullmatch(name):
            card = self._vault.cards.get(CardNumber(pan=name, program=program))
        else:
            card = self._vault.cards.get(external_card(program, name))
        if card.program != program:
            raise Refused("CARD_UNKNOWN")
        return card

    def _told(self, card: Card) -> dict[str, object]:
        """Give what is told of a card: facts, and above them what the PIN vault knows."""
        known = {
            ISSUED_ID: f"ci_{hashlib.sha256(card.card_id.encode()).hexdigest()[:32]}",
            "status": STATUSES[card.status],
            "card_id": card.external_id or card.card_id,
        }
        own = {**known, "created_at": int(card.created_at.timestamp())}
        return {**known, **self._ground.facts.of(card.external_id), **own}


def _operation(arrived: Arrived) -> str:
    return str(uuid.UUID(hex=arrived.request_id))

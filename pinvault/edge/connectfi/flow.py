"""ConnectFi's two requests, from what arrived to what is answered.

Rules:
- Nothing is read of a body, and nothing told of a card, before the caller's token is right.
- The PIN is sealed for its card as soon as the card is known.
- A PIN is set on cards in status A (inactive) and B (active), and checked on those in B.
- A card's id of digits alone is no id of ours and may be a PAN: it is neither looked for nor
  repeated.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from msgspec import UNSET

from pinvault.client import Card, ExternalId, PinvaultError
from pinvault.client.card_values import CardStatus
from pinvault.edge import credentials, sections
from pinvault.edge.body import decode
from pinvault.edge.connectfi.codes import CODES
from pinvault.edge.connectfi.schema import FAULTS, first_fault
from pinvault.edge.connectfi.wire import Done, NotDone, PinRequest
from pinvault.edge.dialect import Answer, Arrived, EdgeReason, Endpoint, Parameter, Refused
from pinvault.edge.ground import Ground
from pinvault.edge.refusals import refusal_of

TOKEN: Final = "x-connectfi-token"  # noqa: S105 - the name of a header
CARD_ID, FAULT = "cFiCardId", "fault"
REFUSALS: Final = {code.status: NotDone for code in CODES.values()}
SET_IN: Final[frozenset[CardStatus]] = frozenset({"INACTIVE", "ACTIVE"})
CHECKED_IN: Final[frozenset[CardStatus]] = frozenset({"ACTIVE"})


class Options(sections.Options, frozen=True, kw_only=True):
    """`[dialects.NAME]` with `kind = "connectfi"`: nothing but what all dialects have."""


class Caller(credentials.Caller, frozen=True, kw_only=True):
    """A caller, by the token that it shows."""

    token_sha256: credentials.Digest


class ConnectFi:
    """The API; see the package for what its documents leave open."""

    name = "connectfi"
    codes = CODES

    def __init__(self, ground: Ground[Options, Caller]) -> None:
        self._ground, self._vault = ground, ground.vault

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Give the two of them."""
        paths = {"/ibis/card/set-pin": self.set_pin, "/ibis/card/check-pin": self.check_pin}
        return tuple(
            Endpoint(
                "POST",
                path,
                flow,
                takes_clear_pin=True,
                request=PinRequest,
                answers={**REFUSALS, 200: Done},
                summary=(flow.__doc__ or "").rstrip("."),
                parameters=(Parameter(name=TOKEN),),
            )
            for path, flow in paths.items()
        )

    def set_pin(self, arrived: Arrived) -> Answer:
        """Set the PIN of a card, the first or another."""
        self._authenticate(arrived)
        asked = _asked(arrived)
        self._ground.rates.spend_card(asked.card_id)
        with _about(asked.card_id):
            card = self._find(asked.card_id, SET_IN)
            sealed = asked.pin.seal(self._vault, card_id=card.card_id)
            self._vault.cards.set_pin(card.card_id, new_pin=sealed)
        return self._done(asked.card_id, arrived)

    def check_pin(self, arrived: Arrived) -> Answer:
        """Check the PIN of a card; a wrong one costs a try."""
        self._authenticate(arrived)
        asked = _asked(arrived)
        self._ground.rates.spend_card(asked.card_id)
        with _about(asked.card_id):
            card = self._find(asked.card_id, CHECKED_IN)
            sealed = asked.pin.seal(self._vault, card_id=card.card_id)
            verdict = self._vault.cards.check_pin(card.card_id, sealed)
            if not verdict:
                raise Refused("PIN_BLOCKED" if verdict.blocked else EdgeReason.PIN_WRONG)
        return self._done(asked.card_id, arrived)

    def render(self, refused: Refused, arrived: Arrived) -> Answer:
        """Say what was not done, and of which card, or where the schema is broken."""
        code, context = self.codes[refused.reason], refused.context
        if refused.reason == EdgeReason.BODY_INVALID:
            fault = FAULTS.get(context.get(FAULT, ""), FAULTS["body type"])
            broken = NotDone(request_id=arrived.request_id, code=code.code, context=(fault,))
            return Answer.json(code.status, broken)
        not_done = NotDone(
            request_id=arrived.request_id,
            code=code.code,
            context={CARD_ID: context[CARD_ID]} if CARD_ID in context else UNSET,
            message=code.message,
        )
        return Answer.json(code.status, not_done)

    def _authenticate(self, arrived: Arrived) -> None:
        self._ground.admitted(self._ground.credentials.shown(token=arrived.header(TOKEN)))

    def _find(self, card_id: str, statuses: Collection[CardStatus]) -> Card:
        program = self._ground.settings.program
        card = self._vault.cards.get(ExternalId(program=program, external_id=card_id))
        if card.status not in statuses:
            raise Refused("CARD_STATUS")
        return card

    def _done(self, card_id: str, arrived: Arrived) -> Answer:
        told = {CARD_ID: card_id, "cFiStatus": "Complete"}
        data = {**told, **self._ground.facts.of(card_id), **told}  # told first, and not overridden
        return Answer.json(200, Done(code="0", data=data, request_id=arrived.request_id))


def _asked(arrived: Arrived) -> PinRequest:
    try:
        asked = decode(arrived, PinRequest)
    except Refused as refused:
        raise Refused(refused.reason, {FAULT: first_fault(arrived.body)}) from None
    if asked.card_id.isdigit():
        raise Refused("CARD_UNKNOWN")
    return asked


@contextmanager
def _about(card_id: str) -> Iterator[None]:
    """Name the card in whatever is refused."""
    try:
        yield
    except (PinvaultError, Refused) as error:
        refused = refusal_of(error)
        refused.context = {CARD_ID: card_id}
        raise refused from None

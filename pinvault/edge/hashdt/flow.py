"""HashDT's three requests, from what arrived to what is answered.

Rules:
- Nothing is told of a card before the caller's key and token are right.
- What opens a session stands in the fragment of its address, and nowhere else.
- A page is embedded by an origin that the program has.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from pinvault.client.card_values import SessionAction
from pinvault.edge import credentials, sections
from pinvault.edge.bearer import CHALLENGE, bearer_token
from pinvault.edge.card_ids import external_card
from pinvault.edge.dialect import Answer, Arrived, EdgeReason, Endpoint, Parameter, Refused
from pinvault.edge.files import Unfit
from pinvault.edge.ground import Ground
from pinvault.edge.hashdt.codes import CODES
from pinvault.edge.hashdt.wire import Fetched, NotDone, PinUrl
from pinvault.edge.repeats import Repeats

BASE: Final = "/issuing/api/v1/card"
API_KEY, CARD_ID, REQUEST_ID = "x-api-key", "x-card-id", "x-request-id"
REQUIRED: Final = ("x-product-id", "x-cardholder-id", "x-wallet-id", CARD_ID, REQUEST_ID)
REFUSALS: Final = {code.status: NotDone for code in CODES.values()}
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Action:
    """What a session is for: the server's word, the address's, and the answer's."""

    session: SessionAction
    segment: str
    said: str


ACTIONS: Final = {
    f"{BASE}/setpin": Action("SET", "set", "Set"),
    f"{BASE}/resetpin": Action("RESET", "reset", "Reset"),
    f"{BASE}/changepin": Action("CHANGE", "change", "Change"),
}


class Options(sections.Options, frozen=True, kw_only=True):
    """`[dialects.NAME]` with `kind = "hashdt"`: nothing but what all dialects have."""


class Caller(credentials.Caller, frozen=True, kw_only=True):
    """A caller, by key and token; `origin` is that of the site that embeds its pages."""

    api_key_sha256: credentials.Digest
    bearer_sha256: credentials.Digest
    origin: sections.Origin | None = None


class HashDt:
    """The API; see the package for what its documents leave open."""

    name = "hashdt"
    codes = CODES

    def __init__(self, ground: Ground[Options, Caller]) -> None:
        self._ground, self._cards = ground, ground.vault.cards
        self._repeats = Repeats(now=ground.now)
        program = ground.settings.program
        if ground.page is None or program not in ground.page.programs:
            text = f"has no page for cardholders: add [hosted.programs.{program}]"
            raise Unfit("program", text)
        self._origins = ground.page.programs[program].origins
        self._pages = f"{ground.page.public_url}/pin/{program}"

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Give the three of them."""
        names = (API_KEY, *REQUIRED)
        headers = (
            *(Parameter(name=name) for name in names),
            Parameter(name="x-client-id", required=False),
        )
        return tuple(
            Endpoint(
                "GET",
                path,
                partial(self.fetch, action),
                takes_clear_pin=False,
                request=None,
                answers={**REFUSALS, 200: Fetched},
                summary=f"{action.said} PIN of a card: give the address of the page for it",
                parameters=headers,
                authentication="bearer",
            )
            for path, action in ACTIONS.items()
        )

    def fetch(self, action: Action, arrived: Arrived) -> Answer:
        """Give the address of a session's page, the same for the same request."""
        caller = self._authenticate(arrived)
        shown = {name: arrived.header(name) for name in REQUIRED}
        if arrived.media_type() != _JSON:
            raise Refused(EdgeReason.BODY_INVALID)
        card_id = shown[CARD_ID]
        self._ground.rates.spend_card(card_id)
        return self._repeats.once(
            caller=caller.name,
            request_id=shown[REQUEST_ID],
            same=f"{action.segment}\0{card_id}",
            do=lambda: self._made(action, card_id, origin=self._origin(caller)),
        )

    def render(self, refused: Refused, arrived: Arrived) -> Answer:  # noqa: ARG002 - as all do
        """Say what was not done; a header that is missing is named."""
        code, missing = self.codes[refused.reason], refused.context.get("header")
        message = f"{code.message[:-1]}: {missing}." if missing else code.message
        told = NotDone(code=code.status, message=message, status="error")
        return Answer.json(code.status, told, headers=CHALLENGE if code.status == 401 else {})

    def _authenticate(self, arrived: Arrived) -> Caller:
        key, token = arrived.headers.get(API_KEY, ""), bearer_token(arrived)
        return self._ground.admitted(self._ground.credentials.shown(api_key=key, bearer=token))

    def _origin(self, caller: Caller) -> str:
        origin = caller.origin or self._origins[0]
        if origin not in self._origins:
            raise Refused(EdgeReason.NOT_AUTHORISED)
        return origin

    def _made(self, action: Action, card_id: str, *, origin: str) -> tuple[Answer, float]:
        """Have a session made; give its address, and until when it is good."""
        card = external_card(self._ground.settings.program, card_id)
        session = self._cards.create_session(card, action.session, origin=origin)
        url = f"{self._pages}/{action.segment}#{session.session_id}.{session.secret}"
        fetched = Fetched(
            status="Success",
            message=f"{action.said} PIN URL fetched successfully.",
            code=200,
            data=(PinUrl(url),),
        )
        return Answer.json(200, fetched), session.expires_at.timestamp()

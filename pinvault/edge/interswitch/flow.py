"""Interswitch's two requests, from what arrived to what is answered.

Rules:
- Nothing is read of a body before the caller's token is right.
- No PIN is ever in the clear here: fields come in cipher and go to the server as they are.
- A card of another program, and one that expires otherwise, is not there.
"""

from typing import Annotated, Final, TypeVar

from msgspec import UNSET, Meta

from pinvault.client import Card, CardNumber, Ibm3624Offset, SealedPin
from pinvault.edge import credentials, sections
from pinvault.edge.bearer import CHALLENGE, bearer_token
from pinvault.edge.body import decode
from pinvault.edge.dialect import Answer, Arrived, EdgeReason, Endpoint, Parameter, Refused
from pinvault.edge.ground import Ground
from pinvault.edge.interswitch.codes import CODES, ERRORS
from pinvault.edge.interswitch.wire import (
    FORMS,
    Changed,
    ChangeRequest,
    Fault,
    NotDone,
    Reissued,
    ReissueRequest,
)

BASE: Final = "/card-management/api/v1/card"
ACTIVE_ACTIVE: Final = "isActiveActive"
DONE: Final = ("00", "Successful")
REFUSALS: Final = {code.status: NotDone for code in CODES.values()}
_BOOLEANS: Final = {"true": True, "false": False}
AnyRequest = TypeVar("AnyRequest", ChangeRequest, ReissueRequest)
ProfileName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z")]


class Options(sections.Options, frozen=True, kw_only=True):
    """`[dialects.NAME]` with `kind = "interswitch"`.

    `pin_profile` is the server's incoming profile of PIN fields. With `active_active_only` no PIN
    is set without the current one.
    """

    pin_profile: ProfileName = "interswitch-in"
    active_active_only: bool = False


class Caller(credentials.Caller, frozen=True, kw_only=True):
    """A caller, by its token; `reissue_profile` is the server's outgoing profile of its key."""

    bearer_sha256: credentials.Digest
    reissue_profile: ProfileName | None = None


class Interswitch:
    """The API; see the package for what its documents leave open."""

    name = "interswitch"
    codes = CODES

    def __init__(self, ground: Ground[Options, Caller]) -> None:
        self._ground, self._cards = ground, ground.vault.cards

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Give the two of them."""
        return (
            Endpoint(
                "POST",
                f"{BASE}/changePin",
                self.change_pin,
                takes_clear_pin=False,
                request=ChangeRequest,
                answers={**REFUSALS, 200: Changed},
                summary="Change the PIN of a card, or set it",
                parameters=(Parameter(name=ACTIVE_ACTIVE, where="query", kind=bool),),
                authentication="bearer",
            ),
            Endpoint(
                "POST",
                f"{BASE}/reissue-pin",
                self.reissue_pin,
                takes_clear_pin=False,
                request=ReissueRequest,
                answers={**REFUSALS, 200: Reissued},
                summary="Give a card a new PIN, and tell it in cipher",
                parameters=(
                    Parameter(name=ACTIVE_ACTIVE, where="query", required=False, kind=bool),
                ),
                authentication="bearer",
            ),
        )

    def change_pin(self, arrived: Arrived) -> Answer:
        """Change a PIN when the current one is right, or set it where none is required."""
        self._authenticate(arrived)
        is_active_active = _told(arrived) or self._ground.settings.active_active_only
        asked = _asked(arrived, ChangeRequest)
        if is_active_active and not asked.old_pin:
            raise _invalid("oldPin", "is required for active-active")
        self._ground.rates.spend_card(asked.pan)
        card = self._find(asked)
        new_pin = self._sealed(asked.pin)
        if asked.old_pin:
            self._change(card, current=self._sealed(asked.old_pin), new_pin=new_pin)
        else:
            self._cards.set_pin(card.card_id, new_pin=new_pin)
        return Answer.json(200, Changed(*DONE, arrived.request_id))

    def reissue_pin(self, arrived: Arrived) -> Answer:
        """Have a PIN drawn, the first or another, and give it under the caller's key."""
        caller = self._authenticate(arrived)
        if caller.reissue_profile is None:
            raise Refused(EdgeReason.NOT_AUTHORISED)
        _told(arrived, default="true")
        asked = _asked(arrived, ReissueRequest)
        self._ground.rates.spend_card(asked.pan)
        card = self._find(asked)
        issued = self._cards.reissue_pin(card.card_id, profile=caller.reissue_profile)
        offset = issued.value.value if isinstance(issued.value, Ibm3624Offset) else UNSET
        return Answer.json(200, Reissued(*DONE, arrived.request_id, issued.envelope, offset))

    def render(self, refused: Refused, arrived: Arrived) -> Answer:
        """Say what was not done; a field that is wrong is named."""
        code, error = self.codes[refused.reason], ERRORS.get(refused.reason)
        message = " ".join(refused.context.values()).removeprefix("$ ") or code.message
        not_done = NotDone(
            code=code.code,
            description=code.message,
            correlation_id=arrived.request_id,
            errors=(Fault(error, message),) if error is not None else UNSET,
        )
        return Answer.json(code.status, not_done, headers=CHALLENGE if code.status == 401 else {})

    def _authenticate(self, arrived: Arrived) -> Caller:
        return self._ground.admitted(self._ground.credentials.shown(bearer=bearer_token(arrived)))

    def _find(self, asked: ChangeRequest | ReissueRequest) -> Card:
        program = self._ground.settings.program
        number = CardNumber(pan=asked.pan, sequence_number=asked.seq_nr, program=program)
        card = self._cards.get(number)
        if card.program != program or card.expiry != asked.expiry_date:
            raise Refused("CARD_UNKNOWN")
        return card

    def _sealed(self, field: str) -> SealedPin:
        """Give a field as the envelope that it is, in the one spelling of its profile."""
        profile = self._ground.settings.pin_profile
        return SealedPin(profile=profile, ciphertext=field.lower().encode())

    def _change(self, card: Card, *, current: SealedPin, new_pin: SealedPin) -> None:
        verdict = self._cards.change_pin(card.card_id, current_pin=current, new_pin=new_pin)
        if not verdict:
            raise Refused("PIN_BLOCKED" if verdict.blocked else EdgeReason.PIN_WRONG)


def _asked(arrived: Arrived, kind: type[AnyRequest]) -> AnyRequest:
    try:
        return decode(arrived, kind)
    except Refused as refused:
        member = refused.context["path"].removeprefix("$.")
        raise (_invalid(member, FORMS[member]) if member in FORMS else refused) from None


def _told(arrived: Arrived, *, default: str = "") -> bool:
    """Give what `isActiveActive` says; it must say something where there is no default."""
    told = _BOOLEANS.get(arrived.query.get(ACTIVE_ACTIVE, default).lower())
    if told is None:
        raise _invalid(ACTIVE_ACTIVE, "must be true or false")
    return told


def _invalid(member: str, problem: str) -> Refused:
    return Refused(EdgeReason.BODY_INVALID, {"path": member, "problem": problem})

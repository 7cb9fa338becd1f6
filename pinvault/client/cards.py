"""The PINs of cards that a pinvault server keeps: `vault.cards`, a method a verb.

Rules:
- A call that sets, changes, resets or checks a PIN, or registers a card, carries a request id, so
  it is done once and repeated safely while the server is away. Give your own id to repeat it
  later, with the same sealed PINs: sealed anew, it is another request.
- A reveal and what a session's page does are never repeated: what they use up is used up. Nor is
  a PIN reissued twice: the second PIN would be another.
- A revealed PIN comes from `RevealKey.open` and from nowhere else.
"""

import uuid
from datetime import UTC, datetime
from typing import cast

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from pinvault.client import reading, writing
from pinvault.client.card_values import (
    Card,
    CardNumber,
    CardSelector,
    CardStatus,
    ControlToken,
    ControlTokenUse,
    CreatedSession,
    ExternalId,
    IssuedPin,
    OpenedSession,
    PinState,
    PinVerdict,
    PlacedPin,
    RevealedPin,
    SessionAction,
    TokenType,
    VerifiedBy,
)
from pinvault.client.channel import Connection, Reply, Request
from pinvault.client.reveal import RevealKey
from pinvault.client.values import Source
from pinvault.v1 import card_pin_pb2 as pb
from pinvault.v1 import card_pin_pb2_grpc

_STATUS = "CARD_STATUS_"
_ACTION = "PIN_SESSION_ACTION_"
_KIND = "CONTROL_TOKEN_TYPE_"


class Cards:
    """The verbs of CardPinService on one connection; see `Vault.cards`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = card_pin_pb2_grpc.CardPinServiceStub(connection.channel)

    def register(
        self,
        *,
        program: str,
        pan: str,
        expiry: str,
        status: CardStatus = "INACTIVE",
        sequence_number: str | None = None,
        external_id: str | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Card:
        """Register a card of a program; `expiry` is YYMM."""
        request = pb.RegisterCardRequest(
            program=program,
            pan=pan,
            pan_sequence_number=sequence_number or "",
            expiry=expiry,
            status=_status(status),
            external_id=external_id or "",
            request_id=_id(request_id),
        )
        reply = self._call(self._stub.RegisterCard, request, timeout_s)
        return _card(reply.card)

    def get(self, card: CardSelector, *, timeout_s: float | None = None) -> Card:
        """Tell of a card and the state of its PIN."""
        request = pb.GetCardRequest(card=_selector(card))
        return _card(self._call(self._stub.GetCard, request, timeout_s).card)

    def set_status(
        self, card: CardSelector, status: CardStatus, *, timeout_s: float | None = None
    ) -> Card:
        """Change a card's status; a closed card stays closed."""
        request = pb.SetCardStatusRequest(card=_selector(card), status=_status(status))
        return _card(self._call(self._stub.SetCardStatus, request, timeout_s).card)

    def issue_control_token(
        self, card: CardSelector, kind: TokenType, *, timeout_s: float | None = None
    ) -> ControlToken:
        """Have a token issued for one use; the one before, of its type and card, is dead then."""
        request = pb.IssueControlTokenRequest(
            card=_selector(card), type=pb.ControlTokenType.Value(f"{_KIND}{kind}")
        )
        reply = self._call(self._stub.IssueControlToken, request, timeout_s)
        return ControlToken(
            token=reply.control_token, card_id=reply.card_id, expires_at=_time(reply.expire_time)
        )

    def get_control_token(
        self, control_token: str, *, timeout_s: float | None = None
    ) -> ControlTokenUse:
        """Tell what a token is good for, and of which card; the token stays good."""
        request = pb.GetControlTokenRequest(control_token=control_token)
        reply = self._call(self._stub.GetControlToken, request, timeout_s)
        kind = pb.ControlTokenType.Name(reply.type).removeprefix(_KIND)
        return ControlTokenUse(
            card_id=reply.card_id,
            kind=cast("TokenType", kind),
            expires_at=_time(reply.expire_time),
        )

    def set_pin(
        self,
        card: CardSelector | None = None,
        *,
        new_pin: Source,
        control_token: str | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> PlacedPin:
        """Set a PIN by the card, or by a control token in its place; ValueError for both."""
        if card is not None and control_token is not None:
            raise ValueError("a control token names its card: give one of them")
        request = pb.SetPinRequest(
            card=_selector(card) if card is not None else None,
            new_source=writing.source(new_pin),
            request_id=_id(request_id),
        )
        if control_token is not None:
            request.control_token = control_token
        return _placed(self._call(self._stub.SetPin, request, timeout_s))

    def change_pin(
        self,
        card: CardSelector,
        *,
        current_pin: Source,
        new_pin: Source,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> PinVerdict:
        """Change a PIN when the current one is right; a wrong one costs a try."""
        request = pb.ChangePinRequest(
            card=_selector(card),
            current_source=writing.source(current_pin),
            new_source=writing.source(new_pin),
            request_id=_id(request_id),
        )
        reply = self._call(self._stub.ChangePin, request, timeout_s)
        return _verdict(reply, set_at=_optional_time(reply))

    def reset_pin(
        self,
        card: CardSelector,
        *,
        new_pin: Source,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> PlacedPin:
        """Replace a PIN without the current one, and lift its block."""
        request = pb.ResetPinRequest(
            card=_selector(card),
            new_source=writing.source(new_pin),
            request_id=_id(request_id),
        )
        return _placed(self._call(self._stub.ResetPin, request, timeout_s))

    def reissue_pin(
        self, card: CardSelector, *, profile: str, timeout_s: float | None = None
    ) -> IssuedPin:
        """Have a new PIN drawn, kept, and sealed for the partner of an envelope profile.

        Made again, after an answer was lost, it draws another PIN, which is then the card's.
        """
        request = pb.ReissuePinRequest(card=_selector(card), profile=profile)
        reply = self._call(self._stub.ReissuePin, request, timeout_s, repeatable=False)
        return IssuedPin(
            card_id=reply.card_id,
            set_at=_time(reply.set_time),
            envelope=reply.envelope,
            value=reading.optional_value(reply),
            target_key=reading.key_use(reply.target_key),
            stored_keys=reading.key_uses(reply.stored_keys),
        )

    def check_pin(
        self,
        card: CardSelector,
        pin: Source,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> PinVerdict:
        """Have a PIN checked; a wrong one costs a try, the right one gives all tries back."""
        request = pb.CheckPinRequest(
            card=_selector(card), source=writing.source(pin), request_id=_id(request_id)
        )
        return _verdict(self._call(self._stub.CheckPin, request, timeout_s), set_at=None)

    def reveal_pin(
        self,
        control_token: str,
        *,
        key: RevealKey,
        verified_by: VerifiedBy,
        timeout_s: float | None = None,
    ) -> RevealedPin:
        """Have a PIN sealed under a key that was made for this; the token is used up by it."""
        method = pb.CardholderVerificationMethod.Value(
            f"CARDHOLDER_VERIFICATION_METHOD_{verified_by}"
        )
        request = pb.RevealPinRequest(
            control_token=control_token,
            cardholder_verification_method=method,
            recipient_key=pb.RecipientKey(kty="EC", crv="P-256", x=key.x, y=key.y),
        )
        reply = self._call(self._stub.RevealPin, request, timeout_s, repeatable=False)
        return RevealedPin(
            card_id=reply.card_id,
            envelope=reply.envelope,
            stored_key=reading.key_use(reply.stored_key),
        )

    def unblock_pin(self, card: CardSelector, *, timeout_s: float | None = None) -> Card:
        """Lift the block of a PIN and give all tries back."""
        request = pb.UnblockPinRequest(card=_selector(card))
        return _card(self._call(self._stub.UnblockPin, request, timeout_s).card)

    def create_session(
        self,
        card: CardSelector,
        action: SessionAction,
        *,
        origin: str,
        timeout_s: float | None = None,
    ) -> CreatedSession:
        """Create a session of the hosted page, to be embedded by `origin`."""
        request = pb.CreatePinSessionRequest(
            card=_selector(card),
            action=pb.PinSessionAction.Value(f"{_ACTION}{action}"),
            origin=origin,
        )
        reply = self._call(self._stub.CreatePinSession, request, timeout_s)
        return CreatedSession(
            session_id=reply.session_id,
            secret=reply.session_secret,
            card_id=reply.card_id,
            expires_at=_time(reply.expire_time),
        )

    def open_session(
        self, session_id: str, *, secret: str, timeout_s: float | None = None
    ) -> OpenedSession:
        """Open a session, once, for its page."""
        request = pb.OpenPinSessionRequest(session_id=session_id, session_secret=secret)
        reply = self._call(self._stub.OpenPinSession, request, timeout_s, repeatable=False)
        return OpenedSession(
            page_secret=reply.page_secret,
            card_id=reply.card_id,
            last_four=reply.last_four,
            action=cast(
                "SessionAction", pb.PinSessionAction.Name(reply.action).removeprefix(_ACTION)
            ),
            min_pin_length=reply.min_pin_length,
            max_pin_length=reply.max_pin_length,
            origin=reply.origin,
            expires_at=_time(reply.expire_time),
        )

    def submit_pin(
        self,
        session_id: str,
        *,
        page_secret: str,
        new_pin: Source,
        current_pin: Source | None = None,
        timeout_s: float | None = None,
    ) -> PinVerdict:
        """Do what a session is for; `current_pin` is given for a change, and only there."""
        request = pb.SubmitPinRequest(
            session_id=session_id,
            page_secret=page_secret,
            new_source=writing.source(new_pin),
            current_source=writing.optional_source(current_pin),
        )
        reply = self._call(self._stub.SubmitPin, request, timeout_s, repeatable=False)
        return _verdict(reply, set_at=_optional_time(reply))

    def _call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Reply]",
        request: Request,
        timeout_s: float | None,
        *,
        repeatable: bool = True,
    ) -> Reply:
        return self._connection.call(method, request, repeatable=repeatable, timeout_s=timeout_s)


_Verdict = pb.ChangePinResponse | pb.CheckPinResponse | pb.SubmitPinResponse


def _id(given: str | None) -> str:
    return given or str(uuid.uuid4())


def _selector(card: CardSelector) -> pb.CardSelector:
    if isinstance(card, ExternalId):
        external = pb.CardExternalId(program=card.program, external_id=card.external_id)
        return pb.CardSelector(external=external)
    if isinstance(card, CardNumber):
        number = pb.CardNumber(
            pan=card.pan,
            pan_sequence_number=card.sequence_number or "",
            program=card.program or "",
        )
        return pb.CardSelector(number=number)
    return pb.CardSelector(card_id=card)


def _status(status: CardStatus) -> pb.CardStatus.ValueType:
    return pb.CardStatus.Value(f"{_STATUS}{status}")


def _card(card: pb.Card) -> Card:
    return Card(
        card_id=card.card_id,
        program=card.program,
        external_id=card.external_id or None,
        last_four=card.last_four,
        sequence_number=card.pan_sequence_number,
        expiry=card.expiry,
        status=cast("CardStatus", pb.CardStatus.Name(card.status).removeprefix(_STATUS)),
        pin=_pin_state(card.pin_state) if card.HasField("pin_state") else None,
        created_at=_time(card.create_time),
    )


def _pin_state(state: pb.PinState) -> PinState:
    return PinState(
        set_at=_time(state.set_time), tries_left=state.tries_left, blocked=state.blocked
    )


def _placed(reply: pb.SetPinResponse | pb.ResetPinResponse) -> PlacedPin:
    return PlacedPin(
        card_id=reply.card_id,
        set_at=_time(reply.set_time),
        blocked=isinstance(reply, pb.SetPinResponse) and reply.blocked,
        source_keys=reading.key_uses(reply.source_keys),
        stored_keys=reading.key_uses(reply.stored_keys),
    )


def _verdict(reply: _Verdict, *, set_at: datetime | None) -> PinVerdict:
    return PinVerdict(
        matches=reading.matches(reply.result),
        tries_left=reply.tries_left,
        blocked=reply.blocked,
        set_at=set_at,
        source_keys=reading.key_uses(reply.source_keys),
        stored_keys=reading.key_uses(reply.stored_keys),
    )


def _optional_time(reply: pb.ChangePinResponse | pb.SubmitPinResponse) -> datetime | None:
    return _time(reply.set_time) if reply.HasField("set_time") else None


def _time(moment: Timestamp) -> datetime:
    return moment.ToDatetime(tzinfo=UTC)

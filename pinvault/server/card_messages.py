"""Between the messages of card_pin.proto and the value types of the core, in both directions.

Rules:
- As in `messages`: what arrives here has passed the contract.
- A request is told apart from another by its deterministic bytes; only a keyed hash of them is
  ever kept.
"""

import base64
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from pinvault.model.cards import (
    ByExternalId,
    ById,
    ByNumber,
    CardRef,
    CardStatus,
    SessionAction,
    TokenKind,
    Verification,
)
from pinvault.model.pan import Pan
from pinvault.operations.cards.answers import CardView, PinIssued, PinPlaced, PinState, PinVerdict
from pinvault.operations.cards.once import Request
from pinvault.server.messages import write_key_use, write_key_uses, write_result, write_value
from pinvault.v1 import card_pin_pb2 as pb

_UNCOMPRESSED: Final = b"\x04"
STATUSES: Final = {
    status: pb.CardStatus.Value(f"CARD_STATUS_{status.name}") for status in CardStatus
}
TOKEN_KINDS: Final = {
    kind: pb.ControlTokenType.Value(f"CONTROL_TOKEN_TYPE_{kind.name}") for kind in TokenKind
}
VERIFICATIONS: Final = {
    method: pb.CardholderVerificationMethod.Value(f"CARDHOLDER_VERIFICATION_METHOD_{method.name}")
    for method in Verification
}
ACTIONS: Final = {
    action: pb.PinSessionAction.Value(f"PIN_SESSION_ACTION_{action.name}")
    for action in SessionAction
}
_STATUS_OF: Final[dict[int, CardStatus]] = {int(v): status for status, v in STATUSES.items()}
_KIND_OF: Final[dict[int, TokenKind]] = {int(v): kind for kind, v in TOKEN_KINDS.items()}
_VERIFICATION_OF: Final[dict[int, Verification]] = {int(v): m for m, v in VERIFICATIONS.items()}
_ACTION_OF: Final[dict[int, SessionAction]] = {int(v): action for action, v in ACTIONS.items()}


def read_card(message: pb.CardSelector) -> CardRef:
    """Read which card."""
    match message.WhichOneof("selector"):
        case "external":
            return ByExternalId(message.external.program, message.external.external_id)
        case "number":
            number = message.number
            sequence_number = number.pan_sequence_number or None
            return ByNumber(Pan(number.pan), sequence_number, number.program or None)
        case _:
            return ById(message.card_id)


def read_request(
    message: pb.RegisterCardRequest
    | pb.SetPinRequest
    | pb.ChangePinRequest
    | pb.ResetPinRequest
    | pb.CheckPinRequest,
) -> Request:
    """Read the caller's own id of a request, and what tells the request from others."""
    return Request(request_id=message.request_id, fingerprint_of=_bytes_of(message))


def read_status(value: int) -> CardStatus:
    """Read a card's status."""
    return _STATUS_OF[value]


def read_token_kind(value: int) -> TokenKind:
    """Read what a control token is good for."""
    return _KIND_OF[value]


def read_verification(value: int) -> Verification:
    """Read how the cardholder was verified."""
    return _VERIFICATION_OF[value]


def read_action(value: int) -> SessionAction:
    """Read what a session is for."""
    return _ACTION_OF[value]


def read_recipient(message: pb.RecipientKey) -> bytes:
    """Read the requester's public key as an uncompressed point, 65 bytes (SEC 1, 2.3.3)."""
    return _UNCOMPRESSED + _coordinate(message.x) + _coordinate(message.y)


def write_card(card: CardView) -> pb.Card:
    """Tell of a card."""
    return pb.Card(
        card_id=card.card_id,
        program=card.program,
        external_id=card.external_id or "",
        last_four=card.last_four,
        pan_sequence_number=card.sequence_number,
        expiry=card.expiry,
        status=STATUSES[card.status],
        pin_state=_pin_state(card.pin) if card.pin is not None else None,
        create_time=write_time(card.created_at),
    )


def _pin_state(state: PinState) -> pb.PinState:
    return pb.PinState(
        set_time=write_time(state.set_at), tries_left=state.tries_left, blocked=state.blocked
    )


def write_set_pin(placed: PinPlaced) -> pb.SetPinResponse:
    """Tell of a PIN that was set."""
    return pb.SetPinResponse(**_placed(placed), blocked=placed.blocked)


def write_reset_pin(placed: PinPlaced) -> pb.ResetPinResponse:
    """Tell of a PIN that was reset, which lifts every block."""
    return pb.ResetPinResponse(**_placed(placed))


def write_reissue_pin(issued: PinIssued) -> pb.ReissuePinResponse:
    """Tell of a PIN that was drawn, in its envelope."""
    offset = issued.offset
    return pb.ReissuePinResponse(
        card_id=issued.card_id,
        set_time=write_time(issued.set_at),
        envelope=issued.envelope,
        verification_value=None if offset is None else write_value(offset, scheme=issued.scheme),
        target_key=write_key_use(issued.target_key),
        stored_keys=write_key_uses(issued.stored_keys),
    )


def write_change_pin(verdict: PinVerdict) -> pb.ChangePinResponse:
    """Tell what became of a change."""
    return pb.ChangePinResponse(**_judged(verdict), set_time=write_time(verdict.set_at))


def write_check_pin(verdict: PinVerdict) -> pb.CheckPinResponse:
    """Tell whether it is the PIN."""
    return pb.CheckPinResponse(**_judged(verdict))


def write_submit_pin(verdict: PinVerdict) -> pb.SubmitPinResponse:
    """Tell what became of what was entered."""
    return pb.SubmitPinResponse(**_judged(verdict), set_time=write_time(verdict.set_at))


def _placed(placed: PinPlaced) -> dict[str, Any]:
    return {
        "card_id": placed.card_id,
        "set_time": write_time(placed.set_at),
        "source_keys": write_key_uses(placed.source_keys),
        "stored_keys": write_key_uses(placed.stored_keys),
    }


def _judged(verdict: PinVerdict) -> dict[str, Any]:
    return {
        "result": write_result(matches=verdict.matches),
        "tries_left": verdict.tries_left,
        "blocked": verdict.blocked,
        "source_keys": write_key_uses(verdict.source_keys),
        "stored_keys": write_key_uses(verdict.stored_keys),
    }


def write_time(moment: float | None) -> Timestamp | None:
    """Write Unix seconds, to the microsecond."""
    if moment is None:
        return None
    written = Timestamp()
    written.FromMicroseconds(round(moment * 1e6))
    return written


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _coordinate(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=")

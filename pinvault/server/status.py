"""The one place where a refusal becomes a gRPC status.

Rules:
- Code, text and details come from the reason alone, but for the request field, the
  broken rules and the time to wait; no exception's own text goes to a client.
- `google.rpc.Status` carries `ErrorInfo{reason, domain}` with the call id, then
  `BadRequest` or `RetryInfo` where there is something to say.
"""

from collections.abc import Mapping

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from pinvault.model.errors import TEXTS, Reason, Refusal

DOMAIN = "pinvault"
DETAILS_KEY = "grpc-status-details-bin"

CODES: Mapping[Reason, grpc.StatusCode] = {
    Reason.CALLER_UNIDENTIFIED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.METHOD_NOT_GRANTED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.KEY_NOT_GRANTED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.FORMAT_NOT_GRANTED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.PROFILE_NOT_GRANTED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.TRANSLATION_NOT_GRANTED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.SCHEME_NOT_GRANTED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.PROGRAM_NOT_GRANTED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.CALLER_RATE_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.PAN_RATE_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.REQUEST_MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEADLINE_REQUIRED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.METHOD_UNKNOWN: grpc.StatusCode.UNIMPLEMENTED,
    Reason.NOT_SUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.KEY_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Reason.KEY_USAGE_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.KEY_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.FORMAT_KEY_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PROFILE_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Reason.PROFILE_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PAN_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TRANSLATION_FORBIDDEN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.SCHEME_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Reason.SCHEME_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.SOURCE_UNBOUND: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.KSN_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.BATCH_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.KEY_BLOCK_MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.KEY_BLOCK_REFUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.KEY_CRYPTOGRAM_REFUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.KEY_CHECK_VALUE_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.KEY_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.KEY_NOT_EXPORTABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.KEY_BLOCKS_OFF: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.KEY_CHANGE_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.KEY_WORN_OUT: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.KEY_BUSY: grpc.StatusCode.UNAVAILABLE,
    Reason.PROGRAM_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Reason.CARD_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Reason.CARD_AMBIGUOUS: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CARD_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.CARD_STATUS: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CARD_RATE_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.PIN_NOT_SET: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PIN_BLOCKED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PIN_CHANGED_MEANWHILE: grpc.StatusCode.ABORTED,
    Reason.PIN_NOT_REVEALABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CONTROL_TOKEN_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SESSION_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.RECIPIENT_KEY_REFUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_ID_REUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.REQUEST_IN_PROGRESS: grpc.StatusCode.ABORTED,
    Reason.PIN_SOURCE_REFUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.ENVELOPE_EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ENVELOPE_REPLAYED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.KSN_REPLAYED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PIN_WEAK: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HSM_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.AUDIT_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.LIMITS_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}


def code_of(reason: Reason | None) -> grpc.StatusCode:
    """Give the gRPC code of an outcome; no reason is OK."""
    return grpc.StatusCode.OK if reason is None else CODES[reason]


def abort(context: grpc.ServicerContext, refusal: Refusal, *, call_id: str) -> None:
    """Set the call's code, text and details; the handler then returns nothing."""
    code = CODES[refusal.reason]
    text = TEXTS[refusal.reason]
    status = status_pb2.Status(code=code.value[0], message=text)
    status.details.extend(_details(refusal, call_id))
    context.set_code(code)
    context.set_details(text)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))


def _details(refusal: Refusal, call_id: str) -> list[any_pb2.Any]:
    info = error_details_pb2.ErrorInfo(reason=refusal.reason.value, domain=DOMAIN)
    info.metadata["call_id"] = call_id
    messages: list[
        error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo
    ] = [info]
    violations = [(v.field, v.description) for v in refusal.violations]
    if refusal.field:
        violations.append((refusal.field, TEXTS[refusal.reason]))
    if violations:
        messages.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
                    for field, text in violations
                ]
            )
        )
    if refusal.retry_after_s is not None:
        wait = duration_pb2.Duration()
        wait.FromMilliseconds(round(refusal.retry_after_s * 1000))
        messages.append(error_details_pb2.RetryInfo(retry_delay=wait))
    packed = []
    for message in messages:
        detail = any_pb2.Any()
        detail.Pack(message)
        packed.append(detail)
    return packed

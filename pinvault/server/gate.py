"""The gate that every call passes: identity, grant, deadline, contract, work, record, reply.

Rules:
- Deny by default: a caller without a row for the method learns nothing but that.
- No audit record, no answer: the reply leaves after the record is durable. A call that
  cannot be recorded is refused, whatever its outcome was.
- No exception passes. A refusal becomes its status; anything else becomes INTERNAL with
  a call id, and the log gets the exception's type and frames without text or values.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import Message

from pinvault.audit.record import AuditRecord, KeyUse, rfc3339
from pinvault.model.call import Call, Deadline, Notes
from pinvault.model.errors import TEXTS, Reason, Refusal
from pinvault.operations.admission import Admission
from pinvault.server.arrivals import Arrivals
from pinvault.server.contract import Contract
from pinvault.server.identity import IdentityKind, identify
from pinvault.server.logs import Log
from pinvault.server.metrics import Metrics
from pinvault.server.status import abort, code_of

PACKAGE = "pinvault.v1"
AUDIT_TIMEOUT_S = 5.0
AUDIT_RETRY_AFTER_S = 1.0
NO_DEADLINE_S = 86_400.0
MAX_LATENCY_US = 10**10 - 1
UNKNOWN_METHOD = "Unknown.Unknown"
TLS_PROPERTIES = ("ssl_tls_version", "ssl_negotiated_key_exchange_group")

Auth = Mapping[str, Iterable[bytes]]
RequestT = TypeVar("RequestT", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT]):
    """One served method: `Service.Method`, its request type, and what serves it.

    A request has at most `max_bytes`, where they are given, in place of the server's own bound.
    """

    name: str
    request: type[RequestT]
    serve: Callable[[Call, RequestT], Message]
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineRule:
    """What time a call gets, in seconds: at most `ceiling_s`.

    A call without a deadline gets `default_s`, or is refused when that is None.
    """

    ceiling_s: float
    default_s: float | None

    def of(self, context: grpc.ServicerContext) -> Deadline:
        """Give the call's deadline, or refuse."""
        remaining = context.time_remaining()
        # gRPC says "none" with centuries.
        left = self.default_s if remaining > NO_DEADLINE_S else remaining
        if left is None:
            raise Refusal(Reason.DEADLINE_REQUIRED)
        return Deadline.after(min(left, self.ceiling_s))


class Recorder(Protocol):
    """What the gate needs of the audit log."""

    def append(self, record: AuditRecord, timeout: float) -> None:
        """Return when the record is durable, or raise AuditUnavailable."""


class Gate(grpc.GenericRpcHandler):
    """Serves the methods of pinvault.v1. `now` gives aware UTC times."""

    def __init__(
        self,
        methods: Iterable[Method[Any]],
        *,
        identity: IdentityKind,
        admission: Admission,
        deadlines: DeadlineRule,
        arrivals: Arrivals,
        contract: Contract,
        audit: Recorder,
        metrics: Metrics,
        log: Log,
        now: Callable[[], datetime],
    ) -> None:
        self._identity = identity
        self._admission = admission
        self._deadlines = deadlines
        self._arrivals = arrivals
        self._contract = contract
        self._audit = audit
        self._metrics = metrics
        self._log = log
        self._now = now
        self._unknown = self._handler(None)
        self._handlers = {_path(method.name): self._handler(method) for method in methods}

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Find the handler; a method of this package that is not served is refused and recorded."""
        found = self._handlers.get(details.method)
        if found is not None or not details.method.startswith(f"/{PACKAGE}."):
            return found
        return self._unknown

    def _handler(self, method: Method[Any] | None) -> "grpc.RpcMethodHandler[bytes, bytes]":
        def serve(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            try:
                return self._serve(method, messages, context)
            except Exception:  # noqa: BLE001 - gRPC would send its text to the caller
                context.set_code(grpc.StatusCode.INTERNAL)
                context.set_details(TEXTS[Reason.INTERNAL])
                return b""

        # Unary to the caller; as a stream, the message can be waited for after the first checks.
        return grpc.stream_unary_rpc_method_handler(serve)

    def _serve(
        self,
        method: Method[Any] | None,
        messages: Iterator[bytes],
        context: grpc.ServicerContext,
    ) -> bytes:
        began = time.monotonic()
        visit = _Visit(method.name if method is not None else UNKNOWN_METHOD)
        try:
            reply = self._answer(method, messages, context, visit)
        except Refusal as met:
            visit.refusal = met
        except Exception as error:  # noqa: BLE001 - no exception passes
            self._log.fault("call failed", error, call_id=visit.call_id, method=visit.method)
            visit.refusal = Refusal(Reason.INTERNAL)
        self._record(visit, time.monotonic() - began)
        refusal = visit.refusal
        self._metrics.handled(
            visit.method,
            code=code_of(refusal.reason if refusal else None).name,
            reason=refusal.reason.value if refusal else "OK",
            seconds=time.monotonic() - began,
        )
        if refusal is None:
            return reply
        abort(context, refusal, call_id=visit.call_id)
        return b""

    def _answer(
        self,
        method: Method[Any] | None,
        messages: Iterator[bytes],
        context: grpc.ServicerContext,
        visit: "_Visit",
    ) -> bytes:
        auth = cast("Auth", context.auth_context())  # the stubs miss the lists
        visit.tls = tls_of(auth)
        visit.caller = identify(auth, self._identity)
        if method is None:
            raise Refusal(Reason.METHOD_UNKNOWN)
        self._admission.enter(caller=visit.caller, method=method.name)
        deadline = self._deadlines.of(context)
        visit.deadline_s = deadline.at - time.monotonic()
        raw = self._arrivals.take(messages, context)
        request = self._contract.read(raw, method.request, max_bytes=method.max_bytes)
        call = Call(
            call_id=visit.call_id,
            caller=visit.caller,
            method=method.name,
            deadline=deadline,
            notes=visit.notes,
        )
        reply = method.serve(call, request)
        deadline.remaining()
        return reply.SerializeToString()

    def _record(self, visit: "_Visit", elapsed_s: float) -> None:
        """Write the record, or turn the call into a refusal."""
        try:
            self._audit.append(visit.record(self._now(), elapsed_s), AUDIT_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - whatever stops the record stops the answer
            self._log.fault("audit record not written", error, call_id=visit.call_id)
            visit.refusal = Refusal(Reason.AUDIT_UNAVAILABLE, retry_after_s=AUDIT_RETRY_AFTER_S)


@dataclass(slots=True)
class _Visit:
    """What is known of a call so far, for its record."""

    method: str
    call_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    caller: str = ""
    tls: str = ""
    deadline_s: float = 0.0
    notes: Notes = field(default_factory=Notes)
    refusal: Refusal | None = None

    def record(self, now: datetime, elapsed_s: float) -> AuditRecord:
        """Give the audit record of a call that took `elapsed_s` seconds."""
        refusal, notes = self.refusal, self.notes
        return AuditRecord(
            event="call",
            time=rfc3339(now),
            call_id=self.call_id,
            caller=self.caller,
            method=self.method,
            outcome=refusal.reason.value if refusal is not None else "OK",
            cause=refusal.cause if refusal is not None else "",
            keys=tuple(KeyUse(key=key.id, check_value=key.check_value) for key in notes.keys),
            source="+".join(notes.sources),
            target=notes.target,
            pan_hash=notes.pan_index,
            card=notes.card,
            program=notes.program,
            items=notes.items,
            items_not_done=notes.items_not_done,
            latency_us=min(int(elapsed_s * 1e6), MAX_LATENCY_US),
            deadline_ms=int(self.deadline_s * 1e3),
            tls=self.tls,
        )


def tls_of(auth: Auth) -> str:
    """Name the TLS version and group that were negotiated, where gRPC tells them."""
    values = (auth.get(name) or () for name in TLS_PROPERTIES)
    return ".".join(value.decode("ascii", "replace") for found in values for value in found)


def _path(name: str) -> str:
    return f"/{PACKAGE}.{name.replace('.', '/')}"

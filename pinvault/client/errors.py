"""What can go wrong, as the caller sees it: the server's reason, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "pinvault"
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(eq=False)  # not frozen: an exception takes its traceback when it is raised
class PinvaultError(Exception):
    """The server refused, or could not be reached.

    `reason` is a name of `pinvault.v1.ErrorReason` without its prefix, or "" when the
    answer did not come from pinvault. `call_id` finds the call in the server's audit log.
    `violations` maps request fields to the rules they broke; `retry_after_s` is in seconds.
    """

    code: grpc.StatusCode
    reason: str
    text: str
    call_id: str = ""
    violations: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None

    def __reduce__(self) -> tuple[type["PinvaultError"], tuple[object, ...]]:
        """Let it travel between processes."""
        fields = (self.code, self.reason, self.text, self.call_id, self.violations)
        return type(self), (*fields, self.retry_after_s)

    def __str__(self) -> str:
        parts = [f"{self.reason or self.code.name}: {self.text.removesuffix('.')}"]
        parts += [f"{name}: {rule}" for name, rule in self.violations.items() if rule != self.text]
        parts += [f"retry after {self.retry_after_s:g} s"] if self.retry_after_s is not None else []
        parts += [f"call id {self.call_id}"] if self.call_id else []
        return "; ".join(parts)


class SealingKeyChanged(Exception):
    """The server offers no sealing key that was pinned: nothing was sealed.

    Compare a new thumbprint with the operator by another way before pinning it.
    """

    def __init__(self, *, offered: tuple[str, ...]) -> None:
        super().__init__(
            "the server offers no sealing key that is pinned: "
            "confirm the new thumbprint with the operator before you pin it"
        )
        self.offered = offered


def from_rpc(error: grpc.RpcError) -> PinvaultError:
    """Read the status of a failed call."""
    call = cast("grpc.Call", error)  # what a stub raises is both; the type stubs know only one
    code, text = call.code(), call.details() or "the call failed"
    info, violations, wait = _details(call)
    ours = info.domain == DOMAIN
    return PinvaultError(
        code=code,
        reason=info.reason if ours else "",
        text=text,
        call_id=info.metadata.get("call_id", "") if ours else "",
        violations=violations,
        retry_after_s=wait,
    )


def _details(
    call: grpc.Call,
) -> tuple[error_details_pb2.ErrorInfo, dict[str, str], float | None]:
    info, broken, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    waits = False
    for packed in _status(call).details:
        packed.Unpack(info)
        packed.Unpack(broken)
        waits |= packed.Unpack(retry)
    violations = {found.field: found.description for found in broken.field_violations}
    return info, violations, retry.retry_delay.ToMilliseconds() / 1000 if waits else None


def _status(call: grpc.Call) -> status_pb2.Status:
    status = status_pb2.Status()
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                return status_pb2.Status()
    return status

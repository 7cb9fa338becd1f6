"""Reads requests by the published contract: size, encoding, then every rule of the protos.

Rules:
- A request is parsed here, not by the gRPC library, so that one that is too large or is
  no message at all is refused and recorded like any other.
- A violation is told by field and rule; the value that broke it is never looked at.
- Unknown fields are refused: what a caller says and we ignore, it believes was heard.
"""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from protovalidate import Validator
from protovalidate import Violation as BrokenRule

from pinvault.model.errors import Reason, Refusal, Violation

M = TypeVar("M", bound=Message)


class Contract:
    """Parses and validates requests of at most `max_bytes`, unless a method says otherwise."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._validator = Validator()

    def read(self, raw: bytes, make: Callable[[], M], *, max_bytes: int | None = None) -> M:
        """Give the request, or refuse it."""
        if len(raw) > (max_bytes or self._max_bytes):
            raise Refusal(Reason.REQUEST_TOO_LARGE)
        message = make()
        try:
            message.MergeFromString(raw)
        except DecodeError:
            raise Refusal(Reason.REQUEST_MALFORMED) from None
        _require_known(message)
        self._require_valid(message)
        return message

    def _require_valid(self, message: Message) -> None:
        broken = self._validator.collect_violations(message)
        if broken:
            raise Refusal(Reason.REQUEST_INVALID, violations=tuple(map(_told, broken)))


def _require_known(message: Message) -> None:
    """Refuse fields that this version of the contract does not have, at any depth."""
    said = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != said:
        unknown = Violation("", "the message has fields that this server's contract does not know")
        raise Refusal(Reason.REQUEST_INVALID, violations=(unknown,))


def _told(violation: BrokenRule) -> Violation:
    """Name the field by its path and the rule by its id and text, never the value."""
    proto = violation.proto
    elements = proto.field.elements if proto.field is not None else []
    path = ".".join(element.field_name for element in elements)
    return Violation(path, f"{proto.message} ({proto.rule_id})")

"""What the edge's core and its dialects say to each other: requests, answers, refusals, endpoints.

Rules:
- A flow is a plain function from `Arrived` to `Answer` that reads downward: authenticate, decode,
  find, seal, call, answer. It runs in a thread and may wait.
- What stops a flow is `Refused`, with a reason. The core makes one of every other exception.
- A dialect has a code for every reason there is. Its texts are constant; an answer repeats nothing
  of a request but names that are no secret.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique
from http import HTTPMethod
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import msgspec

from pinvault.client.reasons import REASONS

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_ENDS: Final = frozenset("\r\n\0")


@unique
class EdgeReason(StrEnum):
    """Why the edge itself refuses; what the server refuses has the reasons of its contract."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    NOT_AUTHORISED = "NOT_AUTHORISED"
    SIGNATURE_REFUSED = "SIGNATURE_REFUSED"
    TIMESTAMP_REFUSED = "TIMESTAMP_REFUSED"
    BODY_INVALID = "BODY_INVALID"
    HEADER_MISSING = "HEADER_MISSING"
    CLEAR_PINS_OFF = "CLEAR_PINS_OFF"
    RATE_EXCEEDED = "RATE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    PIN_WRONG = "PIN_WRONG"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


_TOO_OFTEN: Final = (
    EdgeReason.RATE_EXCEEDED,
    *("CARD_RATE_EXCEEDED", "PAN_RATE_EXCEEDED", "CALLER_RATE_EXCEEDED"),
)
_AWAY: Final = (
    *(EdgeReason.UNAVAILABLE, "DEADLINE_EXCEEDED", "HSM_UNAVAILABLE", "AUDIT_UNAVAILABLE"),
    *("LIMITS_UNAVAILABLE", "STORE_UNAVAILABLE", "REQUEST_IN_PROGRESS"),
)
ALL_REASONS: Final = frozenset(REASONS | {reason.value for reason in EdgeReason})


class Refused(Exception):
    """A request is not done: the name of a reason, and names for the answer that are no secret.

    `retry_after_s` becomes the answer's Retry-After. `call_id` finds a call in the server's audit
    log; it is for the edge's own log alone.
    """

    def __init__(
        self,
        reason: str,
        context: Mapping[str, str] = NOTHING,
        *,
        retry_after_s: float | None = None,
        call_id: str = "",
    ) -> None:
        super().__init__(str(reason))
        self.reason = str(reason)
        self.context = context
        self.retry_after_s = retry_after_s
        self.call_id = call_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """One HTTP request, read whole, before anything of it is decoded.

    `path` and `raw_path_and_query` are without the base path that configuration puts before a
    dialect's own. `headers` has names in lower case; of a header that is given twice, nothing is
    left. `query` likewise. `request_id`, 32 hex digits, is the edge's own. `client` is the subject
    of the client's certificate (RFC 4514) on a listener that asks for one, "" elsewhere. `address`
    is the connection's other end.
    """

    method: str
    path: str
    raw_path_and_query: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    request_id: str
    clear_pins: bool
    client: str
    address: str = field(default="", repr=False)

    def header(self, name: str) -> str:
        """Give a header that there must be, and not empty; the name is in lower case."""
        value = self.headers.get(name, "")
        if not value:
            raise Refused(EdgeReason.HEADER_MISSING, {"header": name})
        return value

    def media_type(self) -> str:
        """Give the type of the body in lower case, which there must be, without its parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back. The core adds `nosniff`, and `no-store` whatever the dialect says.

    With `keep_s` it is a file, the same for all, that browsers may keep for so many seconds.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    keep_s: int = 0

    def __post_init__(self) -> None:
        """Hold that no header ends early; ValueError, without its value."""
        if any(_ENDS & set(text) for pair in self.headers.items() for text in pair):
            raise ValueError("a header has no line ends")

    @classmethod
    def json(cls, status: int, value: object, *, headers: Mapping[str, str] = NOTHING) -> "Answer":
        """Answer with JSON, compact, members in the order of the struct."""
        return cls(status=status, body=msgspec.json.encode(value), headers=headers)


@dataclass(frozen=True, slots=True)
class Code:
    """How a dialect tells a reason: HTTP status, the vendor's own code, a constant text."""

    status: int
    code: str
    message: str


def total(own: Mapping[str, Code], *, default: Code) -> Mapping[str, Code]:
    """Give the codes of all reasons: a dialect's own, and `default` for those it has no word for.

    Raises ValueError for a reason that there is not.
    """
    if not own.keys() <= ALL_REASONS:
        raise ValueError("a code is given for a reason that there is not")
    return MappingProxyType({reason: own.get(reason, default) for reason in sorted(ALL_REASONS)})


def later(*, too_often: Code, away: Code) -> dict[str, Code]:
    """Give the codes of what may be done later: asked for too often, or by what is away now."""
    return dict.fromkeys(_TOO_OFTEN, too_often) | dict.fromkeys(_AWAY, away)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A header or a member of the query, for the API's description; `kind` is what msgspec takes.

    A flow looks at them itself.
    """

    name: str
    where: Literal["header", "query"] = "header"
    required: bool = True
    kind: Any = str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path of a dialect, without variable parts, and what is done there.

    `takes_clear_pin` is true also of one that gives a PIN: it is open only where clear PINs are.
    `request` and `answers` (the struct, or None, of each status) describe it; refusals need not
    be among `answers`. `authentication` is how the Authorization header is used, if it is.
    """

    method: str
    path: str
    flow: Callable[[Arrived], Answer]
    takes_clear_pin: bool
    request: type[msgspec.Struct] | None
    answers: Mapping[int, type[msgspec.Struct] | None]
    summary: str = ""
    parameters: tuple[Parameter, ...] = ()
    authentication: Literal["", "bearer", "basic"] = ""

    def __post_init__(self) -> None:
        """Hold what would be found out by a caller only."""
        if self.method not in {HTTPMethod.GET, HTTPMethod.POST, HTTPMethod.PUT}:
            raise ValueError("an endpoint is for GET, POST or PUT")
        if not self.path.startswith("/") or {"{", "}", "?"} & set(self.path):
            raise ValueError("an endpoint's path begins with / and has no variable part")


class Dialect(Protocol):
    """One vendor's API."""

    name: str
    codes: Mapping[str, Code]

    def endpoints(self) -> Sequence[Endpoint]:
        """Give all that it answers."""
        ...

    def render(self, refused: Refused, arrived: Arrived) -> Answer:
        """Say a refusal as the vendor does; `arrived` has no body any more."""
        ...

"""How pinvault's own routes are refused: problem details (RFC 9457).

Rules:
- `type` is a name of the reason, stable; `title` says it in words. There is no `detail`: nothing
  of a request is repeated.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from pinvault.edge.dialect import Answer, Arrived, Code, EdgeReason, Endpoint, Refused, total

MEDIA_TYPE: Final = "application/problem+json"
TYPE: Final = "urn:pinvault:problem:"


class Problem(msgspec.Struct):
    """Problem details; `instance` is the request's id, as it stands in the log."""

    type: str
    title: str
    status: int
    instance: str


CODES: Final = total(
    {
        reason: Code(status, reason.lower().replace("_", "-"), text)
        for reason, (status, text) in {
            EdgeReason.UNAUTHENTICATED.value: (401, "It is not known who is asking."),
            EdgeReason.NOT_AUTHORISED.value: (403, "This is not open to who is asking."),
            EdgeReason.BODY_INVALID.value: (400, "The body is not what is asked for here."),
            EdgeReason.HEADER_MISSING.value: (400, "A header is missing, or is given twice."),
            EdgeReason.CLEAR_PINS_OFF.value: (403, "Clear PINs are not taken here."),
            EdgeReason.RATE_EXCEEDED.value: (429, "These are too many requests."),
            EdgeReason.NOT_FOUND.value: (404, "There is nothing here."),
            EdgeReason.METHOD_NOT_ALLOWED.value: (405, "This is not a method of this path."),
            EdgeReason.UNAVAILABLE.value: (503, "The service is away for a while: try again."),
            "REQUEST_TOO_LARGE": (413, "The body is too large."),
        }.items()
    },
    default=Code(500, "internal", "The fault is ours: the log has it under this instance."),
)


def render(refused: Refused, arrived: Arrived, codes: Mapping[str, Code] = CODES) -> Answer:
    """Give the problem details of a refusal."""
    code = codes[refused.reason]
    problem = Problem(
        type=TYPE + code.code,
        title=code.message,
        status=code.status,
        instance=f"urn:pinvault:request:{arrived.request_id}",
    )
    body = msgspec.json.encode(problem)
    return Answer(status=code.status, body=body, media_type=MEDIA_TYPE)


class OwnRoutes:
    """What a listener answers besides its dialects: the description of its API."""

    name = "pinvault"
    codes = CODES

    def __init__(self, description: bytes) -> None:
        self._description = description

    def endpoints(self) -> Sequence[Endpoint]:
        """Give all that it answers."""
        return (Endpoint("GET", "/openapi.json", self._describe, False, None, {200: None}),)

    def render(self, refused: Refused, arrived: Arrived) -> Answer:
        """Say a refusal as problem details."""
        return render(refused, arrived)

    def _describe(self, _arrived: Arrived) -> Answer:
        return Answer(status=200, body=self._description)

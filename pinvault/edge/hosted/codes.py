"""What the page is told of a refusal: problem details (RFC 9457) with a word of its own, `error`.

Rules:
- A cardholder is told what they can do about it: five words. Everything else is "unavailable", and
  the page offers to try again.
- 4xx says that nothing was done. Where that is not known, it is 5xx, and the page owns to it.
"""

from typing import Final

import msgspec

from pinvault.edge import problems
from pinvault.edge.dialect import Answer, Arrived, Code, Refused, later, total

UNAVAILABLE: Final = "unavailable"
_TOLD: Final = {
    "SESSION_REFUSED": Code(410, "used", "This session is over, or never was."),
    "PIN_WEAK": Code(422, "weak", "This PIN is too easy to guess."),
    "PIN_BLOCKED": Code(409, "blocked", "This PIN is blocked."),
    "CARD_STATUS": Code(409, "closed", "This card is not for that now."),
}
_AWAY: Final = Code(503, "unavailable", "This cannot be done just now: try again.")
_REFUSED: Final = {
    **dict.fromkeys(
        ("PIN_SOURCE_REFUSED", "ENVELOPE_EXPIRED"),
        Code(422, "refused", "What was entered was not taken: enter it anew."),
    ),
    **dict.fromkeys(
        ("CARD_UNKNOWN", "PIN_NOT_SET", "PIN_CHANGED_MEANWHILE"),
        Code(409, "conflict", "This cannot be done as things are now."),
    ),
}
_LATER: Final = later(too_often=problems.CODES["RATE_EXCEEDED"], away=_AWAY)
_OURS: Final = {
    reason: code
    for reason, code in problems.CODES.items()
    if code != problems.CODES["INTERNAL"] or reason == "INTERNAL"
}
CODES: Final = total({**_LATER, **_OURS, **_REFUSED, **_TOLD}, default=_AWAY)
_WORDS: Final = frozenset(code.code for code in _TOLD.values())


class Problem(problems.Problem):
    """Problem details, and the page's word."""

    error: str


def render(refused: Refused, arrived: Arrived) -> Answer:
    """Give the problem details of a refusal."""
    code = CODES[refused.reason]
    problem = Problem(
        type=problems.TYPE + code.code,
        title=code.message,
        status=code.status,
        instance=f"urn:pinvault:request:{arrived.request_id}",
        error=code.code if code.code in _WORDS else UNAVAILABLE,
    )
    return Answer(
        status=code.status, body=msgspec.json.encode(problem), media_type=problems.MEDIA_TYPE
    )

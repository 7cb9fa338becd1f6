"""What Interswitch calls every reason for which a request is not done.

Rules:
- Texts are constant. The last three digits of a code are the HTTP status.
- `ERRORS` has what ISO 8583 calls a reason, where it has a word.
- What only an operator of pinvault can mend is told to callers as an internal error.
"""

from collections.abc import Mapping
from typing import Final

from pinvault.edge.dialect import Code, EdgeReason, later, total


def _told(status: int, description: str) -> Code:
    return Code(status, f"10{status}", description)


_UNAUTHORIZED: Final = _told(401, "Unauthorized")
_FORBIDDEN: Final = _told(403, "Forbidden")
_TOO_MANY: Final = _told(429, "Too many requests")
_UNAVAILABLE: Final = _told(503, "Service unavailable")
_NOT_OPENED: Final = _told(400, "Unable to decrypt pin")
_USED: Final = _told(400, "Encrypted pin was used before")

CODES: Final = total(
    {
        EdgeReason.UNAUTHENTICATED: _UNAUTHORIZED,
        EdgeReason.HEADER_MISSING: _UNAUTHORIZED,
        EdgeReason.NOT_AUTHORISED: _FORBIDDEN,
        EdgeReason.CLEAR_PINS_OFF: _FORBIDDEN,
        EdgeReason.BODY_INVALID: _told(400, "Bad request"),
        EdgeReason.NOT_FOUND: _told(404, "Not found"),
        EdgeReason.METHOD_NOT_ALLOWED: _told(405, "Method not allowed"),
        "REQUEST_TOO_LARGE": _told(413, "Request too large"),
        "CARD_UNKNOWN": _told(404, "No result found"),
        "CARD_STATUS": _told(400, "Card status does not allow this"),
        EdgeReason.PIN_WRONG: _told(400, "Incorrect PIN"),
        "PIN_BLOCKED": _told(400, "PIN tries exceeded"),
        "PIN_NOT_SET": _told(400, "PIN is not set"),
        "PIN_WEAK": _told(400, "PIN is not allowed"),
        "PIN_SOURCE_REFUSED": _NOT_OPENED,
        "ENVELOPE_EXPIRED": _USED,
        "ENVELOPE_REPLAYED": _USED,
        **later(too_often=_TOO_MANY, away=_UNAVAILABLE),
        "PIN_CHANGED_MEANWHILE": _UNAVAILABLE,
    },
    default=_told(500, "Internal server error"),
)

ERRORS: Final[Mapping[str, str]] = {
    EdgeReason.BODY_INVALID: "30",
    EdgeReason.PIN_WRONG: "55",
    "CARD_STATUS": "62",
    "PIN_BLOCKED": "75",
}

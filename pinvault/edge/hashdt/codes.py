"""What HashDT's callers are told of every reason for which a request is not done.

Rules:
- Texts are constant. An error's code is its HTTP status.
- What only an operator of pinvault can mend is told to callers as an internal error.
"""

from typing import Final

from pinvault.edge.dialect import Code, EdgeReason, later, total


def _told(status: int, message: str) -> Code:
    return Code(status, str(status), message)


_UNAUTHORIZED: Final = _told(401, "Authentication failed.")
_FORBIDDEN: Final = _told(403, "Access denied.")
_TOO_MANY: Final = _told(429, "Too many requests.")
_UNAVAILABLE: Final = _told(503, "Service unavailable.")

CODES: Final = total(
    {
        EdgeReason.UNAUTHENTICATED: _UNAUTHORIZED,
        EdgeReason.HEADER_MISSING: _told(400, "Required header is missing."),
        EdgeReason.BODY_INVALID: _told(400, "Invalid request."),
        EdgeReason.NOT_AUTHORISED: _FORBIDDEN,
        EdgeReason.CLEAR_PINS_OFF: _FORBIDDEN,
        EdgeReason.NOT_FOUND: _told(404, "Not found."),
        EdgeReason.METHOD_NOT_ALLOWED: _told(405, "Method not allowed."),
        "REQUEST_TOO_LARGE": _told(413, "Request too large."),
        "CARD_UNKNOWN": _told(400, "Card not found."),
        "CARD_STATUS": _told(400, "Card status does not allow this."),
        "PIN_NOT_SET": _told(400, "PIN is not set."),
        "PIN_BLOCKED": _told(400, "PIN is blocked."),
        "REQUEST_ID_REUSED": _told(400, "Request id was used for another request."),
        **later(too_often=_TOO_MANY, away=_UNAVAILABLE),
    },
    default=_told(500, "Internal error."),
)

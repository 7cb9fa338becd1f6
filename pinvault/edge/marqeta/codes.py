"""What Marqeta calls every reason for which a request is not done.

Rules:
- Texts are constant.
- The first three digits of a code are the HTTP status. `400985` and `404001` are the vendor's own;
  a code that ends in `000`, as none of the vendor's does, says no more than its status.
- What only an operator of pinvault can mend is told to callers as an internal error.
"""

from typing import Final

from pinvault.edge.dialect import Code, EdgeReason, later, total


def _general(status: int, message: str) -> Code:
    return Code(status, f"{status}000", message)


_UNAUTHORIZED: Final = _general(401, "Unauthorized")
_FORBIDDEN: Final = _general(403, "Forbidden")
_TOO_MANY: Final = _general(429, "Too many requests")
_UNAVAILABLE: Final = _general(503, "Service unavailable")
_BAD_REQUEST: Final = _general(400, "Bad request")
_NO_REVEAL: Final = _general(400, "PIN cannot be revealed")

CODES: Final = total(
    {
        EdgeReason.UNAUTHENTICATED: _UNAUTHORIZED,
        EdgeReason.HEADER_MISSING: _UNAUTHORIZED,
        EdgeReason.NOT_AUTHORISED: _FORBIDDEN,
        EdgeReason.CLEAR_PINS_OFF: _FORBIDDEN,
        EdgeReason.BODY_INVALID: _BAD_REQUEST,
        EdgeReason.NOT_FOUND: _general(404, "Not found"),
        EdgeReason.METHOD_NOT_ALLOWED: _general(405, "Method not allowed"),
        "REQUEST_TOO_LARGE": _general(413, "Request entity too large"),
        "CARD_UNKNOWN": Code(404, "404001", "Card not found"),
        "CARD_STATUS": Code(400, "400985", "Card is not in an active state"),
        "CONTROL_TOKEN_REFUSED": _general(400, "Control token is invalid"),
        "PIN_WEAK": _general(412, "Weak PIN"),
        "PIN_NOT_SET": _NO_REVEAL,
        "PIN_BLOCKED": _NO_REVEAL,
        "PIN_NOT_REVEALABLE": _NO_REVEAL,
        **later(too_often=_TOO_MANY, away=_UNAVAILABLE),
        "PIN_CHANGED_MEANWHILE": _UNAVAILABLE,
    },
    default=_general(500, "Internal server error"),
)

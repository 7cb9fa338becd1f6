"""What ConnectFi calls every reason for which a request is not done.

Rules:
- Texts are constant.
- `cardNotFound`, `ibisCheckPinCardLocked`, `ibisCardStatusError`, `requestValidateError` and
  `unauthorized` are the vendor's own; the others are made after their pattern.
- What only an operator of pinvault can mend is told to callers as an internal error.
"""

from typing import Final

from pinvault.edge.dialect import Code, EdgeReason, later, total

_UNAUTHORIZED: Final = Code(401, "unauthorized", "Authentication error")
_FORBIDDEN: Final = Code(403, "forbidden", "Access denied")
_TOO_MANY: Final = Code(429, "tooManyRequests", "Too many requests")
_UNAVAILABLE: Final = Code(503, "serviceUnavailable", "Service unavailable")
_INTERNAL: Final = Code(500, "internalError", "Internal error")

CODES: Final = total(
    {
        EdgeReason.UNAUTHENTICATED: _UNAUTHORIZED,
        EdgeReason.HEADER_MISSING: _UNAUTHORIZED,
        EdgeReason.NOT_AUTHORISED: _FORBIDDEN,
        EdgeReason.CLEAR_PINS_OFF: _FORBIDDEN,
        EdgeReason.BODY_INVALID: Code(400, "requestValidateError", "Request validate error"),
        EdgeReason.NOT_FOUND: Code(404, "notFound", "Not found"),
        EdgeReason.METHOD_NOT_ALLOWED: Code(405, "methodNotAllowed", "Method not allowed"),
        "REQUEST_TOO_LARGE": Code(413, "requestTooLarge", "Request too large"),
        "CARD_UNKNOWN": Code(400, "cardNotFound", "Card not found"),
        "CARD_STATUS": Code(400, "ibisCardStatusError", "Card has an error status"),
        "PIN_NOT_SET": Code(400, "ibisPinNotSet", "PIN is not set"),
        "PIN_WEAK": Code(400, "ibisPinNotAllowed", "PIN is not allowed"),
        EdgeReason.PIN_WRONG: Code(400, "ibisCheckPinMismatch", "PIN does not match"),
        "PIN_BLOCKED": Code(400, "ibisCheckPinCardLocked", "CheckPinCard method is locked"),
        **later(too_often=_TOO_MANY, away=_UNAVAILABLE),
        "PIN_CHANGED_MEANWHILE": _UNAVAILABLE,
    },
    default=_INTERNAL,
)

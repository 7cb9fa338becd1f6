"""What Rapyd calls every reason for which a request is not done.

Rules:
- Texts are constant, and say what to do, as the vendor's do.
- What only an operator of pinvault can mend is told to callers as an internal error.
"""

from typing import Final

from pinvault.edge.dialect import Code, EdgeReason, later, total


def _unauthenticated(remedy: str) -> Code:
    text = f"The request could not be authenticated. Corrective action: {remedy}"
    return Code(401, "UNAUTHENTICATED_API_CALL", text)


def _not_set(status: int, code: str, why: str, remedy: str) -> Code:
    return Code(status, code, f"The PIN was not set: {why}. Corrective action: {remedy}")


_UNAUTHORIZED: Final = Code(401, "UNAUTHORIZED_API_CALL", "")
_TOO_MANY: Final = _not_set(
    429, "ERROR_TOO_MANY_REQUESTS", "there were too many requests", "Wait, and try again."
)
_UNAVAILABLE: Final = _not_set(
    503, "ERROR_SERVICE_UNAVAILABLE", "the service is not available", "Try again."
)
_PIN_NOT_VALID: Final = _not_set(
    400,
    "ERROR_SET_PIN_NOT_VALID",
    "'new_pin' is not allowed for this card",
    "Use another PIN.",
)

CODES: Final = total(
    {
        EdgeReason.HEADER_MISSING: Code(
            400,
            "MISSING_AUTHENTICATION_HEADERS",
            "The request lacks headers for authentication. Corrective action: Send 'access_key', "
            "'salt', 'timestamp' (a number) and 'signature'.",
        ),
        EdgeReason.UNAUTHENTICATED: _unauthenticated("Check the client's certificate."),
        EdgeReason.SIGNATURE_REFUSED: _unauthenticated(
            "Check access key and signature, and use each salt (8 to 16 characters) once."
        ),
        EdgeReason.TIMESTAMP_REFUSED: _unauthenticated(
            "Set 'timestamp' to the current time, in seconds."
        ),
        EdgeReason.NOT_AUTHORISED: _UNAUTHORIZED,
        EdgeReason.CLEAR_PINS_OFF: _UNAUTHORIZED,
        EdgeReason.NOT_FOUND: _UNAUTHORIZED,
        EdgeReason.METHOD_NOT_ALLOWED: _UNAUTHORIZED,
        EdgeReason.BODY_INVALID: _not_set(
            400,
            "ERROR_SET_PIN_INVALID_FIELDS",
            "a field is missing or not valid",
            "Set 'card' to the ID or number of a card, and 'new_pin' to a PIN, as text.",
        ),
        "REQUEST_TOO_LARGE": _not_set(
            413, "ERROR_REQUEST_TOO_LARGE", "the request is too large", "Send less."
        ),
        "CARD_UNKNOWN": _not_set(
            400,
            "ERROR_SET_PIN_CARD_NOT_FOUND",
            "the card was not found",
            "Set 'card' to the ID or number of an issued card.",
        ),
        "CARD_AMBIGUOUS": _not_set(
            400,
            "ERROR_SET_PIN_CARD_AMBIGUOUS",
            "several cards have this number",
            "Set 'card' to the ID of the card.",
        ),
        "CARD_STATUS": _not_set(
            400,
            "ERROR_SET_PIN_SERVICE_NOT_AVAILABLE",
            "the card program does not allow it in the card's status",
            "None.",
        ),
        "PIN_WEAK": _PIN_NOT_VALID,
        "PIN_SOURCE_REFUSED": _PIN_NOT_VALID,
        "REQUEST_ID_REUSED": _not_set(
            400,
            "ERROR_IDEMPOTENCY_KEY_REUSED",
            "'idempotency' has the value of another request",
            "Use a value of its own for each request.",
        ),
        **later(too_often=_TOO_MANY, away=_UNAVAILABLE),
        "PIN_CHANGED_MEANWHILE": _UNAVAILABLE,
    },
    default=_not_set(500, "ERROR_INTERNAL", "of a fault of the service", "Contact support."),
)

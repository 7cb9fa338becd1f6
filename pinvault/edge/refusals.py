"""The one place where what a flow raises becomes a refusal.

Rules:
- The server's reasons keep their names; what did not come from it is "away" or "our fault".
- No text of an exception goes on: a caller gets the dialect's code, the log the type and places.
"""

from typing import Final

import grpc

from pinvault.client import NotRevealed, PinvaultError, SealingKeyChanged
from pinvault.edge.dialect import ALL_REASONS, EdgeReason, Refused

_AWAY: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)


def refusal_of(error: Exception) -> Refused:
    """Give the refusal of whatever a flow raised."""
    if isinstance(error, Refused):
        known = error.reason in ALL_REASONS
        return error if known else Refused(EdgeReason.INTERNAL)
    if isinstance(error, PinvaultError):
        return Refused(_reason(error), retry_after_s=error.retry_after_s, call_id=error.call_id)
    if isinstance(error, SealingKeyChanged | NotRevealed):
        return Refused(EdgeReason.UNAVAILABLE)
    return Refused(EdgeReason.INTERNAL)


def is_fault(error: Exception) -> bool:
    """Tell whether somebody has to look at it: an exception that is no refusal and no answer."""
    return not isinstance(error, Refused | PinvaultError)


def _reason(error: PinvaultError) -> str:
    if error.reason in ALL_REASONS:
        return error.reason
    return EdgeReason.UNAVAILABLE if error.code in _AWAY else EdgeReason.INTERNAL

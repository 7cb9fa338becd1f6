"""Bearer tokens (RFC 6750), for the dialects whose callers show one."""

from typing import Final

from pinvault.edge.dialect import Arrived, EdgeReason, Refused

CHALLENGE: Final = {"www-authenticate": 'Bearer realm="pinvault"'}
_HEADER: Final = "authorization"


def bearer_token(arrived: Arrived) -> str:
    """Give the token of the Authorization header; UNAUTHENTICATED without such a header."""
    scheme, _, token = arrived.headers.get(_HEADER, "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(EdgeReason.UNAUTHENTICATED)
    return token.strip()

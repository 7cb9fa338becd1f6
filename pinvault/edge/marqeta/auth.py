"""HTTP Basic (RFC 7617) as Marqeta uses it: the application token, and the access token.

Rules:
- What is no such header, and what has wrong tokens, are one refusal.
"""

import base64
from typing import Final

from pinvault.edge.dialect import EdgeReason, Refused

CHALLENGE: Final = {"www-authenticate": 'Basic realm="pinvault", charset="UTF-8"'}


def basic_tokens(authorization: str) -> tuple[str, str]:
    """Give the two tokens of an Authorization header.

    >>> basic_tokens("Basic YXBwOmFkbWlu")
    ('app', 'admin')
    """
    scheme, _, encoded = authorization.partition(" ")
    try:
        shown = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        raise Refused(EdgeReason.UNAUTHENTICATED) from None
    application, colon, access = shown.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise Refused(EdgeReason.UNAUTHENTICATED)
    return application, access

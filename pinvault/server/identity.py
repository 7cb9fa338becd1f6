"""Who is calling: the identity that the TLS handshake proved, of the one kind that is configured.

Rules:
- The certificate has been verified against the client CA before any of this runs.
- One kind is read and no other is fallen back to: with SPIFFE configured, a matching
  common name is nobody.
- Exactly one value of that kind identifies; none or several is nobody. (Of several common
  names gRPC tells the first only: prefer SANs.)
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum, unique

from pinvault.model.errors import Reason, Refusal

# What the audit record can hold of a name: printable, plain, and nothing that reads like a PAN.
_PLAIN = re.compile(
    r"(?!.*[0-9]{12})(?!.*[0-9A-Fa-f]{16})[A-Za-z][A-Za-z0-9._:/@=-]{0,127}", re.DOTALL
)


@unique
class IdentityKind(StrEnum):
    """Where in the client's certificate its identity stands."""

    SPIFFE = "spiffe"
    DNS = "dns"
    CN = "cn"


_PROPERTIES = {
    IdentityKind.SPIFFE: "peer_spiffe_id",
    IdentityKind.DNS: "peer_dns",
    IdentityKind.CN: "x509_common_name",
}


def identify(auth: Mapping[str, Iterable[bytes]], kind: IdentityKind) -> str:
    """Give the caller's identity from a gRPC auth context, or refuse."""
    values = list(auth.get(_PROPERTIES[kind]) or ())
    name = values[0].decode("ascii", "replace") if len(values) == 1 else ""
    if not is_name(name):
        raise Refusal(Reason.CALLER_UNIDENTIFIED)
    return name


def is_name(name: str) -> bool:
    """Tell whether an identity can be recorded: 1 to 128 plain characters, beginning with a letter.

    >>> is_name("spiffe://example.org/card-app"), is_name("Card App"), is_name("x5060990000000151")
    (True, False, False)
    """
    return _PLAIN.fullmatch(name) is not None

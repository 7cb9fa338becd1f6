"""Who is calling: one kind of identity, exactly one value, and nothing that cannot be recorded."""

import pytest

from pinvault.model.errors import Reason, Refusal
from pinvault.server.identity import IdentityKind, identify

AUTH = {
    "peer_spiffe_id": [b"spiffe://example.org/card-app"],
    "peer_dns": [b"card-app.example.org"],
    "x509_common_name": [b"card-app"],
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (IdentityKind.SPIFFE, "spiffe://example.org/card-app"),
        (IdentityKind.DNS, "card-app.example.org"),
        (IdentityKind.CN, "card-app"),
    ],
)
def test_the_configured_kind_is_read(kind: IdentityKind, name: str) -> None:
    assert identify(AUTH, kind) == name


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        [b""],
        [b"a", b"b"],
        [b"spiffe://example.org/caf\xc3\xa9"],
        [b"spiffe://example.org/line\nbreak"],
        [b"spiffe://example.org/" + b"a" * 200],
        [b"spiffe://example.org/4111111111111111"],
        [b"*"],
    ],
    ids=range(9),
)
def test_anything_else_is_nobody(values: list[bytes] | None) -> None:
    auth = {"x509_common_name": [b"card-app"]} | (
        {} if values is None else {"peer_spiffe_id": values}
    )
    with pytest.raises(Refusal) as refused:
        identify(auth, IdentityKind.SPIFFE)
    assert refused.value.reason is Reason.CALLER_UNIDENTIFIED

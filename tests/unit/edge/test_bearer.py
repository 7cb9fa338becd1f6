"""Bearer tokens, as dialects ask for them."""

import pytest

from pinvault.edge.bearer import bearer_token
from pinvault.edge.dialect import Refused
from tests.unit.edge.connectfi.asking import arrived


@pytest.mark.parametrize(
    "value", ["Bearer abc.d-e=", "bearer abc.d-e=", "BEARER  abc.d-e= "], ids=range(3)
)
def test_a_token_is_what_stands_behind_the_scheme(value: str) -> None:
    assert bearer_token(arrived("GET", "/", b"", {"authorization": value})) == "abc.d-e="


@pytest.mark.parametrize(
    "value",
    [None, "", "Bearer", "Bearer ", "Basic YTpi", "abc", "Bearertoken"],
    ids=range(7),
)
def test_what_is_no_such_header_is_refused(value: str | None) -> None:
    headers = {} if value is None else {"authorization": value}
    with pytest.raises(Refused) as caught:
        bearer_token(arrived("GET", "/", b"", headers))
    assert caught.value.reason == "UNAUTHENTICATED"

"""Rapyd's signature against values that OpenSSL made, and how long and how often it is good."""

import base64
import hashlib
import traceback
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.edge.credentials import Credentials
from pinvault.edge.dialect import Arrived, Refused
from pinvault.edge.rapyd.auth import AHEAD_S, WINDOW_S, Caller, Spent, authenticate, sign
from tests.unit.edge.connectfi.asking import ASSETS, arrived

SAMPLES = ASSETS / "rapyd"
PATH = "/v1/issuing/cards/pin"
ACCESS, SECRET = "rak_0123456789ABCDEF0123", "rsk_fedcba98765432100123456789abcdef"
SALT, TIMESTAMP = "90ec80e9a1b2", "1767225600"
NOW = float(TIMESTAMP)
ACME = Caller(name="acme", programs=("debit",), access_key=ACCESS, secret_key=SECRET)
OTHER = Caller(name="other", programs=("debit",), access_key="rak_other", secret_key="rsk_other")
BODY = (SAMPLES / "set-pin-by-id.request.json").read_bytes()

# printf '%s' TEXT | openssl dgst -sha256 -mac HMAC -macopt key:SECRET -hex -r | cut -d' ' -f1 |
#   tr -d '\n' | base64 -w0
BY_OPENSSL = (
    (
        "post",
        PATH,
        "set-pin-by-id.request.json",
        "ZDdmMTkzMWYwNjRkNGJiZWEyODIwODQ3ZDI1YzUxODlkNDZiZTg5MDgxNmE0MWI3YmExYWVhMDdmODU4ZjIyNQ==",
    ),
    (
        "POST",
        PATH,
        "set-pin-by-number.request.json",
        "OTNkMmY1NDg5MmJkYmI4ZWZmOWNhZmMzZWVhODdiY2EyZTM4ZjlhMWU0YzY2NDJhZmQyYWZhYzgzOWU0MDdmYg==",
    ),
    (
        "GET",
        "/v1/data/countries?x=1&y=%20",
        "",
        "MzMwYTdkYTIzOTVhNzVlZDNiNjE0YzVjMzcxY2UwNDhkYWIxYjMzYzRmMTJhNGQ0MGFhYzczZjgyYTZlMzllNw==",
    ),
)
SIGNATURE = BY_OPENSSL[0][3]
HEADERS = {
    "access_key": ACCESS,
    "salt": SALT,
    "timestamp": TIMESTAMP,
    "signature": SIGNATURE,
    "content-type": "application/json",
}


class Desk:
    """The check of signatures, on a clock."""

    def __init__(self, *, slots: int = 100) -> None:
        self.now = NOW
        self.spent = Spent(lambda: self.now, slots=slots)
        self.callers = Credentials([OTHER, ACME])

    def check(self, request: Arrived) -> Caller:
        return authenticate(request, self.callers, self.spent)

    def refuses(self, request: Arrived) -> str:
        with pytest.raises(Refused) as caught:
            self.check(request)
        text = "".join(traceback.format_exception(caught.value)) + repr(caught.value.context)
        assert SECRET not in text
        assert "7777" not in text
        return caught.value.reason


@pytest.fixture
def desk() -> Desk:
    return Desk()


def asked(
    headers: Mapping[str, str] = HEADERS, *, body: bytes = BODY, path: str = PATH, method: str = ""
) -> Arrived:
    return arrived(method or "POST", path, body, headers)


def signed(*, salt: str = SALT, timestamp: str = TIMESTAMP, body: bytes = BODY) -> Arrived:
    """A request as a caller signs it, in other words than those of the code."""
    text = f"post{PATH}{salt}{timestamp}{ACCESS}{SECRET}".encode() + body
    key = SECRET.encode().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + text).digest()
    digest = hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()
    signature = base64.b64encode(digest.hex().encode()).decode()
    headers = {**HEADERS, "salt": salt, "timestamp": timestamp, "signature": signature}
    return asked(headers, body=body)


@pytest.mark.parametrize(("method", "path", "name", "wanted"), BY_OPENSSL, ids=range(3))
def test_it_is_what_openssl_makes(method: str, path: str, name: str, wanted: str) -> None:
    body = (SAMPLES / name).read_bytes() if name else b""
    request = asked(method=method, path=path, body=body)
    keys = {"access_key": ACCESS, "secret_key": SECRET}
    assert sign(request, salt=SALT, timestamp=TIMESTAMP, **keys) == wanted


@given(
    salt=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=16),
    body=st.binary(max_size=80),
)
def test_what_is_signed_well_is_known(salt: str, body: bytes) -> None:
    assert Desk().check(signed(salt=salt, body=body)) is ACME


def test_the_base64_of_the_digest_itself_is_no_signature(desk: Desk) -> None:
    raw = bytes.fromhex(base64.b64decode(SIGNATURE).decode())
    for wrong in (base64.b64encode(raw).decode(), raw.hex(), raw.hex().upper()):
        assert desk.refuses(asked({**HEADERS, "signature": wrong})) == "SIGNATURE_REFUSED"
    upper = base64.b64encode(raw.hex().upper().encode()).decode()
    assert desk.refuses(asked({**HEADERS, "signature": upper})) == "SIGNATURE_REFUSED"
    assert desk.check(asked()) is ACME


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_key": "rak_other"},
        {"access_key": ACCESS.lower()},
        {"salt": "90ec80e9a1b3"},
        {"timestamp": "1767225601"},
        {"signature": SIGNATURE[:-1]},
        {"signature": SIGNATURE + "="},
        {"signature": "é" * 88},
    ],
    ids=range(7),
)
def test_every_part_is_signed(desk: Desk, wrong: Mapping[str, str]) -> None:
    assert desk.refuses(asked({**HEADERS, **wrong})) == "SIGNATURE_REFUSED"


def test_method_path_query_and_body_are_signed(desk: Desk) -> None:
    spaced = BODY.replace(b":", b": ", 1)
    longer = replace(asked(), raw_path_and_query=f"{PATH}?a=1")
    for request in (
        asked(body=spaced),
        asked(body=BODY + b"\n"),
        asked(body=b""),
        asked(method="PUT"),
        asked(path="/v2/issuing/cards/pin"),
        longer,
    ):
        assert desk.refuses(request) == "SIGNATURE_REFUSED"


@given(at=st.integers(0, len(BODY) * 8 - 1))
def test_every_bit_of_a_body_is_signed(at: int) -> None:
    changed = bytearray(BODY)
    changed[at // 8] ^= 1 << at % 8
    assert Desk().refuses(asked(body=bytes(changed))) == "SIGNATURE_REFUSED"


@pytest.mark.parametrize("name", ["access_key", "salt", "timestamp", "signature"])
def test_a_header_that_is_missing_is_told(desk: Desk, name: str) -> None:
    left = {each: value for each, value in HEADERS.items() if each != name}
    for headers in (left, {**HEADERS, name: ""}):
        assert desk.refuses(asked(headers)) == "HEADER_MISSING"


@pytest.mark.parametrize(
    "value", ["now", "1767225600.0", "-1", "0x10", "١٧٦٧٢٢٥٦٠٠", "1" * 13, "01767225600"]
)
def test_a_timestamp_that_is_no_number_is_as_good_as_missing(desk: Desk, value: str) -> None:
    assert desk.refuses(asked({**HEADERS, "timestamp": value})) == "HEADER_MISSING"


@pytest.mark.parametrize("salt", ["1234567", "1" * 17, "1234 5678", "1234567é", "1234567\t"])
def test_a_salt_has_8_to_16_printable_characters(desk: Desk, salt: str) -> None:
    assert desk.refuses(signed(salt=salt)) == "SIGNATURE_REFUSED"


@pytest.mark.parametrize(
    ("age", "is_good"),
    [(0, True), (60, True), (60.5, False), (61, False), (3600, False), (-5, True), (-6, False)],
)
def test_a_signature_is_good_for_a_minute(desk: Desk, age: float, is_good: bool) -> None:
    desk.now = NOW + age
    if is_good:
        assert desk.check(asked()) is ACME
    else:
        assert desk.refuses(asked()) == "TIMESTAMP_REFUSED"


@given(age=st.floats(0, WINDOW_S), later=st.floats(0, WINDOW_S + AHEAD_S + 10))
def test_a_signature_is_taken_once(age: float, later: float) -> None:
    desk = Desk()
    desk.now = NOW + age
    assert desk.check(asked()) is ACME
    desk.now += later
    wanted = "TIMESTAMP_REFUSED" if desk.now - NOW > WINDOW_S else "SIGNATURE_REFUSED"
    assert desk.refuses(asked()) == wanted


def test_one_that_is_ahead_is_remembered_for_as_long(desk: Desk) -> None:
    ahead = signed(timestamp=str(int(NOW) + AHEAD_S))
    assert desk.check(ahead) is ACME
    desk.now = NOW + AHEAD_S + WINDOW_S
    assert desk.refuses(ahead) == "SIGNATURE_REFUSED"
    desk.now += 1
    assert desk.refuses(ahead) == "TIMESTAMP_REFUSED"


def test_another_salt_or_another_second_is_another_request(desk: Desk) -> None:
    for request in (signed(), signed(salt="another-salt"), signed(timestamp=str(int(NOW) - 1))):
        assert desk.check(request) is ACME
        assert desk.refuses(request) == "SIGNATURE_REFUSED"


def test_a_zero_that_moves_from_salt_to_time_is_no_other_request(desk: Desk) -> None:
    request = signed(salt="90ec80e9a1b0")
    assert desk.check(request) is ACME
    cut = {"salt": "90ec80e9a1b", "timestamp": f"0{TIMESTAMP}"}
    again = replace(request, headers={**request.headers, **cut})
    assert sign(again, **cut, access_key=ACCESS, secret_key=SECRET) == again.headers["signature"]
    assert desk.refuses(again) == "HEADER_MISSING"
    assert desk.refuses(request) == "SIGNATURE_REFUSED"


@given(cut=st.integers(1, 8))
def test_a_signature_is_taken_once_however_its_parts_are_cut(cut: int) -> None:
    """Characters that move from the salt to the query are signed as they were."""
    desk, salt = Desk(), "90ec80e9a1b2c3d4"
    query = f"{PATH}?a={salt[:cut]}"
    once = replace(asked(), raw_path_and_query=query)
    keys = {"access_key": ACCESS, "secret_key": SECRET}
    signature = sign(once, salt=salt[cut:], timestamp=TIMESTAMP, **keys)
    once = replace(once, headers={**HEADERS, "salt": salt[cut:], "signature": signature})
    headers = {**HEADERS, "salt": salt, "signature": signature}
    again = replace(once, raw_path_and_query=f"{PATH}?a=", headers=headers)
    assert desk.check(once) is ACME
    assert desk.refuses(again) == "SIGNATURE_REFUSED"


def test_what_is_signed_badly_spends_nothing(desk: Desk) -> None:
    assert desk.refuses(asked({**HEADERS, "signature": "A" * 88})) == "SIGNATURE_REFUSED"
    assert desk.check(asked()) is ACME


def test_when_no_more_can_be_remembered_nothing_more_is_taken() -> None:
    desk = Desk(slots=2)
    for salt in ("salt-000", "salt-001"):
        desk.check(signed(salt=salt))
    assert desk.refuses(signed(salt="salt-002")) == "UNAVAILABLE"
    desk.now += WINDOW_S + AHEAD_S + 1
    desk.check(signed(salt="salt-002", timestamp=str(int(desk.now))))


def test_no_secret_is_shown(desk: Desk) -> None:
    desk.check(asked())
    shown = repr((ACME, desk.spent, desk.callers, asked()))
    assert SECRET not in shown
    assert SALT not in shown
    assert ACCESS not in shown

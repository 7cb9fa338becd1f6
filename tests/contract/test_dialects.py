"""What every dialect of the edge keeps, whichever vendor's words it speaks."""

import base64
import hashlib
import itertools
import json
import re
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest

from pinvault.edge import openapi
from pinvault.edge.credentials import Digest, Secret
from pinvault.edge.dialect import ALL_REASONS, Arrived, EdgeReason, Endpoint, Refused
from pinvault.edge.dialects import package
from pinvault.edge.rapyd.auth import sign
from tests.support import dialects
from tests.support.dialects import NAMES, build
from tests.support.leaks import without_chance
from tests.support.openapi import is_well_formed
from tests.support.toy_edge import Served

SECRET = "the-secret-of-a-caller"
SECRETS = ("4831", "4000001234562000", "secret-of-a-header", "secret-of-a-query")
BODIES = (
    b"",
    b"null",
    b"[]",
    b"{",
    b'"4831"',
    b"\xff\xfe",
    b"[" * 5_000,
    b'{"pin": "4831"}',
    b'{"pin": 4831, "new_pin": {"a": "4831"}, "card": ["4000001234562000"]}',
    b'{"4831": "4000001234562000"}',
)
VENDORS = tuple(name for name in NAMES if name not in {dialects.OWN, dialects.HOSTED})


def arrived(path: str = "/4000001234562000") -> Arrived:
    return Arrived(
        method="POST",
        path=path,
        raw_path_and_query=f"{path}?pin=4831",
        query={"pin": "4831", "q": "secret-of-a-query"},
        headers={"authorization": "secret-of-a-header", "x-pin": "4831"},
        body=b"",
        request_id="a" * 32,
        clear_pins=True,
        client="CN=acme",
    )


def endpoints(name: str) -> list[Endpoint]:
    return list(build(name).endpoints())


def test_every_dialect_is_there() -> None:
    assert all(dialects.THERE.values()), dialects.THERE


@pytest.mark.parametrize("name", NAMES)
def test_every_reason_has_a_code(name: str) -> None:
    codes = build(name).codes
    assert codes.keys() == ALL_REASONS
    assert all(200 <= code.status < 600 for code in codes.values())
    assert codes[EdgeReason.INTERNAL].status >= 400


@pytest.mark.parametrize("name", NAMES)
def test_every_refusal_can_be_said_without_a_secret(name: str) -> None:
    dialect = build(name)
    contexts = ({}, {"path": "$.pin", "problem": "Expected `str`, got `int`"}, {"header": "x"})
    for reason, context in itertools.product(sorted(ALL_REASONS), contexts):
        answer = dialect.render(Refused(reason, context), arrived())
        assert answer.status == dialect.codes[reason].status, reason
        assert answer.media_type.endswith("json"), reason
        assert isinstance(json.loads(answer.body), dict), reason
        told = answer.body.decode() + str(answer.headers)
        assert not any(secret in told for secret in SECRETS), reason


@pytest.mark.parametrize("name", NAMES)
def test_paths_are_its_own(name: str) -> None:
    found = [(each.method, each.path) for each in endpoints(name)]
    assert len(found) == len(set(found)) > 0


@pytest.mark.parametrize("name", NAMES)
def test_what_nobody_has_is_refused_in_its_words(name: str) -> None:
    dialect = build(name)
    served = Served(dialect)
    first = endpoints(name)[0].path.rsplit("/", 1)[0]
    answer = served.get(f"{first}/4000001234562000")
    assert answer.status_code == dialect.codes[EdgeReason.NOT_FOUND].status
    told = answer.text.replace(answer.headers["x-request-id"], "") + without_chance(served.log)
    assert not any(secret in told for secret in SECRETS)


@pytest.mark.parametrize("name", NAMES)
def test_another_method_is_refused_in_its_words(name: str) -> None:
    dialect = build(name)
    served = Served(dialect, clear_pins=True)
    for path in {each.path: None for each in endpoints(name)}:
        for method in ("DELETE", "OPTIONS", "HEAD"):
            answer = served.call(method, path)
            assert answer.status_code == dialect.codes[EdgeReason.METHOD_NOT_ALLOWED].status
            assert answer.headers["allow"]


@pytest.mark.parametrize("name", VENDORS)
def test_nobody_gets_to_the_server_without_credentials(name: str) -> None:
    """Whatever a stranger sends, it is refused, is no fault, and is not repeated."""
    served = Served(build(name), clear_pins=True)
    headers = {
        "authorization": "Bearer secret-of-a-header",
        **{
            parameter.name: "secret-of-a-header"
            for each in endpoints(name)
            for parameter in each.parameters
            if parameter.where == "header"
        },
    }
    for each in endpoints(name):
        for body in BODIES:
            for shown in ({}, headers, {**headers, "authorization": "Basic c2VjcmV0"}):
                path = f"{each.path}?pin=4831&q=secret-of-a-query"
                answer = served.call(each.method, path, content=body, headers=shown)
                refused = served.lines()[-1]["reason"]
                assert refused not in {"", "INTERNAL"}
                text = answer.text.replace(answer.headers["x-request-id"], "")
                assert not any(secret in text for secret in SECRETS)
    assert not [line for line in served.lines() if line["level"] == "error"]
    assert "secret-of" not in served.log
    assert "4000001234562000" not in served.log


def known(name: str, secret: str = SECRET) -> Any:
    """A caller of a dialect, whose every secret is this one."""
    kept = {Digest: hashlib.sha256(secret.encode()).hexdigest(), Secret: secret}
    caller = dialects.some_caller(package(name).Caller)
    fields = msgspec.structs.fields(caller)
    return msgspec.structs.replace(
        caller, **{each.name: kept[each.type] for each in fields if each.type in kept}
    )


def showing(secret: str, each: Endpoint, body: bytes, salt: int = 0) -> dict[str, str]:
    """Headers by which a caller is known, of every dialect at once; only these are looked at."""
    basic = base64.b64encode(f"{secret}:{secret}".encode()).decode()
    is_basic = each.authentication == "basic"
    keys = {"salt": f"{salt:08}", "timestamp": str(int(dialects.NOW))}
    request = replace(arrived(each.path), raw_path_and_query=each.path, body=body)
    return {
        "authorization": f"Basic {basic}" if is_basic else f"Bearer {secret}",
        "x-api-key": secret,
        "x-connectfi-token": secret,
        **keys,
        "access_key": secret,
        "signature": sign(request, **keys, access_key=secret, secret_key=secret),
    }


@pytest.mark.parametrize("name", VENDORS)
def test_a_stranger_may_guess_a_few_times_and_learns_nothing_more(name: str) -> None:
    dialect = build(name, caller=known(name))
    too_often = dialect.codes[EdgeReason.RATE_EXCEEDED].status
    served = Served(dialect, clear_pins=True, failures="5/h")
    each = endpoints(name)[0]

    def guess(secret: str, salt: int) -> httpx.Response:
        headers = showing(secret, each, b"{}", salt)
        return served.call(each.method, each.path, content=b"{}", headers=headers)

    told = [guess("a-wrong-secret", number).status_code for number in range(50)]
    assert told == [401] * 5 + [too_often] * 45
    right, wrong = guess(SECRET, 50), guess("a-wrong-secret", 51)
    for answer in (right, wrong):
        assert (answer.status_code, answer.headers["retry-after"]) == (too_often, "720")
        assert served.lines()[-1]["reason"] == "RATE_EXCEEDED"
    said = [each.text.replace(each.headers["x-request-id"], "") for each in (right, wrong)]
    operation = re.compile('"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"')
    assert operation.sub("", said[0]) == operation.sub("", said[1])


@pytest.mark.parametrize("name", VENDORS)
def test_a_callers_requests_are_counted_whatever_is_wrong_with_them(name: str) -> None:
    for each in endpoints(name):
        dialect = build(name, caller=known(name), per_caller="3/h")
        too_often = dialect.codes[EdgeReason.RATE_EXCEEDED].status
        served = Served(dialect, clear_pins=True, failures="1/h")
        told = []
        for salt, body in enumerate(BODIES[:5]):
            headers = showing(SECRET, each, body, salt)
            served.call(each.method, each.path, content=body, headers=headers)
            told.append((served.lines()[-1]["status"], served.lines()[-1]["reason"]))
        refused = {"BODY_INVALID", "HEADER_MISSING", "PIN_NOT_REVEALABLE", "NOT_AUTHORISED"}
        assert {reason for _, reason in told[:3]} <= refused, each.path
        assert told[3:] == [(too_often, "RATE_EXCEEDED")] * 2, each.path


@pytest.mark.parametrize("name", VENDORS)
def test_clear_pins_are_for_listeners_that_are_open_for_them(name: str) -> None:
    dialect = build(name)
    served = Served(dialect)
    for each in filter(lambda found: found.takes_clear_pin, endpoints(name)):
        answer = served.call(each.method, each.path, content=b'{"pin": "4831"}')
        assert answer.status_code == dialect.codes[EdgeReason.CLEAR_PINS_OFF].status
        assert served.lines()[-1]["reason"] == "CLEAR_PINS_OFF"


def test_who_takes_clear_pins_says_so() -> None:
    takers = {name for name in VENDORS if any(each.takes_clear_pin for each in endpoints(name))}
    assert takers == {"connectfi", "marqeta", "rapyd"} & set(VENDORS)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_described(name: str) -> None:
    document = json.loads(openapi.describe([("/base", build(name))]))
    assert is_well_formed(document)
    assert document["paths"].keys() == {f"/base{each.path}" for each in endpoints(name)}


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_to_a_refusal_needs_no_body(name: str) -> None:
    dialect = build(name)
    bare = replace(arrived(), headers={}, query={}, client="", clear_pins=False)
    for reason in (EdgeReason.INTERNAL, EdgeReason.HEADER_MISSING, EdgeReason.BODY_INVALID):
        assert dialect.render(Refused(reason), bare).body

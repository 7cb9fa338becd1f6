"""The page's calls: what goes to the server, what comes back, and what is refused before."""

from typing import Any

import grpc
import pytest

from pinvault.client import PinvaultError, SealedPin, SealingKey
from pinvault.edge.dialect import ALL_REASONS
from pinvault.edge.hosted import codes
from pinvault.edge.hosted.sessions import ToOpen, ToSubmit
from tests.support.openapi import call_all
from tests.unit.edge.hosted.asking import (
    ENVELOPE,
    KEY,
    ORIGIN,
    PAGE_SECRET,
    SECRET,
    SESSION,
    SHOP,
    Page,
    verdict,
)


def test_a_session_is_opened_for_its_page(site: Page) -> None:
    answer = site.open()
    assert answer.json() == {
        "page_secret": PAGE_SECRET,
        "card_id": "card_" + "g" * 26,
        "last_four": "2000",
        "action": "change",
        "pin_length": {"minimum": 4, "maximum": 6},
        "origin": SHOP,
        "expires_at": 1_700_000_000,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert "content-encoding" not in answer.headers
    assert site.vault.calls == [(SESSION, SECRET)]


def test_envelopes_go_on_as_they_came(site: Page) -> None:
    sealed = SealedPin(profile="sealed-card", ciphertext=ENVELOPE.encode())
    assert site.submit().json() == {"outcome": "done"}
    asked = {"page_secret": PAGE_SECRET, "new_pin": sealed, "current_pin": None}
    assert site.vault.calls == [(SESSION, asked)]
    site.submit(current="ff.gg.hh.ii.jj")
    assert site.vault.calls[1][1]["current_pin"].ciphertext == b"ff.gg.hh.ii.jj"


@pytest.mark.parametrize(("tries_left", "blocked"), [(2, False), (0, True)])
def test_a_wrong_current_pin_is_told_with_its_tries(
    site: Page, tries_left: int, blocked: bool
) -> None:
    site.vault.verdict = verdict(matches=False, tries_left=tries_left, blocked=blocked)
    told = {"outcome": "wrong_current", "tries_left": tries_left, "blocked": blocked}
    assert site.submit().json() == told


def test_the_key_is_told_as_a_jwk_set(site: Page) -> None:
    (jwk,) = site.get("/jwks.json").json()["keys"]
    assert {name: jwk[name] for name in ("kty", "use", "kid", "alg")} == {
        "kty": "RSA",
        "use": "enc",
        "kid": "pin-seal.1",
        "alg": "RSA-OAEP",
    }
    read = SealingKey.from_jwk(kid="", alg="RSA-OAEP", n=jwk["n"], e=jwk["e"])
    assert read.public_key.public_numbers() == KEY.public_numbers()


@pytest.mark.parametrize(
    ("reason", "status", "word"),
    [
        ("SESSION_REFUSED", 410, "used"),
        ("PIN_WEAK", 422, "weak"),
        ("PIN_BLOCKED", 409, "blocked"),
        ("CARD_STATUS", 409, "closed"),
        ("PIN_SOURCE_REFUSED", 422, "unavailable"),
        ("ENVELOPE_EXPIRED", 422, "unavailable"),
        ("PIN_CHANGED_MEANWHILE", 409, "unavailable"),
        ("CALLER_RATE_EXCEEDED", 429, "unavailable"),
        ("ENVELOPE_REPLAYED", 503, "unavailable"),
        ("STORE_UNAVAILABLE", 503, "unavailable"),
        ("AUDIT_UNAVAILABLE", 503, "unavailable"),
        ("DEADLINE_EXCEEDED", 503, "unavailable"),
        ("INTERNAL", 500, "unavailable"),
    ],
)
def test_the_page_is_told_in_its_words(site: Page, reason: str, status: int, word: str) -> None:
    site.vault.fails = PinvaultError(grpc.StatusCode.FAILED_PRECONDITION, reason, "a text")
    answer = site.submit()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["error"]) == (status, word)
    assert answer.json().keys() == {"type", "title", "status", "instance", "error"}
    assert "a text" not in answer.text


def test_there_is_a_word_for_every_reason() -> None:
    assert codes.CODES.keys() == ALL_REASONS


GOOD = {"session_id": SESSION, "secret": SECRET}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": SHOP}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ORIGIN + ":443"}, 403),
        ({"origin": ""}, 400),
        ({"content-type": "text/plain"}, 400),
        ({"content-type": "application/json-patch+json"}, 400),
        ({"content-type": ""}, 400),
    ],
)
def test_only_the_page_itself_may_call(site: Page, headers: dict[str, str], status: int) -> None:
    for path in ("/pin/open", "/pin/submit"):
        answer = site.post(path, GOOD, **headers)
        assert (answer.status_code, answer.json()["error"]) == (status, "unavailable")
    assert site.vault.calls == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        {},
        {**GOOD, "more": 1},
        {**GOOD, "secret": SECRET[1:]},
        {**GOOD, "secret": SECRET + "\n"},
        {**GOOD, "session_id": "a.b"},
        {**GOOD, "session_id": 5},
    ],
)
def test_another_body_is_refused_and_not_repeated(site: Page, body: Any) -> None:
    answer = site.post("/pin/open", body)
    assert answer.status_code == 400
    assert SECRET[1:] not in answer.text + site.served.log
    assert site.vault.calls == []


@pytest.mark.parametrize("envelope", ["", "4831", "a.b.c.d", "a.b.c.d.e.f", "a.b.c.d.é", "a" * 9])
def test_only_envelopes_go_on(site: Page, envelope: str) -> None:
    assert site.submit(new=envelope).status_code == 400
    assert site.submit(current=envelope).status_code == 400
    assert site.vault.calls == []


def test_a_body_is_bounded(site: Page) -> None:
    answer = site.post("/pin/submit", b" " * 20_000)
    assert (answer.status_code, answer.json()["error"]) == (413, "unavailable")


def test_calls_are_counted_by_session_and_by_address() -> None:
    site = Page(per_session="2/h", per_address="4/h")
    assert [site.open().status_code for _ in range(3)] == [200, 200, 429]
    assert [site.open("t" * 22).status_code for _ in range(2)] == [200, 429]
    refused = site.get("/jwks.json")
    assert (refused.status_code, refused.json()["error"]) == (429, "unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert site.get("/pin/debit/set").status_code == 200


def test_the_description_is_kept_to() -> None:
    site = Page(per_address="900000/s", per_session="900000/s")
    paths = call_all(site.served.app, headers={"Origin": ORIGIN}, examples=5)
    assert paths == len(site.served.toy.endpoints())


def test_no_repr_shows_what_a_page_sends() -> None:
    shown = repr([ToOpen(session_id=SESSION, secret=SECRET)])
    shown += repr(ToSubmit(session_id=SESSION, page_secret=PAGE_SECRET, new=ENVELOPE))
    assert shown == "[<ToOpen>]<ToSubmit>"

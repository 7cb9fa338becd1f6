"""HashDT's samples byte for byte, whose page is made for whom, and what a repeat gets."""

import json
import traceback
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.client import PinvaultError
from pinvault.client.card_values import SessionAction
from pinvault.edge.dialect import ALL_REASONS, Answer, Dialect, Refused
from pinvault.edge.files import Unfit
from pinvault.edge.hashdt import Caller, Options, build
from pinvault.edge.hashdt.flow import ACTIONS, API_KEY, CARD_ID, REQUEST_ID, REQUIRED
from pinvault.edge.hashdt.wire import PinUrl
from pinvault.edge.sections import HostedPage, PageProgram
from tests.support.openapi import call_all
from tests.support.toy_edge import Served
from tests.unit.edge.connectfi.asking import ASSETS, arrived, ask, digest, ground
from tests.unit.edge.connectfi.fake_vault import NOW, refusal
from tests.unit.edge.interswitch.card_vault import SESSION, CardVault, numbered

SAMPLES = ASSETS / "hashdt"
OPTIONS = Options(kind="hashdt", listener="public", program="debit", credentials_file="hashdt.toml")
SHOP, BANK = "https://shop.example.com", "https://bank.example.com"
PAGE = HostedPage(
    listener="public",
    public_url="https://pin.example.com",
    programs={"debit": PageProgram(origins=(SHOP, BANK))},
)
SET, RESET, CHANGE = ACTIONS
ALL = {SET: "set", RESET: "reset", CHANGE: "change"}


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


def request(action: str) -> tuple[str, dict[str, str]]:
    """Read a sample request: a line with method and path, then headers."""
    first, *lines = (SAMPLES / f"{action}pin.request.txt").read_text().splitlines()
    pairs = (line.split(": ", 1) for line in lines)
    return first.removeprefix("GET "), {name.lower(): value for name, value in pairs}


HEADERS = request("set")[1]
KEY, TOKEN = HEADERS[API_KEY], HEADERS["authorization"].removeprefix("Bearer ")


class Desk:
    """The dialect over a fake vault with a card, and a clock."""

    def __init__(self, *, origin: str | None = None, per_card: str = "999/s") -> None:
        self.vault = CardVault(numbered("card_01"), numbered("card_02"), numbered("theirs"))
        self.cards = self.vault.cards
        self.cards.registered[2] = replace(self.cards.registered[2], program="credit")
        self.now = NOW.timestamp()
        secrets = {"api_key_sha256": digest(KEY), "bearer_sha256": digest(TOKEN)}
        stranger = {"api_key_sha256": digest("strange"), "bearer_sha256": digest("stranger")}
        callers = (
            Caller(name="acme", programs=("debit",), origin=origin, **secrets),
            Caller(name="other", programs=("credit",), **stranger),
        )
        made = ground(self.vault, OPTIONS, *callers, per_card=per_card)
        self.dialect: Dialect = build(replace(made, page=PAGE, now=lambda: self.now))

    def ask(self, path: str = SET, headers: Mapping[str, str] = HEADERS, **more: str) -> Answer:
        """Ask with the sample's headers; `more` has others, by name with underscores."""
        others = {name.replace("_", "-"): value for name, value in more.items()}
        return ask(self.dialect, arrived("GET", path, b"", {**headers, **others}))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def without(name: str) -> dict[str, str]:
    return {each: value for each, value in HEADERS.items() if each != name}


def told(answer: Answer) -> tuple[int, str]:
    content = json.loads(answer.body)
    assert list(content) == ["code", "message", "status"]
    assert (content["code"], content["status"]) == (answer.status, "error")
    return answer.status, content["message"]


def url(answer: Answer) -> str:
    assert answer.status == 200
    (data,) = json.loads(answer.body)["data"]
    found: str = data["set_pin_url"]
    return found


@pytest.mark.parametrize(
    ("action", "session"), [("set", "SET"), ("reset", "RESET"), ("change", "CHANGE")]
)
def test_the_samples_are_answered_byte_for_byte(
    desk: Desk, action: str, session: SessionAction
) -> None:
    path, headers = request(action)
    answer = desk.ask(path, headers)
    assert (answer.status, answer.body) == (200, sample(f"{action}pin.response"))
    assert desk.cards.sessions == [(desk.cards.registered[0].card_id, session, SHOP)]


def test_the_address_holds_the_session_in_its_fragment(desk: Desk) -> None:
    for path, action in ALL.items():
        page, _, fragment = url(desk.ask(path, x_request_id=action)).partition("#")
        assert page == f"https://pin.example.com/pin/debit/{action}"
        assert fragment == ".".join(SESSION)


def test_who_has_no_client_id_and_who_has_one_are_served(desk: Desk) -> None:
    desk.cards.next_session = None
    assert url(desk.ask()) == url(desk.ask(x_client_id="client_1"))


@pytest.mark.parametrize("name", [*REQUIRED, "content-type"])
def test_a_header_that_is_missing_is_named(desk: Desk, name: str) -> None:
    for headers in (without(name), {**HEADERS, name: ""}):
        answer = desk.ask(headers=headers)
        assert told(answer) == (400, f"Required header is missing: {name}.")
        if name == "x-wallet-id":
            assert answer.body == sample("header-missing.response")
    assert desk.cards.asked == []


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonp", "json"])
def test_a_type_that_is_not_json_is_refused(desk: Desk, kind: str) -> None:
    assert told(desk.ask(content_type=kind)) == (400, "Invalid request.")
    assert desk.ask(content_type="Application/JSON; charset=utf-8").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": ""},
        {"authorization": ""},
        {"x-api-key": KEY.upper()},
        {"x-api-key": KEY[:-1]},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": "Bearer stranger"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"x-api-key": TOKEN, "authorization": f"Bearer {KEY}"},
    ],
    ids=range(9),
)
def test_a_wrong_key_or_token_is_told_nothing(desk: Desk, headers: Mapping[str, str]) -> None:
    answer = desk.ask(headers={**HEADERS, **headers})
    assert (answer.status, answer.body) == (401, sample("unauthorized.response"))
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert desk.cards.asked == []


@pytest.mark.parametrize("name", [API_KEY, "authorization"])
def test_without_key_or_token_nothing_is_told(desk: Desk, name: str) -> None:
    answer = desk.ask(headers=without(name))
    assert (answer.status, answer.body) == (401, sample("unauthorized.response"))


def test_a_caller_of_another_program_is_forbidden(desk: Desk) -> None:
    answer = desk.ask(x_api_key="strange", authorization="Bearer stranger")
    assert told(answer) == (403, "Access denied.")


@pytest.mark.parametrize(
    "card_id", ["nobody", "theirs", "4111111111111111", "card 1", "كارت", "a" * 65, "card_01\n"]
)
def test_a_card_that_is_not_there_is_not_found(desk: Desk, card_id: str) -> None:
    answer = desk.ask(x_card_id=card_id)
    assert (answer.status, answer.body) == (400, sample("card-not-found.response"))
    assert desk.cards.asked == (["get"] if card_id in {"nobody", "theirs"} else [])


@pytest.mark.parametrize(("origin", "wanted"), [(None, SHOP), (SHOP, SHOP), (BANK, BANK)])
def test_a_caller_embeds_on_its_own_site_or_the_first(origin: str | None, wanted: str) -> None:
    desk = Desk(origin=origin)
    desk.ask()
    assert desk.cards.sessions[0][2] == wanted


def test_an_origin_that_the_program_has_not_is_forbidden() -> None:
    desk = Desk(origin="https://evil.example.com")
    assert told(desk.ask())[0] == 403
    assert desk.cards.sessions == []


def test_it_cannot_be_without_a_page_for_its_program() -> None:
    for page in (None, replace_programs({"credit": PageProgram(origins=(SHOP,))})):
        with pytest.raises(Unfit, match="program"):
            build(replace(ground(CardVault(), OPTIONS), page=page))


def replace_programs(programs: Mapping[str, PageProgram]) -> HostedPage:
    return HostedPage(listener="public", public_url="https://a.example", programs=programs)


def test_a_repeat_gets_the_same_address_while_the_session_is_good(desk: Desk) -> None:
    desk.cards.next_session = None
    first = url(desk.ask())
    assert [url(desk.ask()) for _ in range(3)] == [first] * 3
    desk.now += timedelta(minutes=10).total_seconds()
    desk.cards.expires_at += timedelta(minutes=10)
    second = url(desk.ask())
    assert second != first
    assert url(desk.ask()) == second
    assert len(desk.cards.sessions) == 2


@pytest.mark.parametrize(
    ("path", "more"), [(RESET, {}), (SET, {CARD_ID.replace("-", "_"): "card_02"})], ids=range(2)
)
def test_an_id_of_another_request_is_refused(desk: Desk, path: str, more: dict[str, str]) -> None:
    desk.ask()
    assert told(desk.ask(path, **more)) == (400, "Request id was used for another request.")
    assert desk.ask(path, **more, x_request_id="another").status == 200


def test_a_refused_request_frees_its_id(desk: Desk) -> None:
    assert desk.ask(x_card_id="nobody").status == 400
    assert desk.ask().status == 200


def test_a_repeat_is_for_its_caller_alone(desk: Desk) -> None:
    url(desk.ask())
    answer = desk.ask(x_api_key="strange", authorization="Bearer stranger")
    assert answer.status == 403
    assert SESSION[1].encode() not in answer.body


def test_a_card_is_asked_for_as_often_as_its_rate_allows() -> None:
    desk = Desk(per_card="2/m")
    statuses = [desk.ask(x_request_id=f"r{n}").status for n in range(3)]
    assert statuses == [200, 200, 429]


@given(card_id=st.text(st.characters(codec="latin-1"), max_size=70))
def test_whatever_a_card_is_called_it_is_found_or_not(card_id: str) -> None:
    answer = Desk().ask(headers={**HEADERS, CARD_ID: card_id})
    assert answer.status == (200 if card_id in {"card_01", "card_02"} else 400)


def test_every_reason_has_an_answer_of_the_vendors_shape() -> None:
    desk = Desk()
    for reason in sorted(ALL_REASONS):
        answer = desk.dialect.render(Refused(reason), arrived("GET", SET, b"", HEADERS))
        status, message = told(answer)
        assert 400 <= status < 600
        assert message.endswith(".")
        assert ("www-authenticate" in answer.headers) == (status == 401)


def test_what_the_server_refuses_is_told(desk: Desk) -> None:
    for reason in sorted(ALL_REASONS):
        desk.cards.fails = refusal(reason)
        assert told(desk.ask())[0] == desk.dialect.codes[reason].status
    away = PinvaultError(code=grpc.StatusCode.UNAVAILABLE, reason="", text="away")
    for error, status in ((away, 503), (RuntimeError(f"a fault with {SESSION[1]}"), 500)):
        desk.cards.fails = error
        answer = desk.ask()
        assert told(answer)[0] == status
        assert SESSION[1].encode() not in answer.body
    desk.cards.fails = None
    assert desk.ask().status == 200


def test_no_secret_is_shown(desk: Desk) -> None:
    answer = desk.ask()
    shown = repr((answer, PinUrl("https://a/#secret"), PinUrl("secret").__rich_repr__()))
    assert SESSION[1] not in shown
    assert "secret" not in shown
    flow = desk.dialect.endpoints()[0].flow
    wrong = arrived("GET", SET, b"", {**HEADERS, "authorization": "Bearer wrong-4711"})
    with pytest.raises(Refused) as caught:
        flow(wrong)
    text = "".join(traceback.format_exception(caught.value)) + repr((wrong, caught.value.context))
    assert "wrong-4711" not in text
    assert KEY not in text


def test_it_takes_no_clear_pin(desk: Desk) -> None:
    endpoints = desk.dialect.endpoints()
    assert [each.path for each in endpoints] == [SET, RESET, CHANGE]
    assert not any(each.takes_clear_pin for each in endpoints)
    assert all(each.method == "GET" and each.authentication == "bearer" for each in endpoints)
    assert {each.name for each in endpoints[0].parameters} == {
        API_KEY,
        *REQUIRED,
        REQUEST_ID,
        "x-client-id",
    }


def test_it_is_what_its_description_says(desk: Desk) -> None:
    desk.cards.next_session = None
    app = Served(desk.dialect).app
    shown = {**without("authorization"), "Authorization": HEADERS["authorization"]}
    for headers in (shown, {}):
        assert call_all(app, headers=headers, examples=10) == len(ALL)

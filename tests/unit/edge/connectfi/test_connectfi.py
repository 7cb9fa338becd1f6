"""ConnectFi's samples byte for byte, its rules of status, and that no PIN comes back."""

import json
import re
import traceback
from collections.abc import Iterator

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.client import PinvaultError
from pinvault.client.card_values import CardStatus
from pinvault.edge import facts
from pinvault.edge.connectfi import Caller, Options, build
from pinvault.edge.connectfi.schema import FAULTS, first_fault
from pinvault.edge.dialect import ALL_REASONS, Answer, Dialect, EdgeReason, Refused
from tests.unit.edge.connectfi.asking import ASSETS, REQUEST_ID, arrived, ask, digest, ground
from tests.unit.edge.connectfi.fake_vault import TRIES, WEAK, FakeVault, card, refusal

SAMPLES = ASSETS / "connectfi"
TOKEN = "324JvsMYYAjF36Mvbyopk01V7sQjHZDwXIcgRmAbyqLP77ywbe4QSIjE9jeIC6m7Aj"
ID = "icrd_575fma7wGFKTgSx537PMcO"
SET, CHECK = "/ibis/card/set-pin", "/ibis/card/check-pin"
PIN, OTHER = "9048", "9084"  # digits in this order are in no id here
OPTIONS = Options(
    kind="connectfi", listener="clear", program="debit", credentials_file="connectfi.toml"
)


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


def body(pin: object = PIN, card_id: object = ID) -> bytes:
    return json.dumps({"cFiCardId": card_id, "pin": pin}).encode()


class Desk:
    """The dialect over a fake vault with one card."""

    def __init__(self, status: CardStatus = "ACTIVE", *, per_card: str = "999/s") -> None:
        self.vault = FakeVault(card(ID, status=status), card("icrd_other", program="credit"))
        caller = Caller(name="acme", programs=("debit",), token_sha256=digest(TOKEN))
        stranger = Caller(name="other", programs=("credit",), token_sha256=digest("stranger"))
        told = facts.load(SAMPLES / "facts.json")
        self.dialect: Dialect = build(
            ground(self.vault, OPTIONS, caller, stranger, facts=told, per_card=per_card)
        )

    def ask(self, path: str, content: bytes, token: str | None = TOKEN) -> Answer:
        headers = {"x-connectfi-token": token} if token is not None else {}
        return ask(self.dialect, arrived("POST", path, content, headers))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["code"]


def test_the_samples_are_answered_byte_for_byte(desk: Desk) -> None:
    assert desk.ask(SET, sample("set-pin.request")).body == sample("set-pin.response")
    checked = desk.ask(CHECK, sample("check-pin.request"))
    assert (checked.status, checked.body) == (200, sample("check-pin.response"))
    assert checked.media_type == "application/json"


@pytest.mark.parametrize("name", ["card-not-found", "pin-missing", "pin-not-four-digits"])
@pytest.mark.parametrize("path", [SET, CHECK])
def test_the_samples_of_errors_are_answered_byte_for_byte(desk: Desk, name: str, path: str) -> None:
    answer = desk.ask(path, sample(f"{name}.request"))
    assert (answer.status, answer.body) == (400, sample(f"{name}.response"))


@pytest.mark.parametrize("token", [None, "", "stranger ", TOKEN[:-1], TOKEN.swapcase()])
def test_a_wrong_token_is_told_nothing(desk: Desk, token: str | None) -> None:
    for content in (sample("set-pin.request"), b"{}", b""):
        answer = desk.ask(SET, content, token)
        assert (answer.status, answer.body) == (401, sample("unauthorized.response"))
    assert desk.vault.cards.asked == []


def test_a_caller_of_another_program_is_forbidden(desk: Desk) -> None:
    assert told(desk.ask(SET, sample("set-pin.request"), "stranger")) == (403, "forbidden")
    assert desk.vault.cards.asked == []


@pytest.mark.parametrize(
    ("status", "is_set"),
    [("INACTIVE", True), ("ACTIVE", True), ("SUSPENDED", False), ("CLOSED", False)],
)
def test_a_pin_is_set_in_status_a_and_b(status: CardStatus, is_set: bool) -> None:
    desk = Desk(status)
    expected = (200, "0") if is_set else (400, "ibisCardStatusError")
    assert told(desk.ask(SET, body())) == expected
    assert list(desk.vault.cards.pins.values()) == ([PIN] if is_set else [])


@pytest.mark.parametrize("status", ["INACTIVE", "SUSPENDED", "CLOSED"])
def test_a_pin_is_checked_in_status_b_alone(status: CardStatus) -> None:
    desk = Desk(status)
    desk.vault.cards.pins[desk.vault.cards.registered[0].card_id] = PIN
    assert told(desk.ask(CHECK, body())) == (400, "ibisCardStatusError")
    assert desk.vault.cards.asked == ["get"]


def test_a_pin_is_checked_once_it_is_set_and_when_it_matches(desk: Desk) -> None:
    assert told(desk.ask(CHECK, body())) == (400, "ibisPinNotSet")
    desk.ask(SET, body())
    assert told(desk.ask(CHECK, body())) == (200, "0")
    assert told(desk.ask(CHECK, body(OTHER))) == (400, "ibisCheckPinMismatch")
    desk.ask(SET, body(OTHER))
    assert told(desk.ask(CHECK, body(OTHER))) == (200, "0")


def test_the_last_wrong_pin_and_all_after_it_are_locked_out(desk: Desk) -> None:
    desk.ask(SET, body())
    answers = [told(desk.ask(CHECK, body(OTHER))) for _ in range(TRIES)]
    wrong, locked = (400, "ibisCheckPinMismatch"), (400, "ibisCheckPinCardLocked")
    assert answers == [wrong] * (TRIES - 1) + [locked]
    assert told(desk.ask(CHECK, body())) == locked


def test_the_pin_is_sealed_right_after_its_card_is_known(desk: Desk) -> None:
    desk.ask(SET, body())
    desk.ask(CHECK, body())
    assert desk.vault.cards.asked == ["get", "seal", "set_pin", "get", "seal", "check_pin"]
    assert desk.vault.cards.opens == {}


def test_a_weak_pin_is_refused_with_its_card(desk: Desk) -> None:
    answer = desk.ask(SET, body(WEAK))
    assert told(answer) == (400, "ibisPinNotAllowed")
    assert json.loads(answer.body)["context"] == {"cFiCardId": ID}


def test_cards_of_other_programs_are_not_there(desk: Desk) -> None:
    assert told(desk.ask(SET, body(card_id="icrd_other"))) == (400, "cardNotFound")


def test_a_number_in_place_of_an_id_is_neither_looked_for_nor_repeated(desk: Desk) -> None:
    answer = desk.ask(SET, body(card_id="5555555551234567"))
    assert told(answer) == (400, "cardNotFound")
    assert b"5555" not in answer.body
    assert desk.vault.cards.asked == []


def test_members_that_the_schema_does_not_name_are_passed_over(desk: Desk) -> None:
    content = json.dumps({"reference": {"pin": 1}, "cFiCardId": ID, "pin": PIN}).encode()
    assert told(desk.ask(SET, content)) == (200, "0")


def test_the_facts_of_a_card_stand_over_the_defaults_and_under_our_own() -> None:
    vault = FakeVault(card(ID))
    known = facts.Facts(
        {"programType": "debit", "reference": "none"},
        {ID: {"reference": "r1", "cFiCardId": "icrd_else", "cFiStatus": "Pending", "more": [1]}},
    )
    caller = Caller(name="acme", programs=("debit",), token_sha256=digest(TOKEN))
    dialect = build(ground(vault, OPTIONS, caller, facts=known))
    answer = ask(dialect, arrived("POST", SET, body(), {"x-connectfi-token": TOKEN}))
    assert json.loads(answer.body)["data"] == {
        "cFiCardId": ID,
        "cFiStatus": "Complete",
        "programType": "debit",
        "reference": "r1",
        "more": [1],
    }


def test_a_card_is_asked_for_as_often_as_its_rate_allows() -> None:
    desk = Desk(per_card="2/m")
    answers = [told(desk.ask(SET, body())) for _ in range(3)]
    assert answers == [(200, "0")] * 2 + [(429, "tooManyRequests")]


BROKEN = [
    (b"", "body type"),
    (b"\xff", "body type"),
    (b'{"cFiCardId":', "body type"),
    (b"[" * 3000, "body type"),
    (b'["icrd_1", "9048"]', "body type"),
    (b"null", "body type"),
    (b"{}", "card required"),
    (b'{"pin": "9048"}', "card required"),
    (b'{"cFiCardId": 7}', "pin required"),
    (body(card_id=7), "card type"),
    (body(card_id=None), "card type"),
    (body(card_id="a" * 37), "card maxLength"),
    (body(card_id="-" * 37), "card maxLength"),
    (body(card_id=""), "card minLength"),
    (body(card_id="icrd-1"), "card pattern"),
    (body(card_id=f"{ID}\n"), "card pattern"),
    (body(card_id="\u0661"), "card pattern"),
    (body(pin=9048), "pin type"),
    (body(pin=["9048"]), "pin type"),
    (body(pin=None), "pin type"),
    (body(pin="904"), "pin pattern"),
    (body(pin="90488"), "pin pattern"),
    (body(pin="9048\n"), "pin pattern"),
    (body(pin="\u0669\u0660\u0664\u0668"), "pin pattern"),
    (body(pin="90a8"), "pin pattern"),
    (body(pin="90488", card_id="icrd-1"), "card pattern"),
]


@pytest.mark.parametrize(
    ("content", "fault"), BROKEN, ids=[f"{at}-{fault}" for at, (_, fault) in enumerate(BROKEN)]
)
def test_the_first_breach_of_the_schema_is_told_as_ajv_does(
    desk: Desk, content: bytes, fault: str
) -> None:
    answer = desk.ask(SET, content)
    assert answer.status == 400
    expected = json.loads(answer.body)
    assert expected == {
        "requestId": REQUEST_ID,
        "code": "requestValidateError",
        "context": expected["context"],
    }
    (one,) = expected["context"]
    assert list(one) == ["instancePath", "schemaPath", "keyword", "params", "message"]
    wanted = FAULTS[fault]
    assert (one["schemaPath"], one["params"]) == (wanted.schema_path, wanted.params)
    assert first_fault(content) == fault
    assert b"9048" not in answer.body
    assert desk.vault.cards.asked == []


def test_a_body_that_did_not_come_whole_is_told_too(desk: Desk) -> None:
    refused = Refused(EdgeReason.BODY_INVALID, {"path": "$", "problem": "did not come whole"})
    answer = desk.dialect.render(refused, arrived("POST", SET, b"", {}))
    assert told(answer) == (400, "requestValidateError")


@given(
    pin=st.text(max_size=8) | st.from_regex(r"[0-9]{3,5}\n?", fullmatch=True),
    card_id=st.text(max_size=40) | st.from_regex(r"[0-9a-zA-Z_-]{30,40}\n?", fullmatch=True),
)
def test_whatever_is_sent_is_set_or_refused_for_a_fault(pin: str, card_id: str) -> None:
    fits_card = re.fullmatch("[0-9a-zA-Z_]{1,36}", card_id) is not None
    fits_pin = re.fullmatch("[0-9]{4}", pin) is not None
    answer = Desk().ask(SET, body(pin, card_id))
    expected = "cardNotFound" if fits_card and fits_pin else "requestValidateError"
    assert told(answer) == (400, expected)


def reasons() -> Iterator[tuple[str, Answer]]:
    desk = Desk()
    for reason in sorted(ALL_REASONS):
        request = arrived("POST", SET, body(), {"x-connectfi-token": TOKEN})
        yield reason, desk.dialect.render(Refused(reason, {"cFiCardId": ID}), request)


def test_every_reason_has_a_code_and_an_answer() -> None:
    for reason, answer in reasons():
        content = json.loads(answer.body)
        assert 400 <= answer.status < 600, reason
        assert content["requestId"] == REQUEST_ID
        assert content["code"]
        assert content["context"] if reason == EdgeReason.BODY_INVALID else content["message"]
        assert PIN.encode() not in answer.body


@pytest.mark.parametrize("path", [SET, CHECK])
def test_what_the_server_refuses_is_told_with_the_card_and_without_the_pin(
    desk: Desk, path: str
) -> None:
    for reason in sorted(ALL_REASONS):
        desk.vault.cards.fails = refusal(reason)
        answer = desk.ask(path, body())
        assert answer.status == desk.dialect.codes[reason].status
        assert PIN.encode() not in answer.body
    desk.vault.cards.fails = PinvaultError(
        code=grpc.StatusCode.UNAVAILABLE, reason="", text="away", retry_after_s=2.0
    )
    assert told(desk.ask(path, body())) == (503, "serviceUnavailable")
    desk.vault.cards.fails = RuntimeError(f"a fault with {PIN} in it")
    answer = desk.ask(path, body())
    assert told(answer) == (500, "internalError")
    assert PIN.encode() not in answer.body


def test_when_to_come_again_and_the_call_are_kept(desk: Desk) -> None:
    error = PinvaultError(
        code=grpc.StatusCode.UNAVAILABLE,
        reason="HSM_UNAVAILABLE",
        text="away",
        call_id="call-1",
        retry_after_s=2.0,
    )
    desk.vault.cards.fails = error
    request = arrived("POST", SET, body(), {"x-connectfi-token": TOKEN})
    with pytest.raises(Refused) as caught:
        desk.dialect.endpoints()[0].flow(request)
    assert (caught.value.retry_after_s, caught.value.call_id) == (2.0, "call-1")


def test_no_exception_holds_the_pin(desk: Desk) -> None:
    flow = desk.dialect.endpoints()[0].flow
    contents = [body(), body(card_id="icrd_unknown"), body(pin=f"{PIN}1"), body(card_id="a b")]
    desk.vault.cards.registered.clear()
    for content in contents:
        request = arrived("POST", SET, content, {"x-connectfi-token": TOKEN})
        with pytest.raises(Refused) as caught:
            flow(request)
        assert PIN not in "".join(traceback.format_exception(caught.value))
        assert PIN not in repr((caught.value, caught.value.context, request))


def test_it_is_open_where_clear_pins_are(desk: Desk) -> None:
    endpoints = desk.dialect.endpoints()
    assert [each.path for each in endpoints] == [SET, CHECK]
    assert all(each.takes_clear_pin and each.method == "POST" for each in endpoints)

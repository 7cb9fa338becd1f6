"""Marqeta's samples byte for byte, tokens of one use, and the one answer that has a PIN."""

import base64
import json
import traceback

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.client import PinvaultError
from pinvault.client.card_values import CardStatus, VerifiedBy
from pinvault.edge.dialect import ALL_REASONS, Answer, Dialect, EdgeReason, Refused
from pinvault.edge.marqeta import Caller, Options, build
from pinvault.edge.marqeta.auth import basic_tokens
from pinvault.edge.marqeta.wire import PinRequest, Revealed, RevealRequest, TokenIssued
from tests.unit.edge.connectfi.asking import ASSETS, arrived, ask, digest, ground
from tests.unit.edge.connectfi.fake_vault import WEAK, FakeVault, card, refusal

SAMPLES = ASSETS / "marqeta"
APPLICATION, ACCESS = "705b5bc0-application-token", "abbykj26-access:token"
CARD, CONTROL_TOKEN = "my_card_01", "b4647c9a-d4b8-4091-a5ff-dd67a7bb9ffc"
PIN = "9035"  # digits in this order are in no token here
TOKENS, PINS, REVEAL = "/pins/controltoken", "/pins", "/pins/reveal"
METHODS: tuple[VerifiedBy, ...] = (
    "BIOMETRIC_FACE",
    "BIOMETRIC_FINGERPRINT",
    "LOGIN",
    "EXP_CVV",
    "OTP_CVV",
    "OTP",
    "OTHER",
)


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


def basic(application: str = APPLICATION, access: str = ACCESS, *, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(f'{application}:{access}'.encode()).decode()}"


class Desk:
    """The dialect over a fake vault with one card."""

    def __init__(
        self, status: CardStatus = "ACTIVE", *, reveal: bool = True, per_card: str = "999/s"
    ) -> None:
        self.vault = FakeVault(card(CARD, status=status), card("theirs", program="credit"))
        self.cards = self.vault.cards
        self.cards.next_token = CONTROL_TOKEN
        options = Options(
            kind="marqeta",
            listener="clear",
            program="debit",
            credentials_file="marqeta.toml",
            reveal=reveal,
        )
        caller = Caller(
            name="acme",
            programs=("debit",),
            application_token_sha256=digest(APPLICATION),
            access_token_sha256=digest(ACCESS),
        )
        stranger = Caller(
            name="other",
            programs=("credit",),
            application_token_sha256=digest("strange"),
            access_token_sha256=digest("stranger"),
        )
        self.dialect: Dialect = build(
            ground(self.vault, options, caller, stranger, per_card=per_card)
        )

    def ask(
        self, path: str, content: object, authorization: str | None = None, *, prefix: str = ""
    ) -> Answer:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"authorization": basic() if authorization is None else authorization}
        method = "PUT" if path == PINS else "POST"
        return ask(self.dialect, arrived(method, prefix + path, body, headers))

    def token(self, kind: str = "SET_PIN") -> str:
        answer = self.ask(TOKENS, {"card_token": CARD, "controltoken_type": kind})
        assert answer.status == 201
        token: str = json.loads(answer.body)["control_token"]
        self.cards.asked.clear()
        return token

    def set(self, pin: object = PIN, token: str = CONTROL_TOKEN) -> Answer:
        return self.ask(PINS, {"control_token": token, "pin": pin})

    def reveal(self, token: str = CONTROL_TOKEN, by: str = "LOGIN") -> Answer:
        content = {"control_token": token, "cardholder_verification_method": by}
        return self.ask(REVEAL, content)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def told(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["error_code"]


REFUSED_TOKEN = (400, sample("control-token-used.response"))


@pytest.mark.parametrize("prefix", ["", "/v3"])
def test_the_samples_are_answered_byte_for_byte(desk: Desk, prefix: str) -> None:
    issued = desk.ask(TOKENS, sample("controltoken.request"), prefix=prefix)
    assert (issued.status, issued.body) == (201, sample("controltoken.response"))
    placed = desk.ask(PINS, sample("pins.request"), prefix=prefix)
    assert (placed.status, placed.body) == (204, b"")
    issued = desk.ask(TOKENS, sample("controltoken-reveal.request"), prefix=prefix)
    assert (issued.status, issued.body) == (201, sample("controltoken.response"))
    revealed = desk.ask(REVEAL, sample("reveal.request"), prefix=prefix)
    assert (revealed.status, revealed.body) == (200, sample("reveal.response"))


def test_the_samples_of_errors_are_answered_byte_for_byte(desk: Desk) -> None:
    answer = desk.ask(TOKENS, sample("card-not-found.request"))
    assert (answer.status, answer.body) == (404, sample("card-not-found.response"))
    desk.token()
    answer = desk.set(WEAK)
    assert (answer.status, answer.body) == (412, sample("weak-pin.response"))
    desk.set()
    answer = desk.set()
    assert (answer.status, answer.body) == REFUSED_TOKEN


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Basic",
        "Basic ",
        "Basic %%%",
        "Basic é",
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic " + base64.b64encode(APPLICATION.encode()).decode(),
        basic(scheme="Bearer"),
        basic(access="wrong"),
        basic(application="wrong"),
        basic(application="strange"),
        basic(application="", access=""),
        basic(application=ACCESS, access=APPLICATION),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("path", [TOKENS, PINS, REVEAL])
def test_wrong_tokens_are_told_nothing(desk: Desk, path: str, shown: str) -> None:
    for content in (b"", sample("pins.request")):
        answer = desk.ask(path, content, shown)
        assert (answer.status, answer.body) == (401, sample("unauthorized.response"))
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert desk.cards.asked == []


def test_the_scheme_is_known_in_any_case(desk: Desk) -> None:
    assert desk.ask(TOKENS, {"card_token": CARD}, basic(scheme="bASIC")).status == 201


@given(application=st.text(st.characters(codec="utf-8", exclude_characters=":")), access=st.text())
def test_the_first_colon_parts_the_tokens(application: str, access: str) -> None:
    assert basic_tokens(basic(application, access)) == (application, access)


@pytest.mark.parametrize("path", [TOKENS, PINS, REVEAL])
def test_a_caller_of_another_program_is_forbidden(desk: Desk, path: str) -> None:
    answer = desk.ask(path, {}, basic("strange", "stranger"))
    assert told(answer) == (403, "403000")
    assert desk.cards.asked == []


def test_a_token_sets_a_pin_by_default(desk: Desk) -> None:
    assert desk.ask(TOKENS, {"card_token": CARD}).status == 201
    assert desk.set().status == 204
    assert list(desk.cards.pins.values()) == [PIN]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        {"card_token": ""},
        {"card_token": "a" * 37},
        {"card_token": 7},
        {"card_token": CARD, "controltoken_type": "CHANGE_PIN"},
        {"card_token": CARD, "controltoken_type": None},
        {"card_token": CARD, "controltoken_type": "set_pin"},
    ],
    ids=range(10),
)
def test_a_wrong_request_for_a_token_is_400(desk: Desk, content: object) -> None:
    assert told(desk.ask(TOKENS, content)) == (400, "400000")
    assert desk.cards.asked == []


@pytest.mark.parametrize("name", ["theirs", "my card", "5555555551234567", f"{CARD}\n", "كارت"])
def test_a_card_that_is_not_there_is_not_found(desk: Desk, name: str) -> None:
    answer = desk.ask(TOKENS, {"card_token": name})
    assert (answer.status, answer.body) == (404, sample("card-not-found.response"))
    assert desk.cards.asked == (["get"] if name == "theirs" else [])


@pytest.mark.parametrize("pin", [9035, None, "", "903", "90355", "903a", "٩٠٣٥", " 903", "9035\n"])
def test_a_pin_has_four_digits(desk: Desk, pin: object) -> None:
    desk.token()
    assert told(desk.set(pin)) == (400, "400000")
    assert desk.cards.asked == []


@pytest.mark.parametrize(
    "token",
    [
        "x",
        CONTROL_TOKEN.upper(),
        f"{CONTROL_TOKEN[:-1]}\n",
        "0" * 36,
        "6c0f12fb-1d62-4d5d-9216-8e33799419f7",
    ],
)
def test_what_is_no_token_is_refused_as_a_used_one_is(desk: Desk, token: str) -> None:
    desk.token()
    desk.token("REVEAL_PIN")
    for answer in (desk.set(token=token), desk.reveal(token)):
        assert (answer.status, answer.body) == REFUSED_TOKEN
    assert desk.cards.pins == {}


def test_a_token_is_good_for_what_it_was_issued_for(desk: Desk) -> None:
    desk.token("REVEAL_PIN")
    answer = desk.set()
    assert (answer.status, answer.body) == REFUSED_TOKEN
    desk.token("SET_PIN")
    answer = desk.reveal()
    assert (answer.status, answer.body) == REFUSED_TOKEN
    assert desk.cards.asked == ["get_control_token"]


def test_the_newest_token_alone_is_good(desk: Desk) -> None:
    first = desk.token()
    desk.cards.next_token = None
    second = desk.token()
    answer = desk.set(token=first)
    assert (answer.status, answer.body) == REFUSED_TOKEN
    assert desk.set(token=second).status == 204


def test_a_token_of_another_programs_card_is_refused(desk: Desk) -> None:
    theirs = desk.cards.registered[1].card_id
    desk.cards.tokens[CONTROL_TOKEN] = (theirs, "SET_PIN")
    desk.cards.pins[theirs] = PIN
    answer = desk.set()
    assert (answer.status, answer.body) == REFUSED_TOKEN
    desk.cards.tokens[CONTROL_TOKEN] = (theirs, "REVEAL_PIN")
    answer = desk.reveal()
    assert (answer.status, answer.body) == REFUSED_TOKEN
    assert "set_pin" not in desk.cards.asked


def test_a_weak_pin_leaves_the_token_good(desk: Desk) -> None:
    desk.token()
    assert told(desk.set(WEAK)) == (412, "412000")
    assert desk.set().status == 204
    answer = desk.set()
    assert (answer.status, answer.body) == REFUSED_TOKEN


def test_the_pin_is_sealed_as_soon_as_the_token_told_the_card(desk: Desk) -> None:
    desk.token()
    desk.set()
    assert desk.cards.asked == ["get_control_token", "seal", "get", "set_pin"]


@pytest.mark.parametrize("by", METHODS)
def test_a_pin_is_revealed_once(desk: Desk, by: VerifiedBy) -> None:
    desk.token()
    desk.set()
    desk.token("REVEAL_PIN")
    answer = desk.reveal(by=by)
    assert (answer.status, json.loads(answer.body)) == (200, {"pin": PIN})
    assert answer.headers["cache-control"] == "no-store"
    assert desk.cards.asked == ["get_control_token", "get", f"reveal_pin {by}"]
    answer = desk.reveal(by=by)
    assert (answer.status, answer.body) == REFUSED_TOKEN


@pytest.mark.parametrize("by", ["", "PASSWORD", "login", None, 1])
def test_a_reveal_names_how_the_cardholder_was_known(desk: Desk, by: str) -> None:
    desk.token("REVEAL_PIN")
    assert told(desk.reveal(by=by)) == (400, "400000")
    assert desk.cards.asked == []


@pytest.mark.parametrize("status", ["INACTIVE", "SUSPENDED", "CLOSED"])
def test_a_card_that_is_not_active_keeps_its_pin_and_its_token(status: CardStatus) -> None:
    desk = Desk(status)
    desk.cards.pins[desk.cards.registered[0].card_id] = PIN
    desk.token("REVEAL_PIN")
    answer = desk.reveal()
    assert (answer.status, answer.body) == (400, sample("card-not-active.response"))
    assert CONTROL_TOKEN in desk.cards.tokens


def test_a_card_without_a_pin_is_400(desk: Desk) -> None:
    desk.token("REVEAL_PIN")
    assert told(desk.reveal()) == (400, "400000")


def test_reveals_are_off_where_nobody_switched_them_on() -> None:
    off = Options(kind="marqeta", listener="clear", program="debit", credentials_file="x.toml")
    assert off.reveal is False
    desk = Desk(reveal=False)
    asked = desk.ask(TOKENS, {"card_token": CARD, "controltoken_type": "REVEAL_PIN"})
    assert told(asked) == (403, "403000")
    assert told(desk.reveal()) == (400, "400000")
    assert desk.cards.asked == []
    desk.token()
    assert desk.set().status == 204


def test_a_card_is_asked_for_as_often_as_its_rate_allows() -> None:
    desk = Desk(per_card="2/m")
    statuses = [desk.ask(TOKENS, {"card_token": CARD}).status for _ in range(3)]
    assert statuses == [201, 201, 429]
    statuses = [desk.set(WEAK).status for _ in range(3)]
    assert statuses == [412, 412, 429]


def test_members_that_the_documents_do_not_name_are_passed_over(desk: Desk) -> None:
    assert desk.ask(TOKENS, {"card_token": CARD, "fast": {"a": []}}).status == 201
    content = {"control_token": CONTROL_TOKEN, "pin": PIN, "more": 1}
    assert desk.ask(PINS, content).status == 204


def test_every_reason_has_a_code_of_its_status() -> None:
    desk = Desk()
    request = arrived("PUT", PINS, b"", {})
    for reason in sorted(ALL_REASONS):
        answer = desk.dialect.render(Refused(reason), request)
        content = json.loads(answer.body)
        assert content.keys() == {"error_code", "error_message"}
        assert content["error_code"][:3] == str(answer.status), reason
        assert len(content["error_code"]) == 6
        assert content["error_message"]
        assert ("www-authenticate" in answer.headers) == (answer.status == 401)


@pytest.mark.parametrize("path", [TOKENS, PINS, REVEAL])
def test_what_the_server_refuses_is_told_without_the_pin(desk: Desk, path: str) -> None:
    contents = {
        TOKENS: {"card_token": CARD},
        PINS: {"control_token": CONTROL_TOKEN, "pin": PIN},
        REVEAL: {"control_token": CONTROL_TOKEN, "cardholder_verification_method": "OTP"},
    }
    desk.token("REVEAL_PIN" if path == REVEAL else "SET_PIN")
    for reason in sorted(ALL_REASONS):
        desk.cards.fails = refusal(reason)
        answer = desk.ask(path, contents[path])
        assert answer.status == desk.dialect.codes[reason].status
        assert PIN.encode() not in answer.body
    for error, status in (
        (PinvaultError(code=grpc.StatusCode.UNAVAILABLE, reason="", text="away"), 503),
        (RuntimeError(f"a fault with {PIN} in it"), 500),
    ):
        desk.cards.fails = error
        answer = desk.ask(path, contents[path])
        assert answer.status == status
        assert PIN.encode() not in answer.body


def test_a_reveal_that_does_not_open_is_no_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.token()
    desk.set()
    desk.token("REVEAL_PIN")
    monkeypatch.setattr("tests.unit.edge.connectfi.fake_vault.PIN_LIFE_S", -1)
    answer = desk.reveal()
    assert told(answer) == (503, "503000")
    assert PIN.encode() not in answer.body


def test_no_exception_and_no_repr_holds_a_pin_or_a_token(desk: Desk) -> None:
    endpoints = {each.path: each.flow for each in desk.dialect.endpoints()}
    for content in ({"pin": PIN}, {"control_token": "x", "pin": PIN}, {"pin": f"{PIN}1"}):
        request = arrived("PUT", PINS, json.dumps(content).encode(), {"authorization": basic()})
        with pytest.raises(Refused) as caught:
            endpoints[PINS](request)
        shown = "".join(traceback.format_exception(caught.value)) + repr(request)
        assert PIN not in shown + repr((caught.value, caught.value.context))
    for quiet in (
        Revealed(pin=PIN),
        TokenIssued(control_token=CONTROL_TOKEN),
        RevealRequest(control_token=CONTROL_TOKEN, cardholder_verification_method="OTP"),
    ):
        assert repr(quiet) == f"<{type(quiet).__name__}>"
        assert quiet.__rich_repr__() == []
    assert issubclass(PinRequest, type(quiet).__mro__[1])


def test_the_answer_with_a_pin_does_not_show_it(desk: Desk) -> None:
    desk.token()
    desk.set()
    desk.token("REVEAL_PIN")
    assert PIN not in repr(desk.reveal())


def test_pins_come_and_go_where_clear_pins_are() -> None:
    endpoints = {(each.method, each.path): each for each in Desk().dialect.endpoints()}
    assert len(endpoints) == 6
    for (_, path), each in endpoints.items():
        assert each.takes_clear_pin == (not path.endswith("/controltoken"))
        assert each.authentication == "basic"


def test_codes_for_the_edges_own_refusals_have_the_status_of_http(desk: Desk) -> None:
    codes = desk.dialect.codes
    assert codes[EdgeReason.NOT_FOUND].status == 404
    assert codes[EdgeReason.METHOD_NOT_ALLOWED].status == 405
    assert codes[EdgeReason.CLEAR_PINS_OFF].status == 403

"""Rapyd's samples byte for byte, cards by id and number, and that no PIN comes back."""

import base64
import hashlib
import hmac
import itertools
import json
import re
import traceback
import uuid
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.client import Card, PinvaultError
from pinvault.client.card_values import CardStatus
from pinvault.edge import facts
from pinvault.edge.dialect import ALL_REASONS, Answer, Arrived, Dialect, EdgeReason, Refused
from pinvault.edge.files import Unfit
from pinvault.edge.rapyd import Caller, Options, build
from pinvault.edge.rapyd.wire import PinRequest, SandboxPin, SandboxPinRequest
from pinvault.model.cards import EventType
from pinvault.notify.guard import read_url
from pinvault.notify.rapyd import EVENTS, RapydEndpoint
from tests.unit.edge.connectfi.asking import ASSETS, REQUEST_ID, arrived, ask, ground
from tests.unit.edge.connectfi.fake_vault import NOW, WEAK, refusal
from tests.unit.edge.interswitch.card_vault import CardVault, numbered
from tests.unit.notify.test_events import happened

SAMPLES = ASSETS / "rapyd"
PATH = "/v1/issuing/cards/pin"
ACCESS, SECRET = "rak_0123456789ABCDEF0123", "rsk_fedcba98765432100123456789abcdef"
ID, NUMBER = "card_f8dd3aa099444e1c80cc5a06de38b165", "4111111111111111"
CARD_ID = f"card_{'g' * 26}"
SHARED, THEIRS = "5555555551234567", "4000001234562000"
PIN, OTHER = "9048", "9084"  # digits in this order are in no id here
OPERATION = str(uuid.UUID(REQUEST_ID))
ONCE = {"idempotency": "order-1"}


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


def body(pin: object = PIN, card: object = ID) -> bytes:
    return json.dumps({"card": card, "new_pin": pin}).encode()


class Desk:
    """The dialect over a fake vault, on a clock, and a caller who signs."""

    def __init__(
        self, status: CardStatus = "ACTIVE", *, sandbox: bool = False, per_card: str = "999/s"
    ) -> None:
        cards = (
            replace(numbered(ID, status=status), card_id=CARD_ID),
            numbered("card_a"),
            numbered("card_b", sequence_number="02"),
            numbered("theirs", program="credit"),
            numbered("namesake", program="credit", sequence_number="02"),
        )
        self.vault = CardVault(*cards, numbers=(NUMBER, SHARED, SHARED, THEIRS, NUMBER))
        self.cards, self.card_id = self.vault.cards, cards[0].card_id
        self.now = NOW.timestamp()
        self._numbers = itertools.count()
        options = Options(
            kind="rapyd",
            listener="clear",
            program="debit",
            credentials_file="rapyd.toml",
            sandbox=sandbox,
        )
        callers = (
            Caller(name="acme", programs=("debit",), access_key=ACCESS, secret_key=SECRET),
            Caller(name="shop", programs=("debit",), access_key="rak_shop", secret_key="rsk_shop"),
            Caller(name="far", programs=("credit",), access_key="rak_far0", secret_key="rsk_far0"),
        )
        made = ground(
            self.vault,
            options,
            *callers,
            facts=facts.load(SAMPLES / "facts.json"),
            per_card=per_card,
        )
        self.ground = replace(made, now=lambda: self.now)
        self.restart()

    def restart(self) -> None:
        """Forget all that the process knows."""
        self.dialect: Dialect = build(self.ground)

    def signed(
        self, content: bytes, *, access: str = ACCESS, secret: str = SECRET, **headers: str
    ) -> Arrived:
        number = next(self._numbers)
        salt, timestamp = f"salt-{number:05}", str(int(self.now))
        text = f"post{PATH}{salt}{timestamp}{access}{secret}".encode() + content
        digest = hmac.digest(secret.encode(), text, hashlib.sha256).hex()
        signature = base64.b64encode(digest.encode()).decode()
        shown = {"access_key": access, "salt": salt, "timestamp": timestamp, "signature": signature}
        request = arrived("POST", PATH, content, {**shown, **headers})
        return replace(request, request_id=f"{int(REQUEST_ID, 16) + number:032x}")

    def ask(self, content: bytes | None = None, **headers: str) -> Answer:
        content = body() if content is None else content
        return ask(self.dialect, self.signed(content, **headers))

    @property
    def pin(self) -> str | None:
        return self.cards.pins.get(self.card_id)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def told(answer: Answer) -> tuple[int, str]:
    status = json.loads(answer.body)["status"]
    return answer.status, status["error_code"] or status["status"]


DONE = (200, "SUCCESS")
NOT_FOUND = (400, "ERROR_SET_PIN_CARD_NOT_FOUND")
NOT_VALID = (400, "ERROR_SET_PIN_INVALID_FIELDS")
REUSED = (400, "ERROR_IDEMPOTENCY_KEY_REUSED")


@pytest.mark.parametrize("name", ["set-pin-by-id", "set-pin-by-number"])
def test_the_samples_are_answered_byte_for_byte(desk: Desk, name: str) -> None:
    answer = desk.ask(sample(f"{name}.request"))
    assert (answer.status, answer.body) == (200, sample("set-pin.response"))
    assert desk.pin == "7777"


def test_the_samples_of_errors_are_answered_byte_for_byte(desk: Desk) -> None:
    answer = desk.ask(sample("card-not-found.request"))
    assert (answer.status, answer.body) == (400, sample("card-not-found.response"))
    answer = ask(desk.dialect, arrived("POST", PATH, body(), {}))
    assert (answer.status, answer.body) == (400, sample("headers-missing.response"))


@pytest.mark.parametrize("content", [body(), b"{}", b""], ids=range(3))
def test_a_wrong_signature_is_told_nothing(desk: Desk, content: bytes) -> None:
    answer = desk.ask(content, secret="rsk_wrong")
    assert (answer.status, answer.body) == (401, sample("unauthenticated.response"))
    assert desk.cards.asked == []


def test_a_request_is_taken_once(desk: Desk) -> None:
    request = desk.signed(body())
    assert told(ask(desk.dialect, request)) == DONE
    assert told(ask(desk.dialect, request)) == (401, "UNAUTHENTICATED_API_CALL")
    assert desk.cards.asked.count("set_pin") == 1


def test_an_old_request_is_refused(desk: Desk) -> None:
    request = desk.signed(body())
    desk.now += 61
    assert told(ask(desk.dialect, request)) == (401, "UNAUTHENTICATED_API_CALL")
    assert desk.cards.asked == []


def test_a_caller_of_another_program_may_not(desk: Desk) -> None:
    answer = desk.ask(access="rak_far0", secret="rsk_far0")
    assert (answer.status, answer.body) == (401, sample("unauthorized.response"))
    assert desk.cards.asked == []


def test_the_pin_is_sealed_right_after_its_card_is_known(desk: Desk) -> None:
    desk.ask()
    assert desk.cards.asked == ["get", "seal", "set_pin"]
    assert desk.pin == PIN


@pytest.mark.parametrize(
    ("card", "asked"),
    [
        ("card_unknown", ["get"]),
        ("theirs", ["get"]),
        (THEIRS, ["get"]),
        ("4111111111111112", ["get"]),
        ("41111111111", []),
        ("1" * 20, []),
        ("card 1", []),
        (f"{ID}\n", []),
        ("كارت", []),
    ],
    ids=range(9),
)
def test_a_card_that_is_not_there_is_not_found(desk: Desk, card: str, asked: list[str]) -> None:
    answer = desk.ask(body(card=card))
    assert told(answer) == NOT_FOUND
    assert desk.cards.asked == asked
    assert card.encode() not in answer.body


def test_a_number_is_looked_for_in_the_dialects_program_alone(desk: Desk) -> None:
    """Another program has a card of the same number; it makes nothing ambiguous."""
    assert told(desk.ask(body(card=NUMBER))) == DONE
    assert desk.pin == PIN
    theirs = {desk.cards.numbers.get(card.card_id) for card in desk.cards.registered[3:]}
    assert theirs == {THEIRS, NUMBER}


def test_a_number_of_several_cards_is_not_enough(desk: Desk) -> None:
    assert told(desk.ask(body(card=SHARED))) == (400, "ERROR_SET_PIN_CARD_AMBIGUOUS")
    assert told(desk.ask(body(card="card_b"))) == DONE


@pytest.mark.parametrize(
    ("status", "code"),
    [("INACTIVE", "INA"), ("ACTIVE", "ACT"), ("SUSPENDED", "BLO"), ("CLOSED", "BLO")],
)
def test_an_answer_tells_the_status_of_the_card(status: CardStatus, code: str) -> None:
    assert json.loads(Desk(status).ask().body)["data"]["status"] == code


def webhook(card: Card) -> dict[str, object]:
    """What the webhook says of a card."""
    endpoint = RapydEndpoint(
        name="rapyd",
        target=read_url("https://merchant.example/hooks"),
        secret_files=(),
        programs=frozenset({card.program}),
        events=EVENTS,
        access_key=ACCESS,
    )
    event = replace(happened(EventType.PIN_SET), card_id=card.card_id, external_id=card.external_id)
    data: dict[str, object] = json.loads(endpoint.body(event))["data"]
    return data


def test_a_card_has_the_ids_that_its_webhook_has(desk: Desk) -> None:
    for number, name in enumerate((ID, "card_a", "card_b")):
        data = json.loads(desk.ask(body(card=name)).body)["data"]
        told = webhook(desk.cards.registered[number])
        assert (data["id"], data["card_id"]) == (told["id"], told["card_id"])
        assert re.fullmatch("ci_[0-9a-f]{32}", data["id"])


@pytest.mark.parametrize("where", ["defaults", "cards"])
def test_no_fact_says_another_id(desk: Desk, where: str) -> None:
    told = {"id": "ci_2a0d6ba6e1b14f3d9ee0b4d0c9a53a1f"}
    file = {"defaults": {}, "cards": {}, where: told if where == "defaults" else {ID: told}}
    ground = replace(desk.ground, facts=facts.Facts(file["defaults"], file["cards"]))
    with pytest.raises(Unfit, match=r"facts_file: tells 'id'.*remove it"):
        build(ground)


def test_a_card_without_facts_is_told_by_the_defaults(desk: Desk) -> None:
    data = json.loads(desk.ask(body(card="card_a")).body)["data"]
    assert (data["card_id"], data["created_at"]) == ("card_a", int(NOW.timestamp()))
    assert data["country_iso_alpha_2"] == "US"


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"\xff",
        b"{}",
        b"[" * 3000,
        json.dumps({"card": ID}).encode(),
        json.dumps({"new_pin": PIN}).encode(),
        body(pin=9048),
        body(pin=None),
        body(pin=[PIN]),
        body(pin="904"),
        body(pin=f"{PIN}\n"),
        body(pin="٩٠٤٨"),
        body(pin="9" * 13),
        body(card=""),
        body(card=7),
        body(card="a" * 65),
    ],
    ids=range(17),
)
def test_a_field_that_is_not_valid_is_400(desk: Desk, content: bytes) -> None:
    answer = desk.ask(content)
    assert told(answer) == NOT_VALID
    assert PIN.encode() not in answer.body
    assert desk.cards.asked == []


def test_members_that_the_documents_do_not_name_are_passed_over(desk: Desk) -> None:
    content = json.dumps({"more": {"new_pin": 1}, "card": ID, "new_pin": PIN}).encode()
    assert told(desk.ask(content)) == DONE


def test_1111_is_refused_in_the_sandbox_alone() -> None:
    sandbox = Desk(sandbox=True)
    assert told(sandbox.ask(body("1111"))) == NOT_VALID
    assert sandbox.cards.asked == []
    assert told(sandbox.ask(body("11111"))) == DONE
    assert told(sandbox.ask()) == DONE
    assert told(Desk().ask(body(WEAK))) == (400, "ERROR_SET_PIN_NOT_VALID")


def test_without_an_idempotency_key_every_request_is_its_own(desk: Desk) -> None:
    first = json.loads(desk.ask().body)["status"]["operation_id"]
    assert desk.pin == PIN
    second = json.loads(desk.ask(body(OTHER)).body)["status"]["operation_id"]
    assert desk.pin == OTHER
    assert desk.cards.done == {first, second}
    assert first == OPERATION != second


def test_with_an_idempotency_key_the_first_answer_is_given_again(desk: Desk) -> None:
    first = desk.ask(**ONCE)
    assert told(first) == DONE
    for content in (body(), body(OTHER)):
        assert desk.ask(content, **ONCE).body == first.body
    assert desk.pin == PIN
    desk.now += 24 * 3600
    desk.cards.done.clear()
    assert told(desk.ask(body(OTHER), **ONCE)) == DONE
    assert desk.pin == OTHER


def test_the_operation_is_the_requests_id_on_the_server(desk: Desk) -> None:
    operation = json.loads(desk.ask(**ONCE).body)["status"]["operation_id"]
    assert operation in desk.cards.done
    assert str(uuid.UUID(operation)) == operation


def test_a_key_stands_for_one_card_of_one_caller(desk: Desk) -> None:
    desk.ask(**ONCE)
    assert told(desk.ask(body(card="card_a"), **ONCE)) == REUSED
    shop = {"access": "rak_shop", "secret": "rsk_shop"}
    assert told(desk.ask(body(OTHER), **shop, **ONCE)) == DONE
    assert desk.pin == OTHER


def test_the_server_knows_a_key_that_the_process_has_forgotten(desk: Desk) -> None:
    desk.ask(**ONCE)
    desk.restart()
    assert told(desk.ask(body(OTHER), **ONCE)) == REUSED
    assert desk.pin == PIN


def test_a_refused_request_frees_its_key(desk: Desk) -> None:
    assert told(desk.ask(body(WEAK), **ONCE))[0] == 400
    assert told(desk.ask(**ONCE)) == DONE


def test_a_card_is_asked_for_as_often_as_its_rate_allows() -> None:
    desk = Desk(per_card="2/m")
    answers = [told(desk.ask()) for _ in range(3)]
    assert answers == [DONE, DONE, (429, "ERROR_TOO_MANY_REQUESTS")]


@given(
    pin=st.text(max_size=14) | st.from_regex(r"[0-9]{3,13}\n?", fullmatch=True),
    card=st.text(max_size=66) | st.sampled_from((ID, NUMBER, SHARED)),
)
def test_whatever_is_sent_is_set_or_refused(pin: str, card: str) -> None:
    desk = Desk()
    answer = desk.ask(body(pin, card))
    fits = pin.isascii() and pin.isdigit() and 4 <= len(pin) <= 12 and 1 <= len(card) <= 64
    assert (answer.status == 200) == (fits and card in {ID, NUMBER} and pin != WEAK)
    assert (told(answer) == NOT_VALID) == (not fits)


def reasons() -> Iterator[tuple[str, Answer]]:
    desk = Desk()
    for reason in sorted(ALL_REASONS):
        yield reason, desk.dialect.render(Refused(reason), arrived("POST", PATH, body(), {}))


def test_every_reason_has_a_code_and_the_vendors_envelope() -> None:
    for reason, answer in reasons():
        (status,) = json.loads(answer.body).values()
        assert list(status) == [
            "error_code",
            "status",
            "message",
            "response_code",
            "operation_id",
        ]
        assert status["error_code"] == status["response_code"] != "", reason
        assert (status["status"], status["operation_id"]) == ("ERROR", OPERATION)
        assert 400 <= answer.status < 600
        assert PIN.encode() not in answer.body


def test_what_the_server_refuses_is_told_without_the_pin(desk: Desk) -> None:
    for reason in sorted(ALL_REASONS):
        desk.cards.fails = refusal(reason)
        answer = desk.ask(**ONCE)
        assert answer.status == desk.dialect.codes[reason].status
        assert PIN.encode() not in answer.body
    away = PinvaultError(code=grpc.StatusCode.UNAVAILABLE, reason="", text="away")
    for error, status in ((away, 503), (RuntimeError(f"a fault with {PIN} in it"), 500)):
        desk.cards.fails = error
        answer = desk.ask(**ONCE)
        assert answer.status == status
        assert PIN.encode() not in answer.body
    desk.cards.fails = None
    assert told(desk.ask(**ONCE)) == DONE


def test_no_exception_and_no_repr_holds_a_pin_or_a_number(desk: Desk) -> None:
    flow = desk.dialect.endpoints()[0].flow
    desk.cards.registered.clear()
    for content in (body(), body(f"{PIN}x"), body(card=NUMBER), body(card="a b"), b"{" + body()):
        request = desk.signed(content)
        with pytest.raises((Refused, PinvaultError)) as caught:
            flow(request)
        shown = "".join(traceback.format_exception(caught.value))
        shown += repr((caught.value, vars(caught.value), request))
        assert PIN not in shown
        assert NUMBER not in shown
    for kind in (PinRequest, SandboxPinRequest):
        asked = kind(card=NUMBER, new_pin=SandboxPin.taken(PIN))
        assert repr((asked, asked.__rich_repr__())) == f"(<{kind.__name__}>, [])"


def test_it_is_open_where_clear_pins_are(desk: Desk) -> None:
    (endpoint,) = desk.dialect.endpoints()
    assert (endpoint.method, endpoint.path, endpoint.takes_clear_pin) == ("POST", PATH, True)
    assert desk.dialect.codes[EdgeReason.CLEAR_PINS_OFF].status == 401

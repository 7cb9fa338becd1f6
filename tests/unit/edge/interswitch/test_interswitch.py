"""Interswitch's samples byte for byte, fields that stay in cipher, and what is told of others."""

import json
import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.client import PinvaultError
from pinvault.client.card_values import CardStatus
from pinvault.edge.dialect import ALL_REASONS, Answer, Arrived, Dialect, Refused
from pinvault.edge.interswitch import Caller, Options, build
from pinvault.edge.interswitch.codes import ERRORS
from pinvault.edge.interswitch.wire import ChangeRequest, Reissued
from tests.unit.edge.connectfi.asking import ASSETS, REQUEST_ID, arrived, ask, digest, ground
from tests.unit.edge.connectfi.fake_vault import WEAK, refusal
from tests.unit.edge.interswitch.card_vault import CardVault, numbered, tries_of

SAMPLES = ASSETS / "interswitch"
CHANGE, REISSUE = (
    "/card-management/api/v1/card/changePin",
    "/card-management/api/v1/card/reissue-pin",
)
TOKEN = "eyJhbGciOiJIUzI1NiJ9.interswitch.token"
PAN, THEIRS = "5060990000000151002", "4111111111111111"
PIN, OTHER = "9048", "9084"
FIELDS = {pin: f"{number:02x}" * 256 for number, pin in enumerate((PIN, OTHER, WEAK), start=0xA1)}
"""What stands for a PIN in cipher; only the fake knows which is which."""


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


SAMPLE: Mapping[str, Any] = json.loads(sample("change-pin.request"))
REISSUED: Mapping[str, Any] = json.loads(sample("reissue-pin.response"))
REISSUING: Mapping[str, Any] = json.loads(sample("reissue-pin.request"))


def body(new: str = OTHER, old: str = PIN, **more: object) -> bytes:
    fields = {"pin": FIELDS[new], "oldPin": FIELDS[old]}
    return json.dumps({**SAMPLE, **fields, **more}).encode()


class Desk:
    """The dialect over a fake vault with the sample's card, whose PIN is set."""

    def __init__(
        self,
        status: CardStatus = "ACTIVE",
        *,
        active_active_only: bool = False,
        reissue_profile: str | None = "bank",
        per_card: str = "999/s",
    ) -> None:
        cards = (
            numbered("card_1", status=status),
            numbered("card_2", sequence_number="02"),
            numbered("theirs", program="credit"),
            numbered("namesake", program="credit"),
        )
        self.vault = CardVault(*cards, numbers=(PAN, PAN, THEIRS, PAN))
        self.cards, self.card_id = self.vault.cards, cards[0].card_id
        self.cards.pins[self.card_id] = PIN
        self.cards.fields = {field.encode(): pin for pin, field in FIELDS.items()}
        self.cards.fields[SAMPLE["pin"].encode()] = PIN
        self.cards.issues = REISSUED["pin"]
        options = Options(
            kind="interswitch",
            listener="public",
            program="debit",
            credentials_file="interswitch.toml",
            active_active_only=active_active_only,
        )
        callers = (
            Caller(
                name="acme",
                programs=("debit",),
                bearer_sha256=digest(TOKEN),
                reissue_profile=reissue_profile,
            ),
            Caller(name="far", programs=("credit",), bearer_sha256=digest("stranger")),
        )
        self.dialect: Dialect = build(ground(self.vault, options, *callers, per_card=per_card))

    def request(
        self, path: str, content: bytes, told: str | None, authorization: str | None
    ) -> Arrived:
        headers = {"authorization": authorization} if authorization is not None else {}
        query = {"isActiveActive": told} if told is not None else {}
        return replace(arrived("POST", path, content, headers), query=query)

    def change(
        self,
        content: bytes,
        *,
        told: str | None = "true",
        authorization: str | None = f"Bearer {TOKEN}",
    ) -> Answer:
        return ask(self.dialect, self.request(CHANGE, content, told, authorization))

    def reissue(
        self,
        content: bytes,
        *,
        told: str | None = None,
        authorization: str | None = f"Bearer {TOKEN}",
    ) -> Answer:
        return ask(self.dialect, self.request(REISSUE, content, told, authorization))

    @property
    def pin(self) -> str | None:
        return self.cards.pins.get(self.card_id)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def told(answer: Answer) -> tuple[int, str, str]:
    """Give HTTP status, code and description; what every answer has is looked at."""
    content = json.loads(answer.body)
    assert list(content)[:3] == ["code", "description", "correlationId"]
    assert content["correlationId"] == REQUEST_ID
    return answer.status, content["code"], content["description"]


def errors(answer: Answer) -> list[tuple[str, str]]:
    return [(each["code"], each["message"]) for each in json.loads(answer.body)["errors"]]


DONE = (200, "00", "Successful")
NOT_FOUND = (404, "10404", "No result found")
NOT_VALID = (400, "10400", "Bad request")
WRONG = (400, "10400", "Incorrect PIN")
BLOCKED = (400, "10400", "PIN tries exceeded")


@pytest.mark.parametrize("is_active_active", ["true", "false", "TRUE", "False"])
def test_the_sample_is_answered_byte_for_byte(desk: Desk, is_active_active: str) -> None:
    answer = desk.change(sample("change-pin.request"), told=is_active_active)
    assert (answer.status, answer.body) == (200, sample("change-pin.response"))
    assert desk.cards.asked == ["get", "change_pin"]


def test_the_sample_of_a_reissue_is_answered_byte_for_byte(desk: Desk) -> None:
    answer = desk.reissue(sample("reissue-pin.request"))
    assert (answer.status, answer.body) == (200, sample("reissue-pin.response"))
    assert desk.cards.asked == ["get", "reissue_pin bank"]


def test_the_samples_of_errors_are_answered_byte_for_byte(desk: Desk) -> None:
    answer = desk.change(sample("card-not-found.request"))
    assert (answer.status, answer.body) == (404, sample("card-not-found.response"))
    answer = desk.change(body(old=OTHER))
    assert (answer.status, answer.body) == (400, sample("wrong-old-pin.response"))
    assert told(desk.change(sample("field-not-valid.request"))) == NOT_VALID


def test_a_number_is_looked_for_in_the_dialects_program_alone(desk: Desk) -> None:
    """Another program has a card of the same PAN and sequence number."""
    (namesake,) = (card for card in desk.cards.registered if card.external_id == "namesake")
    assert desk.cards.numbers[namesake.card_id] == PAN
    assert told(desk.change(body())) == DONE
    assert told(desk.reissue(sample("reissue-pin.request"))) == DONE
    assert namesake.card_id not in desk.cards.pins


def test_a_pin_is_changed_when_the_current_one_is_right(desk: Desk) -> None:
    assert told(desk.change(body(old=OTHER))) == WRONG
    assert (desk.pin, tries_of(desk.cards)) == (PIN, 2)
    assert told(desk.change(body())) == DONE
    assert (desk.pin, tries_of(desk.cards)) == (OTHER, 3)


def test_the_last_wrong_pin_and_all_after_it_are_told_so(desk: Desk) -> None:
    answers = [desk.change(body(old=OTHER)) for _ in range(4)]
    assert list(map(told, answers)) == [WRONG, WRONG, BLOCKED, BLOCKED]
    assert errors(answers[0]) == [("55", "Incorrect PIN")]
    assert errors(answers[3]) == [("75", "PIN tries exceeded")]
    assert told(desk.change(body())) == BLOCKED
    assert desk.pin == PIN


@pytest.mark.parametrize("old_pin", [None, ""], ids=["null", "blank"])
def test_without_the_current_pin_one_is_set(desk: Desk, old_pin: str | None) -> None:
    content = body(oldPin=old_pin)
    assert told(desk.change(content, told="false")) == DONE
    assert (desk.pin, desk.cards.asked) == (OTHER, ["get", "set_pin"])


@pytest.mark.parametrize("old_pin", [None, ""], ids=["null", "blank"])
def test_active_active_needs_the_current_pin(desk: Desk, old_pin: str | None) -> None:
    answer = desk.change(body(oldPin=old_pin))
    assert told(answer) == NOT_VALID
    assert errors(answer) == [("30", "oldPin is required for active-active")]
    only = Desk(active_active_only=True)
    assert told(only.change(body(oldPin=old_pin), told="false")) == NOT_VALID
    assert told(only.change(body(), told="false")) == DONE
    assert desk.cards.asked == []


@pytest.mark.parametrize("said", [None, "", "1", "yes", "true ", "None"])
def test_the_routing_is_required_and_is_true_or_false(desk: Desk, said: str | None) -> None:
    answer = desk.change(body(), told=said)
    assert told(answer) == NOT_VALID
    assert errors(answer) == [("30", "isActiveActive must be true or false")]
    expected = DONE if said is None else NOT_VALID
    assert told(desk.reissue(sample("reissue-pin.request"), told=said)) == expected


@pytest.mark.parametrize("said", ["true", "false"])
def test_the_routing_changes_nothing_of_a_reissue(desk: Desk, said: str) -> None:
    answer = desk.reissue(sample("reissue-pin.request"), told=said)
    assert answer.body == sample("reissue-pin.response")


WRONG_FIELDS = [
    ("pan", "506099000000015"),
    ("pan", "50609900000001510021"),
    ("pan", "506099000000015100x"),
    ("pan", "٥٠٦٠٩٩٠٠٠٠٠٠٠١٥١٠٠٢"),
    ("pan", 5060990000000151002),
    ("seqNr", "01"),
    ("seqNr", "0001"),
    ("seqNr", "00x"),
    ("expiryDate", "504"),
    ("expiryDate", "5013"),
    ("expiryDate", "5000"),
    ("expiryDate", "50/4"),
    ("accountType", "2"),
    ("accountType", "200"),
    ("accountType", "xx"),
    ("userId", "Al"),
    ("userId", "A" * 21),
    ("userId", None),
    ("pin", ""),
    ("pin", "1234"),
    ("pin", "a1" * 255),
    ("pin", "a1" * 513),
    ("pin", "a1" * 256 + "a"),
    ("pin", "g1" * 256),
    ("pin", "a1" * 256 + "\n"),
    ("pin", None),
    ("oldPin", "1234"),
    ("oldPin", "g1" * 256),
    ("cvv2", "12"),
    ("cvv2", "1234"),
    ("cvv2", "12a"),
    ("cvv2", 123),
    ("rid", "1" * 12),
    ("rid", "1a"),
]


@pytest.mark.parametrize(("member", "value"), WRONG_FIELDS, ids=range(len(WRONG_FIELDS)))
def test_every_field_has_its_form_and_is_named(desk: Desk, member: str, value: object) -> None:
    answer = desk.change(body(**{member: value}), told="false")
    assert told(answer) == NOT_VALID
    ((code, message),) = errors(answer)
    assert code == "30"
    assert message.startswith(f"{member} must ")
    assert desk.cards.asked == []


@pytest.mark.parametrize("member", ["pan", "seqNr", "expiryDate", "accountType", "userId", "pin"])
def test_a_field_that_is_missing_is_named(desk: Desk, member: str) -> None:
    content = json.dumps({name: SAMPLE[name] for name in SAMPLE if name != member}).encode()
    answer = desk.change(content)
    assert told(answer) == NOT_VALID
    assert errors(answer) == [("30", f"Object missing required field `{member}`")]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 3000], ids=range(6))
def test_what_is_no_object_is_400(desk: Desk, content: bytes) -> None:
    for answer in (desk.change(content), desk.reissue(content)):
        assert told(answer) == NOT_VALID
        assert len(errors(answer)) == 1
    assert desk.cards.asked == []


@pytest.mark.parametrize("member", ["cvv2", "rid", "oldPin"])
@pytest.mark.parametrize("value", [None, ""], ids=["null", "blank"])
def test_an_optional_field_may_be_blank(desk: Desk, member: str, value: str | None) -> None:
    assert told(desk.change(body(**{member: value}), told="false")) == DONE


def test_members_that_the_documents_do_not_name_are_passed_over(desk: Desk) -> None:
    assert told(desk.change(body(terminalId={"pin": [1]}))) == DONE


@given(
    pan=st.from_regex(r"[0-9]{14,20}\n?", fullmatch=True) | st.just(PAN),
    seq=st.from_regex(r"[0-9]{2,4}", fullmatch=True) | st.just("001"),
    expiry=st.from_regex(r"[0-9]{3,5}", fullmatch=True) | st.just("5004"),
)
def test_a_card_is_the_one_of_number_sequence_and_expiry(pan: str, seq: str, expiry: str) -> None:
    answer = Desk().change(body(pan=pan, seqNr=seq, expiryDate=expiry))
    is_it = (pan, seq, expiry) == (PAN, "001", "5004")
    assert (answer.status == 200) == is_it or (pan, seq) == (PAN, "002")
    assert answer.status in {200, 400, 404}


@pytest.mark.parametrize(
    "other",
    [{"pan": THEIRS}, {"pan": "5060990000000151003"}, {"seqNr": "009"}, {"expiryDate": "5005"}],
    ids=range(4),
)
def test_a_card_that_is_not_there_is_not_found(desk: Desk, other: dict[str, str]) -> None:
    answers = (
        desk.change(body(**other)),
        desk.reissue(json.dumps({**REISSUING, **other}).encode()),
    )
    for answer in answers:
        assert (answer.status, answer.body) == (404, sample("card-not-found.response"))
    assert desk.cards.asked == ["get", "get"]


def test_fields_go_to_the_server_as_they_came(desk: Desk) -> None:
    assert told(desk.change(body().replace(b"a2", b"A2"))) == DONE
    assert "seal" not in desk.cards.asked
    desk.cards.spent.add(FIELDS[OTHER].encode())
    assert told(desk.change(body(PIN, OTHER)))[2] == "Encrypted pin was used before"
    unknown = desk.change(body(oldPin="ff" * 256))
    assert told(unknown) == (400, "10400", "Unable to decrypt pin")
    assert desk.pin == OTHER


def test_a_weak_pin_is_refused(desk: Desk) -> None:
    assert told(desk.change(body(WEAK))) == (400, "10400", "PIN is not allowed")
    assert desk.pin == PIN


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN.upper()}", f"Basic {TOKEN}", TOKEN],
    ids=range(7),
)
def test_a_wrong_token_is_told_nothing(desk: Desk, authorization: str | None) -> None:
    for content in (body(), b"{}", b""):
        for do in (desk.change, desk.reissue):
            answer = do(content, authorization=authorization)
            assert (answer.status, answer.body) == (401, sample("unauthorized.response"))
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert desk.cards.asked == []


def test_who_may_not_is_forbidden(desk: Desk) -> None:
    for do in (desk.change, desk.reissue):
        assert told(do(body(), authorization="Bearer stranger")) == (403, "10403", "Forbidden")
    nobody = Desk(reissue_profile=None)
    assert told(nobody.reissue(sample("reissue-pin.request"))) == (403, "10403", "Forbidden")
    assert desk.cards.asked == nobody.cards.asked == []


def test_where_no_offset_is_kept_none_is_told(desk: Desk) -> None:
    desk.cards.offset = None
    answer = json.loads(desk.reissue(sample("reissue-pin.request")).body)
    assert answer == {name: REISSUED[name] for name in REISSUED if name != "pinOffset"}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("issuerNr", "2"),
        ("issuerNr", 1000),
        ("issuerNr", None),
        ("userId", "Al"),
        ("customerId", "1" * 26),
        ("mobileNr", 8033344455),
    ],
    ids=range(6),
)
def test_a_field_of_a_reissue_has_its_form_too(desk: Desk, member: str, value: object) -> None:
    answer = desk.reissue(json.dumps({**REISSUING, member: value}).encode())
    assert told(answer) == NOT_VALID
    assert errors(answer)[0][1].startswith(f"{member} must ")


def test_a_card_is_asked_for_as_often_as_its_rate_allows() -> None:
    desk = Desk(per_card="2/m")
    answers = [told(desk.change(body(old=OTHER))) for _ in range(3)]
    assert answers == [WRONG, WRONG, (429, "10429", "Too many requests")]


def test_every_reason_has_a_code_of_its_status(desk: Desk) -> None:
    for reason in sorted(ALL_REASONS):
        answer = desk.dialect.render(Refused(reason), arrived("POST", CHANGE, b"", {}))
        status, code, description = told(answer)
        assert code == f"10{status}", reason
        assert description
        content = json.loads(answer.body)
        assert ("errors" in content) == (reason in ERRORS)
        assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize("path", [CHANGE, REISSUE])
def test_what_the_server_refuses_is_told_without_a_secret(desk: Desk, path: str) -> None:
    do, content = (
        (desk.change, body()) if path == CHANGE else (desk.reissue, json.dumps(REISSUING).encode())
    )
    for reason in sorted(ALL_REASONS):
        desk.cards.fails = refusal(reason)
        answer = do(content)
        assert answer.status == desk.dialect.codes[reason].status
        assert PAN.encode() not in answer.body
    away = PinvaultError(code=grpc.StatusCode.UNAVAILABLE, reason="", text="away")
    for error, status in ((away, 503), (RuntimeError(f"a fault with {PAN} in it"), 500)):
        desk.cards.fails = error
        answer = do(content)
        assert answer.status == status
        assert PAN.encode() not in answer.body


def test_no_exception_and_no_repr_holds_a_number_or_a_field(desk: Desk) -> None:
    flow = desk.dialect.endpoints()[0].flow
    for content in (body(expiryDate="5005"), body(WEAK), body(userId="x"), b"{" + body()):
        request = desk.request(CHANGE, content, "true", f"Bearer {TOKEN}")
        with pytest.raises((Refused, PinvaultError)) as caught:
            flow(request)
        shown = "".join(traceback.format_exception(caught.value))
        shown += repr((caught.value, vars(caught.value), request))
        for secret in (PAN, FIELDS[OTHER], TOKEN):
            assert secret not in shown
    asked = ChangeRequest(
        pan=PAN,
        seq_nr="001",
        expiry_date="5004",
        pin=FIELDS[PIN],
        account_type="20",
        user_id="Alex",
    )
    for quiet in (asked, Reissued("00", "Successful", REQUEST_ID, FIELDS[PIN])):
        assert repr(quiet) == f"<{type(quiet).__name__}>"
        assert quiet.__rich_repr__() == []


def test_it_takes_no_clear_pin(desk: Desk) -> None:
    endpoints = desk.dialect.endpoints()
    assert [each.path for each in endpoints] == [CHANGE, REISSUE]
    assert not any(each.takes_clear_pin for each in endpoints)
    assert all(each.method == "POST" and each.authentication == "bearer" for each in endpoints)

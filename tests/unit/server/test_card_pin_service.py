"""CardPinService: no field of a request is ignored, and every answer is in the contract, whole."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import protovalidate
import pytest
from google.protobuf.message import Message

from pinvault.model.cards import (
    ByExternalId,
    ById,
    ByNumber,
    CardStatus,
    SessionAction,
    TokenKind,
    Verification,
)
from pinvault.model.pan import Pan
from pinvault.model.pins import CardSource
from pinvault.model.profiles import PinLength
from pinvault.model.verification import PinOffset
from pinvault.operations.cards.answers import (
    CardView,
    PinIssued,
    PinPlaced,
    PinState,
    PinVerdict,
)
from pinvault.server import card_messages as cards
from pinvault.server import card_pin_service
from pinvault.server.card_pin_service import CardPinService
from pinvault.v1 import card_pin_pb2 as pb
from pinvault.v1 import resources_pb2
from tests.support.software_device import key
from tests.unit.operations.support import call
from tests.unit.server.test_messages import WORDS, Catcher, Reached, filled, having, twins

CARD_ID = "card_" + "g" * 26
PAN = "5555555551234567"
TOKEN = "0f4cd42a-4f0e-4a63-9d5b-6f5f5c1f7c11"
SECRET = "s" * 43
AT_S = 1_767_225_600.25
COORDINATES = ("A" * 42 + "Q", "B" * 42 + "Q")
CONSTANT = {"recipient_key.kty", "recipient_key.crv"}
"""Members that the contract lets have one value."""
RPCS = pb.DESCRIPTOR.services_by_name["CardPinService"].methods
REQUESTS = {rpc.input_type.name: rpc.input_type for rpc in RPCS}
USED = key("zpk", "P0", "AES_256", "B")
VIEW = CardView(
    card_id=CARD_ID,
    program="debit",
    external_id="icrd_1",
    last_four="4567",
    sequence_number="01",
    expiry="2812",
    status=CardStatus.SUSPENDED,
    pin=PinState(set_at=AT_S, tries_left=2, blocked=True),
    created_at=AT_S + 1,
)
PLACED = PinPlaced(
    card_id=CARD_ID, set_at=AT_S, blocked=True, source_keys=(USED,), stored_keys=(USED, USED)
)
RIGHT = PinVerdict(
    matches=True,
    tries_left=3,
    blocked=False,
    set_at=AT_S,
    source_keys=(USED, USED),
    stored_keys=(USED,),
)
WRONG = PinVerdict(
    matches=False, tries_left=0, blocked=True, set_at=None, source_keys=(USED,), stored_keys=()
)


class Facts:
    """An answer of a use case, with these members."""

    def __init__(self, **members: object) -> None:
        self.__dict__.update(members)


ANSWERS: dict[str, Any] = {
    "RegisterCard": VIEW,
    "GetCard": VIEW,
    "SetCardStatus": VIEW,
    "IssueControlToken": Facts(token=TOKEN, card_id=CARD_ID, expires_at=AT_S),
    "GetControlToken": Facts(card_id=CARD_ID, kind=TokenKind.REVEAL_PIN, expires_at=AT_S),
    "SetPin": PLACED,
    "ChangePin": RIGHT,
    "ResetPin": PLACED,
    "ReissuePin": PinIssued(
        card_id=CARD_ID,
        set_at=AT_S,
        envelope="e" * 512,
        offset=PinOffset(value="4821"),
        scheme="ibm",
        target_key=USED,
        stored_keys=(USED,),
    ),
    "CheckPin": RIGHT,
    "RevealPin": Facts(card_id=CARD_ID, envelope="e" * 200, key=USED),
    "UnblockPin": VIEW,
    "CreatePinSession": Facts(session_id="i" * 36, secret=SECRET, card_id=CARD_ID, expires_at=AT_S),
    "OpenPinSession": Facts(
        page_secret=SECRET,
        card_id=CARD_ID,
        last_four="4567",
        action=SessionAction.CHANGE,
        pin_length=PinLength(minimum=4, maximum=6),
        origin="https://app.example.com",
        expires_at=AT_S,
    ),
    "SubmitPin": RIGHT,
}


@pytest.fixture(autouse=True)
def coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x", "y"):
        monkeypatch.setitem(WORDS, name, COORDINATES)


@pytest.fixture
def blocked() -> list[None]:
    return []


@pytest.fixture
def serving(blocked: list[None]) -> dict[str, Any]:
    service = CardPinService(None, on_blocked=lambda: blocked.append(None))  # type: ignore[arg-type]
    return {method.name.partition(".")[2]: method for method in service.methods()}


@pytest.fixture
def reach(
    monkeypatch: pytest.MonkeyPatch, serving: dict[str, Any]
) -> Callable[[Message], dict[str, Any]]:
    """Give what the use case of a request is called with, but for what tells requests apart."""
    for name in ANSWERS:
        monkeypatch.setattr(card_pin_service, name, Catcher)

    def reach(request: Message) -> dict[str, Any]:
        verb = type(request).__name__.removesuffix("Request")
        with pytest.raises(Reached) as reached:
            serving[verb].serve(call(), request)
        given = reached.value.given
        if "request" in given:
            told = given["request"]
            assert told.fingerprint_of == request.SerializeToString(deterministic=True)
            given = given | {"request": told.request_id}
        return given

    return reach


def test_every_method_of_the_contract_is_served(serving: dict[str, Any]) -> None:
    assert [rpc.name for rpc in RPCS] == list(serving) == list(ANSWERS)
    for rpc in RPCS:
        assert rpc.input_type == serving[rpc.name].request.DESCRIPTOR


@pytest.mark.parametrize("name", REQUESTS)
def test_no_field_of_a_request_is_ignored(
    reach: Callable[[Message], dict[str, Any]], name: str
) -> None:
    ignored = {pair.path for pair in twins(REQUESTS[name]) if reach(pair.one) == reach(pair.other)}
    assert ignored - CONSTANT == set()


def test_a_card_is_named_in_three_ways() -> None:
    external = pb.CardExternalId(program="debit", external_id="icrd_1")
    for selector, read in (
        (pb.CardSelector(card_id=CARD_ID), ById(CARD_ID)),
        (pb.CardSelector(external=external), ByExternalId("debit", "icrd_1")),
        (pb.CardSelector(number=pb.CardNumber(pan=PAN)), ByNumber(Pan(PAN), None)),
        (
            pb.CardSelector(number=pb.CardNumber(pan=PAN, pan_sequence_number="01")),
            ByNumber(Pan(PAN), "01"),
        ),
    ):
        assert cards.read_card(selector) == read


def test_a_stored_card_is_a_source_here(reach: Callable[[Message], dict[str, Any]]) -> None:
    source = resources_pb2.PinSource(card=resources_pb2.CardSource(card_id=CARD_ID))
    [field] = (f for f in REQUESTS["SetPinRequest"].fields if f.name == "new_source")
    given = reach(having(REQUESTS["SetPinRequest"], field, source))
    assert given["new"] == CardSource(CARD_ID)


@pytest.mark.parametrize("verb", ANSWERS)
def test_an_answer_keeps_the_contract_and_leaves_nothing_out(
    monkeypatch: pytest.MonkeyPatch, serving: dict[str, Any], verb: str
) -> None:
    monkeypatch.setattr(card_pin_service, verb, lambda _: lambda *_, **__: ANSWERS[verb])
    reply = serving[verb].serve(call(), filled(REQUESTS[f"{verb}Request"]))
    protovalidate.validate(reply)
    unset = {field.name for field in reply.DESCRIPTOR.fields} - {
        f.name for f, _ in reply.ListFields()
    }
    assert unset <= {"blocked"}


def test_a_card_is_told_whole() -> None:
    told = cards.write_card(VIEW)
    protovalidate.validate(told)
    assert {field.name for field, _ in told.ListFields()} == set(pb.Card.DESCRIPTOR.fields_by_name)
    assert (told.status, told.pin_state.blocked) == (pb.CARD_STATUS_SUSPENDED, True)
    assert told.pin_state.set_time.ToMicroseconds() == int(AT_S * 1e6)


@pytest.mark.parametrize("verb", ["ChangePin", "CheckPin", "SubmitPin"])
def test_a_wrong_pin_is_an_answer_and_the_last_try_is_counted(
    monkeypatch: pytest.MonkeyPatch, serving: dict[str, Any], blocked: list[None], verb: str
) -> None:
    for verdict in (RIGHT, replace(RIGHT, blocked=True), WRONG):
        monkeypatch.setattr(card_pin_service, verb, lambda _, v=verdict: lambda *_, **__: v)
        reply = serving[verb].serve(call(), filled(REQUESTS[f"{verb}Request"]))
        assert (reply.result == resources_pb2.PIN_VERIFICATION_MATCH) is verdict.matches
        assert reply.blocked is verdict.blocked
    assert verb == "CheckPin" or not reply.HasField("set_time")
    assert len(blocked) == 1


@pytest.mark.parametrize(
    ("mapping", "members", "enum"),
    [
        (cards.STATUSES, CardStatus, pb.CardStatus),
        (cards.TOKEN_KINDS, TokenKind, pb.ControlTokenType),
        (cards.VERIFICATIONS, Verification, pb.CardholderVerificationMethod),
        (cards.ACTIONS, SessionAction, pb.PinSessionAction),
    ],
    ids=["status", "token", "verification", "action"],
)
def test_every_word_of_a_card_has_one_number(mapping, members, enum) -> None:
    assert set(mapping) == set(members)
    assert sorted(mapping.values()) == sorted(set(enum.values()) - {0})


def test_a_recipient_is_an_uncompressed_point() -> None:
    point = cards.read_recipient(pb.RecipientKey(x=COORDINATES[0], y=COORDINATES[1]))
    assert len(point) == 65
    assert point[:1] == b"\x04"

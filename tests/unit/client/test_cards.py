"""The verbs of cards: each asks what it should, is repeated where that is safe, and tells all."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from protovalidate import Validator

from pinvault.client import (
    Card,
    CardNumber,
    ControlToken,
    ControlTokenUse,
    CreatedSession,
    ExternalId,
    Ibm3624Offset,
    IssuedPin,
    KeyUse,
    OpenedSession,
    PinBlock,
    PinState,
    PinvaultError,
    PinVerdict,
    PlacedPin,
    RevealedPin,
    RevealKey,
    SealedPin,
    Vault,
)
from pinvault.v1 import card_pin_pb2 as pb
from pinvault.v1 import resources_pb2
from tests.unit.client.support import Away, Server, requests, vault

PAN = "5555555551234567"
CARD_ID = "card_" + "g" * 26
TOKEN = "0f4cd42a-4f0e-4a63-9d5b-6f5f5c1f7c11"
SECRET = "s" * 43
SESSION = "session-" + "x" * 20
ORIGIN = "https://app.example.com"
NEW = SealedPin(profile="sealed-card", ciphertext=b"n" * 200)
CURRENT = PinBlock(key="zpk", format="ISO_0", ciphertext=bytes(8), pan=PAN)
STAMP = Timestamp(seconds=1_767_225_600)
TIME = datetime(2026, 1, 1, tzinfo=UTC)
KEY = resources_pb2.KeyUse(name="pvk", version=2, check_value="A1B2C3")
USED = (KeyUse(name="pvk", version=2, check_value="A1B2C3"),)
CARD = pb.Card(
    card_id=CARD_ID,
    program="debit",
    external_id="icrd_1",
    last_four="4567",
    pan_sequence_number="01",
    expiry="2812",
    status=pb.CARD_STATUS_SUSPENDED,
    pin_state=pb.PinState(set_time=STAMP, tries_left=2, blocked=True),
    create_time=STAMP,
)
TOLD = Card(
    card_id=CARD_ID,
    program="debit",
    external_id="icrd_1",
    last_four="4567",
    sequence_number="01",
    expiry="2812",
    status="SUSPENDED",
    pin=PinState(set_at=TIME, tries_left=2, blocked=True),
    created_at=TIME,
)
PLACED = {"card_id": CARD_ID, "set_time": STAMP, "source_keys": [KEY], "stored_keys": [KEY, KEY]}
JUDGED = {
    "result": resources_pb2.PIN_VERIFICATION_MATCH,
    "tries_left": 3,
    "source_keys": [KEY],
    "stored_keys": [KEY, KEY],
}
VERDICT = PinVerdict(
    matches=True,
    tries_left=3,
    blocked=False,
    set_at=TIME,
    source_keys=USED,
    stored_keys=USED * 2,
)
A_PLACED_PIN = PlacedPin(
    card_id=CARD_ID, set_at=TIME, blocked=False, source_keys=USED, stored_keys=USED * 2
)
REVEAL_KEY = RevealKey()

# Verb, whether it may be said twice, the reply, what it is read as, and the call.
Row = tuple[str, bool, object, object, Callable[[Vault], object]]
CALLS: tuple[Row, ...] = (
    (
        "RegisterCard",
        True,
        pb.RegisterCardResponse(card=CARD),
        TOLD,
        lambda v: v.cards.register(
            program="debit", pan=PAN, expiry="2812", sequence_number="01", external_id="icrd_1"
        ),
    ),
    ("GetCard", True, pb.GetCardResponse(card=CARD), TOLD, lambda v: v.cards.get(CARD_ID)),
    (
        "SetCardStatus",
        True,
        pb.SetCardStatusResponse(card=CARD),
        TOLD,
        lambda v: v.cards.set_status(CARD_ID, "SUSPENDED"),
    ),
    (
        "IssueControlToken",
        True,
        pb.IssueControlTokenResponse(control_token=TOKEN, card_id=CARD_ID, expire_time=STAMP),
        ControlToken(token=TOKEN, card_id=CARD_ID, expires_at=TIME),
        lambda v: v.cards.issue_control_token(CARD_ID, "REVEAL_PIN"),
    ),
    (
        "GetControlToken",
        True,
        pb.GetControlTokenResponse(
            card_id=CARD_ID, type=pb.CONTROL_TOKEN_TYPE_REVEAL_PIN, expire_time=STAMP
        ),
        ControlTokenUse(card_id=CARD_ID, kind="REVEAL_PIN", expires_at=TIME),
        lambda v: v.cards.get_control_token(TOKEN),
    ),
    (
        "ReissuePin",
        False,
        pb.ReissuePinResponse(
            card_id=CARD_ID,
            set_time=STAMP,
            envelope="e" * 200,
            verification_value=resources_pb2.VerificationValue(
                ibm_3624_offset=resources_pb2.Ibm3624Offset(
                    scheme=resources_pb2.Ibm3624Scheme(name="ibm"), offset="4821"
                )
            ),
            target_key=KEY,
            stored_keys=[KEY],
        ),
        IssuedPin(
            card_id=CARD_ID,
            set_at=TIME,
            envelope="e" * 200,
            value=Ibm3624Offset(scheme="ibm", value="4821"),
            target_key=USED[0],
            stored_keys=USED,
        ),
        lambda v: v.cards.reissue_pin(CARD_ID, profile="interswitch"),
    ),
    (
        "SetPin",
        True,
        pb.SetPinResponse(**PLACED),
        A_PLACED_PIN,
        lambda v: v.cards.set_pin(CARD_ID, new_pin=NEW),
    ),
    (
        "SetPin",
        True,
        pb.SetPinResponse(**PLACED),
        A_PLACED_PIN,
        lambda v: v.cards.set_pin(control_token=TOKEN, new_pin=NEW),
    ),
    (
        "ChangePin",
        True,
        pb.ChangePinResponse(**JUDGED, set_time=STAMP),
        VERDICT,
        lambda v: v.cards.change_pin(CARD_ID, current_pin=CURRENT, new_pin=NEW),
    ),
    (
        "ResetPin",
        True,
        pb.ResetPinResponse(**PLACED),
        A_PLACED_PIN,
        lambda v: v.cards.reset_pin(CARD_ID, new_pin=NEW),
    ),
    (
        "CheckPin",
        True,
        pb.CheckPinResponse(
            result=resources_pb2.PIN_VERIFICATION_MISMATCH,
            blocked=True,
            source_keys=[KEY],
            stored_keys=[KEY],
        ),
        PinVerdict(
            matches=False,
            tries_left=0,
            blocked=True,
            set_at=None,
            source_keys=USED,
            stored_keys=USED,
        ),
        lambda v: v.cards.check_pin(CARD_ID, CURRENT),
    ),
    (
        "RevealPin",
        False,
        pb.RevealPinResponse(card_id=CARD_ID, envelope="e" * 200, stored_key=KEY),
        RevealedPin(card_id=CARD_ID, envelope="e" * 200, stored_key=USED[0]),
        lambda v: v.cards.reveal_pin(TOKEN, key=REVEAL_KEY, verified_by="LOGIN"),
    ),
    (
        "UnblockPin",
        True,
        pb.UnblockPinResponse(card=CARD),
        TOLD,
        lambda v: v.cards.unblock_pin(CARD_ID),
    ),
    (
        "CreatePinSession",
        True,
        pb.CreatePinSessionResponse(
            session_id=SESSION, session_secret=SECRET, card_id=CARD_ID, expire_time=STAMP
        ),
        CreatedSession(session_id=SESSION, secret=SECRET, card_id=CARD_ID, expires_at=TIME),
        lambda v: v.cards.create_session(CARD_ID, "CHANGE", origin=ORIGIN),
    ),
    (
        "OpenPinSession",
        False,
        pb.OpenPinSessionResponse(
            page_secret=SECRET,
            card_id=CARD_ID,
            last_four="4567",
            action=pb.PIN_SESSION_ACTION_CHANGE,
            min_pin_length=4,
            max_pin_length=6,
            origin=ORIGIN,
            expire_time=STAMP,
        ),
        OpenedSession(
            page_secret=SECRET,
            card_id=CARD_ID,
            last_four="4567",
            action="CHANGE",
            min_pin_length=4,
            max_pin_length=6,
            origin=ORIGIN,
            expires_at=TIME,
        ),
        lambda v: v.cards.open_session(SESSION, secret=SECRET),
    ),
    (
        "SubmitPin",
        False,
        pb.SubmitPinResponse(**JUDGED, set_time=STAMP),
        VERDICT,
        lambda v: v.cards.submit_pin(SESSION, page_secret=SECRET, new_pin=NEW, current_pin=CURRENT),
    ),
)
IDS = [f"{verb} {number}" for number, (verb, *_) in enumerate(CALLS)]


@pytest.mark.parametrize(("verb", "repeatable", "reply", "answer", "call"), CALLS, ids=IDS)
def test_each_verb_asks_by_the_contract_and_tells_what_it_is_told(
    verb: str, repeatable: bool, reply: object, answer: object, call: Callable[[Vault], object]
) -> None:
    server = Server(reply)
    assert call(vault(server)) == answer
    [(path, request)] = server.asked
    assert path == f"CardPinService/{verb}"
    assert Validator().collect_violations(request) == []
    for secret in (PAN, TOKEN, SECRET, "e" * 200):
        assert secret not in repr(answer)


@pytest.mark.parametrize(("verb", "repeatable", "reply", "answer", "call"), CALLS, ids=IDS)
def test_what_is_safe_is_said_again_word_for_word_while_the_server_is_away(
    verb: str, repeatable: bool, reply: object, answer: object, call: Callable[[Vault], object]
) -> None:
    server = Server(Away(), reply)
    if repeatable:
        assert call(vault(server)) == answer
        first, second = requests(server)
        assert first == second
    else:
        with pytest.raises(PinvaultError):
            call(vault(server))
        assert len(server.asked) == 1


def test_a_request_has_an_id_of_its_own_unless_the_caller_gives_one() -> None:
    server = Server(*[pb.CheckPinResponse()] * 3)
    connected = vault(server)
    connected.cards.check_pin(CARD_ID, CURRENT)
    connected.cards.check_pin(CARD_ID, CURRENT)
    connected.cards.check_pin(CARD_ID, CURRENT, request_id="mine")
    one, other, mine = (request.request_id for request in requests(server))
    assert uuid.UUID(one) != uuid.UUID(other)
    assert mine == "mine"


def test_a_card_is_named_in_three_ways() -> None:
    server = Server(*[pb.GetCardResponse()] * 4)
    connected = vault(server)
    for card in (
        CARD_ID,
        ExternalId(program="debit", external_id="icrd_1"),
        CardNumber(pan=PAN),
        CardNumber(pan=PAN, sequence_number="01"),
    ):
        connected.cards.get(card)
        assert PAN not in repr(card)
    external = pb.CardExternalId(program="debit", external_id="icrd_1")
    assert [request.card for request in requests(server)] == [
        pb.CardSelector(card_id=CARD_ID),
        pb.CardSelector(external=external),
        pb.CardSelector(number=pb.CardNumber(pan=PAN)),
        pb.CardSelector(number=pb.CardNumber(pan=PAN, pan_sequence_number="01")),
    ]


def test_a_token_names_its_card_so_only_one_of_them_is_given() -> None:
    server = Server()
    with pytest.raises(ValueError, match="one of them"):
        vault(server).cards.set_pin(CARD_ID, control_token=TOKEN, new_pin=NEW)
    assert server.asked == []


def test_a_set_pin_may_still_be_blocked() -> None:
    server = Server(pb.SetPinResponse(**PLACED, blocked=True))
    assert vault(server).cards.set_pin(CARD_ID, new_pin=NEW).blocked


def test_what_an_answer_does_not_have_is_none() -> None:
    bare = pb.Card(card_id=CARD_ID, status=pb.CARD_STATUS_ACTIVE, create_time=STAMP)
    server = Server(pb.GetCardResponse(card=bare), pb.ChangePinResponse())
    card = vault(server).cards.get(CARD_ID)
    assert (card.pin, card.external_id, card.status) == (None, None, "ACTIVE")
    verdict = vault(server).cards.change_pin(CARD_ID, current_pin=CURRENT, new_pin=NEW)
    assert not verdict
    assert verdict.set_at is None

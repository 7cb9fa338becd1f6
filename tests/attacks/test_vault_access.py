"""Attack: call CardPinService with a valid certificate and somebody else's card, token or session.

What is not the caller's has the face of what is not there: code, text and details to the byte, the
same steps in the store, and no call of the HSM. What an answer tells all the same is held here too.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import Message

from pinvault.model.cards import ById, CardStatus, SessionAction, TokenKind
from pinvault.model.errors import Reason
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.policy.limits import Rate
from pinvault.store import upgrade
from pinvault.v1 import card_pin_pb2 as pb
from tests.support.served_vault import METHODS, ServedVault, by_id, recipient_key, source
from tests.support.vault import (
    CALLER,
    ORIGIN,
    OTHER_PAN,
    PAN,
    STRANGER,
    Recipient,
    Vault,
    call,
    reason_of,
    rows,
)

PIN = "7392"
NOBODY = "card_" + "g" * 26
NO_TOKEN = "0f4cd42a-4f0e-4a63-9d5b-6f5f5c1f7c11"
NO_SECRET = "s" * 43
NUMBERS = itertools.count(10)
"""Sequence numbers of cards that share a PAN."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVault]:
    folder = tmp_path_factory.mktemp("vault")
    address = f"sqlite:///{folder}/store.db"
    upgrade(address)
    made = ServedVault(address, folder)
    yield made
    made.vault.close()


@pytest.fixture(scope="module")
def foreign(served: ServedVault) -> str:
    """A card of a program that CALLER may not use, with a PIN."""
    foreign = {"program": "other", "pan": OTHER_PAN, "caller": STRANGER, "external_id": "theirs"}
    return served.vault.add_with_pin(PIN, **foreign).card_id


def asked(served: ServedVault, method: str, request: Message, caller: str = CALLER) -> Any:
    """All that a call tells: its face, the steps it takes, and its work for the HSM."""
    served.vault.faults.reset()
    told = served.ask(method, request, caller)
    return told.reason, told.face, tuple(served.vault.faults.steps), told.hsm


# Cards


def requests(served: ServedVault, card: pb.CardSelector) -> dict[str, Message]:
    """A request of each method that names a card."""
    block = source(served.vault.block(PIN))
    return {
        "GetCard": pb.GetCardRequest(card=card),
        "SetCardStatus": pb.SetCardStatusRequest(card=card, status=pb.CARD_STATUS_CLOSED),
        "IssueControlToken": pb.IssueControlTokenRequest(
            card=card, type=pb.CONTROL_TOKEN_TYPE_REVEAL_PIN
        ),
        "SetPin": pb.SetPinRequest(card=card, new_source=block),
        "ChangePin": pb.ChangePinRequest(card=card, current_source=block, new_source=block),
        "ResetPin": pb.ResetPinRequest(card=card, new_source=block),
        "ReissuePin": pb.ReissuePinRequest(card=card, profile="partner"),
        "CheckPin": pb.CheckPinRequest(card=card, source=block),
        "UnblockPin": pb.UnblockPinRequest(card=card),
        "CreatePinSession": pb.CreatePinSessionRequest(
            card=card, action=pb.PIN_SESSION_ACTION_RESET, origin=ORIGIN
        ),
    }


def test_every_method_that_names_a_card_is_asked(served: ServedVault) -> None:
    others = {"RegisterCard", "GetControlToken", "RevealPin", "OpenPinSession", "SubmitPin"}
    assert requests(served, by_id(NOBODY)).keys() | others == METHODS.keys()


@pytest.mark.parametrize("by", ["id", "external id", "number"])
def test_a_foreign_card_has_the_face_of_none(served: ServedVault, foreign: str, by: str) -> None:
    theirs, nobodys = {
        "id": (by_id(foreign), by_id(NOBODY)),
        "external id": tuple(
            pb.CardSelector(external=pb.CardExternalId(program="other", external_id=each))
            for each in ("theirs", "nobodys")
        ),
        "number": tuple(
            pb.CardSelector(number=pb.CardNumber(pan=each))
            for each in (OTHER_PAN, "4111111111111111")
        ),
    }[by]
    for method, request in requests(served, theirs).items():
        told = asked(served, method, request)
        assert told == asked(served, method, requests(served, nobodys)[method])
        reason, _, steps, hsm = told
        assert (reason, steps, hsm) == ("CARD_UNKNOWN", ("read",), ())


def test_a_stored_pin_of_a_foreign_card_has_the_face_of_none(
    served: ServedVault, foreign: str
) -> None:
    mine = served.vault.add("4111111111111111", program="credit").card_id
    told = [
        asked(served, "SetPin", pb.SetPinRequest(card=by_id(mine), new_source=source(each)))
        for each in (foreign, NOBODY)
    ]
    assert told[0] == told[1]
    assert (told[0][0], told[0][3]) == ("CARD_UNKNOWN", ())


def test_a_right_to_one_method_is_none_to_another(make_vault: Callable[..., Vault]) -> None:
    of = ("CardPinService.RegisterCard", "CardPinService.CheckPin")
    split = tuple(row for row in rows(CALLER, "debit") if row.method in of)
    vault = make_vault(grants=split)
    mine = vault.add().card_id
    assert reason_of(lambda: vault.places(mine, PIN)) is Reason.METHOD_NOT_GRANTED
    assert reason_of(lambda: vault.card(mine)) is Reason.METHOD_NOT_GRANTED
    assert reason_of(lambda: vault.checks(mine, PIN)) is Reason.PIN_NOT_SET
    assert reason_of(lambda: vault.add(program="credit")) is Reason.PROGRAM_NOT_GRANTED


@pytest.mark.parametrize("name", ["pin-reference", "pin-reveal", "pan-store"])
def test_no_source_is_opened_by_a_key_of_the_store(served: ServedVault, name: str) -> None:
    """A stored block that is shown to CheckPin would prove its own PIN."""
    mine = served.vault.add(program="credit", sequence_number=str(next(NUMBERS))).card_id
    shown = replace(served.vault.block(PIN), key=f"{name}/1")
    for method, field in (("CheckPin", "source"), ("SetPin", "new_source")):
        request = getattr(pb, f"{method}Request")(card=by_id(mine), **{field: source(shown)})
        reason, _, _, hsm = asked(served, method, request)
        assert (reason, hsm) == ("KEY_USAGE_MISMATCH", ())


# Tokens


def token(vault: Vault, card_id: str, kind: TokenKind, caller: str = CALLER) -> str:
    return vault.issue(call("IssueControlToken", caller), card=ById(card_id), kind=kind).token


def test_a_token_that_is_no_good_has_one_face(served: ServedVault, foreign: str) -> None:
    """Another's, of another kind, older, used, expired, or none at all."""
    vault = served.vault
    mine = vault.add_with_pin(PIN, program="prepaid", sequence_number=str(next(NUMBERS))).card_id
    theirs = token(vault, foreign, TokenKind.SET_PIN, STRANGER)
    revealing = token(vault, mine, TokenKind.REVEAL_PIN)
    older = token(vault, mine, TokenKind.SET_PIN)
    used = token(vault, mine, TokenKind.SET_PIN)
    vault.redeems(used)
    expired = token(vault, mine, TokenKind.SET_PIN)
    block = source(vault.block(PIN))
    for each in (theirs, revealing, older, used, NO_TOKEN):
        request = pb.SetPinRequest(control_token=each, new_source=block)
        assert told_of_none(served, "SetPin", block) == asked(served, "SetPin", request)
    vault.clock.now += 3601
    request = pb.SetPinRequest(control_token=expired, new_source=block)
    assert told_of_none(served, "SetPin", block) == asked(served, "SetPin", request)
    vault.clock.now -= 3601


def test_a_token_that_is_looked_at_is_the_callers_own(served: ServedVault) -> None:
    vault = served.vault
    mine = vault.add_with_pin(PIN, program="prepaid", sequence_number=str(next(NUMBERS))).card_id
    good = token(vault, mine, TokenKind.SET_PIN)
    faces = {
        asked(served, "GetControlToken", pb.GetControlTokenRequest(control_token=each), caller)
        for each, caller in ((good, STRANGER), (NO_TOKEN, CALLER), (NO_TOKEN, STRANGER))
    }
    assert len(faces) == 1
    assert next(iter(faces))[0] == "CONTROL_TOKEN_REFUSED"
    assert vault.redeems(good)


def told_of_none(served: ServedVault, method: str, block: Any) -> Any:
    return asked(served, method, pb.SetPinRequest(control_token=NO_TOKEN, new_source=block))


def test_a_token_to_set_reveals_nothing_and_another_callers_neither(served: ServedVault) -> None:
    vault = served.vault
    mine = vault.add_with_pin(PIN, program="prepaid", sequence_number=str(next(NUMBERS))).card_id
    setting = token(vault, mine, TokenKind.SET_PIN)
    to_reveal = token(vault, mine, TokenKind.REVEAL_PIN)
    faces = set()
    for each, caller in ((setting, CALLER), (to_reveal, STRANGER), (NO_TOKEN, CALLER)):
        request = pb.RevealPinRequest(
            control_token=each,
            cardholder_verification_method=pb.CARDHOLDER_VERIFICATION_METHOD_OTP,
            recipient_key=recipient_key(Recipient()),
        )
        faces.add(asked(served, "RevealPin", request, caller))
    assert len(faces) == 1
    assert next(iter(faces))[0] == "CONTROL_TOKEN_REFUSED"


WRONG_POINTS = {
    "off the curve": lambda good: good[:-1] + bytes([good[-1] ^ 1]),
    "at infinity, as zeros": lambda _: b"\x04" + bytes(64),
    "beyond the field": lambda good: b"\x04" + b"\xff" * 32 + good[33:],
    "of a twist": lambda good: b"\x04" + (1).to_bytes(32) + good[33:],
    "of P-256K": lambda _: bytes.fromhex(
        "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
        "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
    ),
}


@pytest.mark.parametrize("point", WRONG_POINTS)
def test_no_point_off_the_curve_is_agreed_with(served: ServedVault, point: str) -> None:
    to = Recipient()
    to.point = WRONG_POINTS[point](to.point)
    request = pb.RevealPinRequest(
        control_token=NO_TOKEN,
        cardholder_verification_method=pb.CARDHOLDER_VERIFICATION_METHOD_OTP,
        recipient_key=recipient_key(to),
    )
    reason, _, steps, hsm = asked(served, "RevealPin", request)
    assert (reason, steps, hsm) == ("RECIPIENT_KEY_REFUSED", (), ())


# Sessions


def page(served: ServedVault, card_id: str, action: SessionAction) -> dict[str, str]:
    made = served.vault.create_session(
        call("CreatePinSession"), card=ById(card_id), action=action, origin=ORIGIN
    )
    opened = served.vault.open_session(
        call("OpenPinSession"), session_id=made.session_id, secret=made.secret
    )
    return {"session_id": made.session_id, "page_secret": opened.page_secret}


def test_a_session_that_is_no_good_has_one_face(served: ServedVault, foreign: str) -> None:
    """Another's, another's secret, one that was used, and none at all."""
    vault, block = served.vault, source(served.vault.block(PIN))
    mine = vault.add_with_pin(PIN, program="credit", sequence_number=str(next(NUMBERS))).card_id
    one, other = (page(served, mine, SessionAction.RESET) for _ in range(2))
    used = page(served, mine, SessionAction.RESET)
    served.ask("SubmitPin", pb.SubmitPinRequest(**used, new_source=block))
    theirs = vault.create_session(
        call("CreatePinSession", STRANGER),
        card=ById(foreign),
        action=SessionAction.RESET,
        origin=ORIGIN,
    )
    faces = {
        asked(served, "SubmitPin", pb.SubmitPinRequest(**each, new_source=block))
        for each in (
            used,
            {"session_id": theirs.session_id, "page_secret": theirs.secret},
            {"session_id": "i" * 24, "page_secret": NO_SECRET},
        )
    }
    assert len(faces) == 1
    crossed = one | {"page_secret": other["page_secret"]}
    for wrong in (crossed, one | {"page_secret": NO_SECRET}):
        told = asked(served, "SubmitPin", pb.SubmitPinRequest(**wrong, new_source=block))
        assert told[:2] == next(iter(faces))[:2]


ORIGINS = (
    f"{ORIGIN}.evil.com",
    ORIGIN.replace("https", "http"),
    f"{ORIGIN}:443",
    ORIGIN.replace("cards", "cards2"),
    "https://example.org",
)


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_origin_is_the_programs_own_to_the_letter(served: ServedVault, origin: str) -> None:
    mine = served.vault.add(program="credit", sequence_number=str(next(NUMBERS)))
    request = pb.CreatePinSessionRequest(
        card=by_id(mine.card_id), action=pb.PIN_SESSION_ACTION_SET, origin=origin
    )
    assert served.ask("CreatePinSession", request).reason == "REQUEST_INVALID"


# What does not open


def bad_sources(vault: Vault, mine: str, other: str) -> dict[str, Any]:
    """Sources that are refused once they are opened, or cannot be."""
    block = vault.block(PIN)
    return {
        "a block of chance": replace(block, ciphertext=bytes(range(16))),
        "a block for another PAN": replace(vault.block(PIN, pan=OTHER_PAN), pan=Pan(PAN)),
        "an envelope of chance": replace(
            vault.envelope(PIN, card=mine), ciphertext=b".".join([b"e30a" * 20] * 5)
        ),
        "an envelope for another card": vault.envelope(PIN, card=other),
        "an envelope for a PAN": replace(vault.envelope(PIN, pan=PAN), profile="sealed-card"),
        "an envelope for another PAN": vault.envelope(PIN, pan=OTHER_PAN),
        "a PIN that is too long": vault.block("73914820"),
    }


def test_what_does_not_open_has_one_face_and_one_way_through_the_store(
    served: ServedVault, foreign: str
) -> None:
    """And costs no try, so that it is told apart from a wrong PIN, which nobody can steer to."""
    vault = served.vault
    mine = vault.add_with_pin(PIN, program="credit", sequence_number=str(next(NUMBERS))).card_id
    told = set()
    for bad in bad_sources(vault, mine, foreign).values():
        request = pb.CheckPinRequest(card=by_id(mine), source=source(bad))
        reason, face, steps, _ = asked(served, "CheckPin", request)
        told.add((reason, face, tuple(step for step in steps if step in ("read", "write"))))
    assert len(told) == 1
    assert next(iter(told))[0] == "PIN_SOURCE_REFUSED"
    assert vault.card(mine).pin.tries_left == 3


def test_no_refusal_tells_the_current_pin(served: ServedVault) -> None:
    """PIN_WEAK is of the new PIN alone: of one that is the current, SetPin and ResetPin are silent.

    ChangePin says it after the right current PIN alone, when it would have said that anyway.
    """
    vault = served.vault
    mine = vault.add_with_pin(PIN, program="credit", sequence_number=str(next(NUMBERS))).card_id
    for method in ("SetPin", "ResetPin"):
        for digits in (PIN, "8264", PIN):
            block = source(vault.block(digits))
            request = getattr(pb, f"{method}Request")(card=by_id(mine), new_source=block)
            assert served.ask(method, request).reason == "OK"
    wrong = {"current_source": source(vault.block("8264"))}
    for digits in (PIN, "1234", "8264"):
        request = pb.ChangePinRequest(
            card=by_id(mine), new_source=source(vault.block(digits)), **wrong
        )
        answer = pb.ChangePinResponse.FromString(served.ask("ChangePin", request).answer)
        assert answer.result == 2, "a mismatch, whatever the new PIN is"
        vault.unblock(call("UnblockPin"), card=ById(mine))


# What is told all the same


def test_a_recorded_right_block_gives_tries_back_until_the_rate_ends(
    make_vault: Callable[..., Vault],
) -> None:
    """A PIN block is good as often as it is shown, unlike an envelope: guesses go between."""
    rate = Rate(count=8, period_s=3600, burst=8)
    vault = make_vault(grants=rows(CALLER, "credit", per_pan=rate))
    mine, recorded = vault.add_with_pin(PIN, program="credit").card_id, vault.block(PIN)
    seen: list[object] = []
    for number in range(20):
        given = recorded if number % 3 == 2 else vault.block(f"25{number:02}")

        def check(given: Any = given) -> bool:
            return vault.check(call("CheckPin"), card=ById(mine), source=given).matches

        try:
            seen.append(check())
        except Exception:  # noqa: BLE001 - looked at below
            assert reason_of(check) is Reason.PAN_RATE_EXCEEDED
            break
    assert seen[:6] == [False, False, True, False, False, True]
    assert len(seen) < 10


def test_an_envelope_gives_tries_back_once(vault: Vault) -> None:
    mine = vault.add_with_pin(PIN, program="credit").card_id
    sealed = vault.envelope(PIN, card=mine)
    vault.checks(mine, "2580")
    assert vault.check(call("CheckPin"), card=ById(mine), source=sealed).matches
    vault.checks(mine, "2580")
    again = {"card": ById(mine), "source": sealed}
    assert reason_of(lambda: vault.check(call("CheckPin"), **again)) is Reason.ENVELOPE_REPLAYED
    assert vault.card(mine).pin.tries_left == 2


def test_registering_tells_that_a_pan_is_a_card_of_some_program(vault: Vault) -> None:
    """A PAN and sequence number are one card: who may register can ask whether there is one."""
    vault.add(OTHER_PAN, program="other", caller=STRANGER)
    assert reason_of(lambda: vault.add(OTHER_PAN)) is Reason.CARD_ALREADY_EXISTS
    assert vault.add(OTHER_PAN, sequence_number="01")


def test_the_status_is_told_before_the_source_is_granted(vault: Vault) -> None:
    """To who has leave for method and program: and to nobody else."""
    mine = vault.add(status=CardStatus.SUSPENDED).card_id
    shown = replace(vault.block(PIN, form=Format.ISO_4), key="zpk/1")
    made = call("CheckPin")
    assert reason_of(lambda: vault.check(made, card=ById(mine), source=shown)) is Reason.CARD_STATUS
    foreign = call("CheckPin", STRANGER)
    asked = {"card": ById(mine), "source": shown}
    assert reason_of(lambda: vault.check(foreign, **asked)) is Reason.CARD_UNKNOWN

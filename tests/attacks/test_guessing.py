"""Attack: let the service say yes or no until it says yes: tries of a PIN, by every verb there is.

All that tells of a card's PIN draws on one account for each caller: ten in an hour, whatever the
verb, however the PAN is spelled, and after the process has been started again.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.message import Message

from pinvault.model.pins import Format
from pinvault.policy.limits import parse_rate
from pinvault.v1 import resources_pb2 as rs
from tests.support.attack import (
    OTHER_PAN,
    PAN,
    Attacker,
    attacker,
    change,
    encrypt,
    generate_value,
    matches,
    offset,
    pb,
    pvv,
    seen,
    to,
    translate,
    verify,
)
from tests.support.core import Setting

LIMIT = 10
LIMITED = Setting(per_pan=parse_rate(f"{LIMIT}/h"))

Guess = Callable[[Attacker, int, str], Message]


def target(pan: str) -> rs.PinTarget:
    return rs.PinTarget(pin_block=to(pan))


GUESSES: dict[str, tuple[str, Guess]] = {
    "PVV": ("VerifyPin", lambda who, n, pan: verify(stolen(who, pan), pvv(f"{n:04}"), pan)),
    "offset": ("VerifyPin", lambda who, n, pan: verify(stolen(who, pan), offset(f"{n:04}"), pan)),
    "PIN": ("VerifyPin", lambda who, n, pan: verify(who.sealed(f"{n:04}", pan), pvv("7392"), pan)),
    "PIN and block": (
        "VerifyPin",
        lambda who, n, pan: verify(who.sealed(f"{n:04}", pan), stolen(who, pan), pan),
    ),
    "book of blocks": (
        "EncryptPin",
        lambda who, n, pan: encrypt(who.sealed(f"{n:04}", pan), to(pan)),
    ),
    "other PANs": ("TranslatePin", lambda who, _, pan: translate(stolen(who, pan), to(pan))),
    "book of PVVs": (
        "GenerateVerificationValue",
        lambda who, n, pan: generate_value(who.sealed(f"{n:04}", pan), "visa", pan),
    ),
    "change": (
        "ChangeVerificationValue",
        lambda who, n, pan: change(
            who.sealed(f"{n:04}", pan), who.sealed("4831", pan), pvv("7392"), pan
        ),
    ),
    "natural PIN": (
        "GeneratePin",
        lambda _, __, pan: pb.GeneratePinRequest(
            pan=pan, ibm_3624_natural=rs.Ibm3624Scheme(name="ibm"), target=target(pan)
        ),
    ),
    "PIN of an offset": (
        "GeneratePin",
        lambda _, n, pan: pb.GeneratePinRequest(
            pan=pan, ibm_3624_offset=offset(f"{n:04}").ibm_3624_offset, target=target(pan)
        ),
    ),
    "script": (
        "EncryptPinChangeScript",
        lambda who, n, pan: pb.EncryptPinChangeScriptRequest(
            script="chip",
            pan=pan,
            application_cryptogram=bytes(8),
            message_data=bytes.fromhex("8424000210"),
            new_source=who.sealed(f"{n:04}", pan),
        ),
    ),
}
ways = pytest.mark.parametrize("way", GUESSES)


def stolen(who: Attacker, pan: str) -> rs.PinBlockSource:
    return who.block("7392", pan=pan, form=Format.ISO_0, under="zpk")


def guess(who: Attacker, way: str, number: int, pan: str = PAN) -> tuple[str, bool]:
    """Make one guess; give its reason, and whether the HSM was asked."""
    verb, request = GUESSES[way]
    told = who.ask(verb, request(who, number, pan))
    return told.reason, bool(told.hsm)


@ways
def test_guesses_end_at_the_rate_and_other_cards_go_on(tmp_path: Path, way: str) -> None:
    who = attacker(tmp_path, LIMITED)
    told = [guess(who, way, number) for number in range(3 * LIMIT)]
    assert told[:LIMIT] == [("OK", True)] * LIMIT
    assert told[LIMIT:] == [("PAN_RATE_EXCEEDED", False)] * (2 * LIMIT)
    assert guess(who, way, 0, OTHER_PAN) == ("OK", True)


def test_without_a_rate_a_pvv_is_found(tmp_path: Path) -> None:
    """The oracle is real: the same calls, no rate, and the block's PVV stands after some tries."""
    who = attacker(tmp_path)
    made = who.ask("GenerateVerificationValue", generate_value(who.sealed("7392"), "visa"))
    value = pb.GenerateVerificationValueResponse.FromString(made.answer).verification_value
    right = int(value.visa_pvv.pvv)
    verb, request = GUESSES["PVV"]
    found = [
        number
        for number in range(max(0, right - 50), right + 1)
        if matches(who.ask(verb, request(who, number, PAN)))
    ]
    assert found == [right]


def test_two_thousand_pvvs_against_one_block(tmp_path: Path) -> None:
    """Ten in the first hour; whoever goes on asking learns nothing more."""
    who = attacker(tmp_path, LIMITED)
    verb, block = "VerifyPin", stolen(who, PAN)
    request = verify(block, pvv("0000"))
    answered = 0
    for number in range(2_000):
        request.verification_value.visa_pvv.pvv = f"{number:04}"
        answered += who.ask(verb, request).reason == "OK"
    assert answered == LIMIT


def test_all_verbs_draw_on_one_account(tmp_path: Path) -> None:
    who = attacker(tmp_path, LIMITED)
    first = [guess(who, way, number)[0] for number, way in zip(range(LIMIT), GUESSES, strict=False)]
    assert first == ["OK"] * LIMIT
    for way in GUESSES:
        assert guess(who, way, 0) == ("PAN_RATE_EXCEEDED", False)


@ways
def test_a_card_spelled_otherwise_is_the_same_account(tmp_path: Path, way: str) -> None:
    """Another prefix or check digit, more or fewer digits, other digits over the PIN's."""
    who = attacker(tmp_path, LIMITED)
    spellings = (
        *(f"{digit}{PAN[1:]}" for digit in "5678"),
        *(f"{PAN[:15]}{digit}" for digit in "1234"),
        *(f"{PAN[:3]}{digit}{PAN[4:]}" for digit in "1234"),
        *(f"999{PAN}", PAN[1:], PAN[2:], PAN[4:]),
    )
    for number in range(LIMIT):
        assert guess(who, way, number, spellings[number]) == ("OK", True)
    for pan in (PAN, *spellings):
        assert guess(who, way, 0, pan) == ("PAN_RATE_EXCEEDED", False)


def test_the_account_outlives_the_process(tmp_path: Path) -> None:
    who = attacker(tmp_path, LIMITED)
    for number in range(LIMIT):
        assert guess(who, "PIN", number) == ("OK", True)
    again = attacker(tmp_path, LIMITED, zone_keys=who.core.zone_keys)
    for way in GUESSES:
        assert guess(again, way, 0) == ("PAN_RATE_EXCEEDED", False)
    assert guess(again, "PIN", 0, OTHER_PAN) == ("OK", True)


def test_a_refused_source_is_a_try_as_well(tmp_path: Path) -> None:
    who = attacker(tmp_path, LIMITED)
    garbage = verify(seen(bytes(8)), pvv("0000"))
    told = [who.ask("VerifyPin", garbage).reason for _ in range(2 * LIMIT)]
    assert told == ["PIN_SOURCE_REFUSED"] * LIMIT + ["PAN_RATE_EXCEEDED"] * LIMIT

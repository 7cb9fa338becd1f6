"""Attack: change a PIN, or learn of one, without knowing the current PIN.

A change verifies the current PIN and makes what stands for the new one, or neither. With a wrong
current PIN nothing is made or said of the new one: no field, no call of the HSM, not whether it
is weak. That a new PIN is weak is said without the rule that it broke.
"""

import random
from pathlib import Path

import pytest

from pinvault.model.pin_rules import PinRules
from pinvault.model.pins import Format
from pinvault.policy.translation import Permission
from pinvault.v1 import resources_pb2 as rs
from tests.support.attack import (
    PAN,
    Attacker,
    Told,
    attacker,
    change,
    generate_value,
    offset,
    pb,
    to,
)
from tests.support.core import Setting, draw_keys

CURRENT, WRONG, NEW = "7392", "7393", "4831"
RULES = PinRules(name="cards", refuse_mostly_repeated=True, excluded=frozenset({"2580"}))
# A PIN that breaks each rule, and no other.
WEAK = {
    "repeated": "7777",
    "mostly repeated": "7707",
    "sequential": "4567",
    "date": "3012",
    "current": CURRENT,
    "excluded": "2580",
}
REFERENCES = ["pvv", "offset", "block 0", "block 3", "block 4"]
references = pytest.mark.parametrize("reference", REFERENCES)


@pytest.fixture
def someone(tmp_path: Path) -> Attacker:
    """Its keys come of a seed: one wrong PIN in 10,000 has the right PVV, and none of these."""
    keys = draw_keys(random.Random("change of PIN").randbytes)
    leave = frozenset({Permission.CHOSEN_PIN_TO_OFFSET})
    return attacker(tmp_path, Setting(pin_rules=RULES, translations=leave), zone_keys=keys)


def stored(someone: Attacker, reference: str) -> object:
    """Give what an issuer keeps of the current PIN."""
    if reference.startswith("block"):
        form = Format(f"ISO_{reference[-1]}")
        under = "zpk-aes" if form is Format.ISO_4 else "zpk"
        return someone.block(CURRENT, form=form, under=under), to(form=form, under=under)
    scheme = {"pvv": "visa", "offset": "ibm"}[reference]
    made = someone.ask("GenerateVerificationValue", generate_value(someone.sealed(CURRENT), scheme))
    return pb.GenerateVerificationValueResponse.FromString(made.answer).verification_value


def attempt(someone: Attacker, known: object, current: str, new: str) -> Told:
    request = change(someone.sealed(current), someone.sealed(new), known)
    return someone.ask("ChangeVerificationValue", request)


def read(told: Told) -> pb.ChangeVerificationValueResponse:
    assert told.reason == "OK"
    return pb.ChangeVerificationValueResponse.FromString(told.answer)


@references
def test_a_change_with_the_right_pin_is_made(someone: Attacker, reference: str) -> None:
    """Else the other tests would say nothing."""
    told = attempt(someone, stored(someone, reference), CURRENT, NEW)
    assert read(told).result == rs.PIN_VERIFICATION_MATCH
    assert read(told).WhichOneof("new_reference") is not None


@references
def test_with_a_wrong_pin_nothing_is_made_of_the_new_one(someone: Attacker, reference: str) -> None:
    known = stored(someone, reference)
    right = dict(attempt(someone, known, CURRENT, NEW).hsm)
    wrong = attempt(someone, known, WRONG, NEW)
    assert read(wrong).result == rs.PIN_VERIFICATION_MISMATCH
    assert read(wrong).WhichOneof("new_reference") is None
    # To verify by a value is one encipherment; to make another, or a block, would be more.
    to_verify = 0 if reference.startswith("block") else 1
    assert dict(wrong.hsm).get("encipher", 0) == to_verify < right["encipher"]
    assert "random" not in dict(wrong.hsm)


@references
def test_with_a_wrong_pin_a_weak_new_one_and_a_strong_one_look_alike(
    someone: Attacker, reference: str
) -> None:
    known = stored(someone, reference)
    told = [attempt(someone, known, WRONG, new) for new in (NEW, WRONG, *WEAK.values())]
    assert len({(each.answer, each.face, each.hsm) for each in told}) == 1


@references
def test_a_weak_pin_is_refused_without_the_rule_that_it_broke(
    someone: Attacker, reference: str
) -> None:
    known = stored(someone, reference)
    told = [attempt(someone, known, CURRENT, new) for new in WEAK.values()]
    assert {each.reason for each in told} == {"PIN_WEAK"}
    assert len({(each.face, each.hsm) for each in told}) == 1


def test_elsewhere_too_weak_is_weak(someone: Attacker) -> None:
    """Of a PIN that its owner has chosen; there is no current one to speak of."""
    told = [
        someone.ask("GenerateVerificationValue", generate_value(someone.sealed(weak), scheme))
        for name, weak in WEAK.items()
        if name != "current"
        for scheme in ("visa", "ibm")
    ]
    assert {each.reason for each in told} == {"PIN_WEAK"}
    assert len({(each.face, each.hsm) for each in told}) == 1


def test_the_current_pin_is_no_better_for_being_weak(someone: Attacker) -> None:
    """Rules are for new PINs: of a current one they tell nothing."""
    known = stored(someone, "pvv")
    told = [
        attempt(someone, known, wrong, NEW)
        for wrong in (WRONG, *(weak for weak in WEAK.values() if weak != CURRENT))
    ]
    assert len({(each.answer, each.face, each.hsm) for each in told}) == 1


def test_a_broken_new_source_says_nothing_of_the_current_pin(someone: Attacker) -> None:
    """Both are opened before anything is compared."""
    known = stored(someone, "pvv")
    told = []
    for current in (CURRENT, WRONG):
        new = someone.sealed(NEW)
        new.envelope.ciphertext = new.envelope.ciphertext[:-4] + b"AAAA"
        request = change(someone.sealed(current), new, known)
        told.append(someone.ask("ChangeVerificationValue", request))
    assert {each.reason for each in told} == {"PIN_SOURCE_REFUSED"}
    assert len({(each.face, each.hsm) for each in told}) == 1


def test_the_old_value_is_not_taken_for_that_of_another_scheme(someone: Attacker) -> None:
    """An offset of five digits, where four are checked, is refused before the HSM."""
    told = attempt(someone, offset("00000"), CURRENT, NEW)
    assert (told.reason, told.hsm) == ("SCHEME_MISMATCH", ())
    assert PAN.encode() not in told.answer

"""GeneratePin: random PINs that are uniform and never weak, and those that offsets stand for."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from hsm.errors import HsmUnavailable
from pinvault.model.errors import Reason
from pinvault.model.keys import Algorithm
from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinBlockTarget, PinTarget
from pinvault.model.profiles import PinLength
from pinvault.model.references import SchemeRef, ValueRef
from pinvault.model.verification import PinOffset, Pvv
from pinvault.operations.generate_pin import GeneratedPin
from pinvault.policy.limits import Rate
from tests.unit.operations.bad_parts import BAD_TARGETS
from tests.unit.operations.bad_schemes import MAKES_NOTHING, NO_SCHEME
from tests.unit.operations.support import (
    EVERYTHING,
    OTHER_PAN,
    PAN,
    RULES,
    TDES_TRANSACTION,
    World,
    aes_transaction,
    call,
    ibm,
    offset_of,
    partner_reads,
    pin_of,
    pvv_of,
    refusal_of,
    to_block,
    to_partner,
    value,
    visa,
)

METHOD = "PinBlockService.GeneratePin"
VERIFY = "PinBlockService.VerifyPin"
TARGETS = {
    "ISO_0": (to_block(), "zpk/3"),
    "ISO_3": (to_block("zpk-e", Format.ISO_3), "zpk-e/1"),
    "ISO_4": (to_block("zpk-aes", Format.ISO_4), "zpk-aes/1"),
    "TDES DUKPT": (to_block("bdk", dukpt=TDES_TRANSACTION), "bdk/1"),
    "AES DUKPT": (
        to_block("bdk-256", Format.ISO_4, dukpt=aes_transaction(Algorithm.AES_256)),
        "bdk-256/1",
    ),
}


def generate(
    world: World,
    method: int | SchemeRef | ValueRef = 4,
    target: PinTarget | None = None,
    scheme: SchemeRef | None = None,
    made=None,
) -> GeneratedPin:
    return world.generate_pin(
        made or call(METHOD),
        pan=Pan(PAN),
        method=method,
        target=target or to_block(),
        scheme=scheme,
    )


def pin_in(world: World, made: GeneratedPin, target: PinBlockTarget | None = None) -> str:
    assert isinstance(made.result, bytes)
    return world.pin_in(made.result, target or to_block(), made.target_key.id)


def granting(directory: Path, **row: object) -> World:
    return World(directory, rows=tuple(replace(each, **row) for each in EVERYTHING))


# Random


@pytest.mark.parametrize(("target", "under"), TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("length", [4, 12])
def test_a_pin_is_as_long_as_asked(
    world: World, target: PinBlockTarget, under: str, length: int
) -> None:
    made = generate(world, length, target)
    assert len(pin_in(world, made, target)) == length
    assert (made.target_key.id, made.value, made.verification_keys) == (under, None, ())


def test_a_pin_goes_to_a_partner(world: World) -> None:
    assert len(partner_reads(str(generate(world, 6, to_partner()).result))) == 6


def test_the_digits_are_those_that_the_hsm_drew(world: World) -> None:
    world.device.draw = lambda length: bytes([255, 17, 3, 250, 249, 132, 8, 9])[:length]
    assert pin_in(world, generate(world)) == "7392"


def test_digits_are_uniform_in_every_place_and_pair(world: World) -> None:
    """Chi-square over what a seeded generator draws; the bounds are those of p = 0.0001."""
    world.device.draw = random.Random(9564).randbytes
    pins = [pin_in(world, generate(world)) for _ in range(1500)]
    for place in range(4):
        assert chi_square(Counter(pin[place] for pin in pins), 10) < 33.7  # 9 degrees
    pairs = Counter(pin[at : at + 2] for pin in pins for at in (0, 2))
    assert chi_square(pairs, 100) < 161.3  # 99 degrees


def chi_square(counts: Counter[str], kinds: int) -> float:
    expected = counts.total() / kinds
    missing = (kinds - len(counts)) * expected
    return missing + sum((n - expected) ** 2 / expected for n in counts.values())


def test_a_random_pin_is_never_weak(tmp_path: Path) -> None:
    world = granting(tmp_path, pin_rules=RULES)
    drawn = iter(
        [bytes([1, 1, 1, 1]), bytes([1, 2, 3, 4]), bytes([2, 5, 1, 2]), bytes([7, 3, 9, 2])]
    )
    world.device.draw = lambda length: next(drawn).ljust(length, b"\xff")
    assert pin_in(world, generate(world)) == "7392"
    assert world.device.calls["random"] == 4


def test_rules_that_allow_no_pin_end_in_a_refusal(tmp_path: Path) -> None:
    world = granting(tmp_path, pin_rules=replace(RULES, pin_length=PinLength(minimum=6)))
    refusal = refusal_of(lambda: generate(world, 4))
    assert (refusal.reason, refusal.field) == (Reason.PIN_WEAK, "")
    assert pin_in(world, generate(world, 6))


# Derived


@pytest.mark.parametrize(("name", "digits"), [("ibm", 4), ("ibm-6", 6)])
def test_the_natural_pin_is_that_of_the_card(world: World, name: str, digits: int) -> None:
    made = generate(world, ibm(name))
    assert pin_in(world, made) == pin_of("0" * digits)
    assert [each.id for each in made.verification_keys] == ["offset/1"]


@pytest.mark.parametrize("offset", ["0000", "1234", "9999"])
def test_the_pin_of_an_offset_is_that_of_the_offset(world: World, offset: str) -> None:
    assert pin_in(world, generate(world, value(ibm(), offset))) == pin_of(offset)


def test_a_derived_pin_keeps_no_rules(tmp_path: Path) -> None:
    world = granting(tmp_path, pin_rules=RULES)
    weak = value(ibm(), offset_of("1111"))
    assert pin_in(world, generate(world, weak)) == "1111"


# With its value


@pytest.mark.parametrize("method", [4, ibm(), value(ibm(), "1234")], ids=["random", "IBM", "of it"])
def test_a_pvv_comes_with_the_pin_and_verifies_it(world: World, method) -> None:
    made = generate(world, method, scheme=visa())
    assert made.value == Pvv(value=pvv_of(pin_in(world, made)), key_index=0)
    assert isinstance(made.result, bytes)
    source = replace(world.block(), ciphertext=made.result)
    verified = world.verify_pin(
        call(VERIFY), source=source, pan=Pan(PAN), reference=value(visa(), made.value.value)
    )
    assert verified.matches
    expected = ["pvk/1"] if method == 4 else ["offset/1", "pvk/1"]
    assert [each.id for each in made.verification_keys] == expected


def test_an_offset_comes_with_the_pin_and_verifies_it(world: World) -> None:
    made = generate(world, scheme=ibm())
    assert made.value == PinOffset(value=offset_of(pin_in(world, made)))
    source = replace(world.block(), ciphertext=made.result)
    verified = world.verify_pin(
        call(VERIFY), source=source, pan=Pan(PAN), reference=value(ibm(), made.value.value)
    )
    assert verified.matches


def test_the_offset_of_a_natural_pin_is_zeros(world: World) -> None:
    assert generate(world, ibm(), scheme=ibm()).value == PinOffset(value="0000")


def test_a_value_comes_with_an_envelope_too(world: World) -> None:
    made = generate(world, 4, to_partner(), visa())
    assert made.value == Pvv(value=pvv_of(partner_reads(str(made.result))), key_index=0)


# Refusals


@pytest.mark.parametrize(("target", "reason", "at"), BAD_TARGETS.values(), ids=BAD_TARGETS)
def test_a_target_that_cannot_be_is_refused(
    world: World, target: PinTarget, reason: Reason, at: str
) -> None:
    refusal = refusal_of(lambda: generate(world, 4, target))
    assert (refusal.reason, refusal.field) == (reason, f"target.{at}")
    assert world.is_untouched()


@pytest.mark.parametrize("form", [Format.ISO_1, Format.ISO_2, Format.OEM_1, Format.VISA_4])
def test_a_pin_does_not_go_out_in_such_a_format(world: World, form: Format) -> None:
    refusal = refusal_of(lambda: generate(world, 4, to_block(form=form)))
    assert (refusal.reason, refusal.field) == (
        *(Reason.TRANSLATION_FORBIDDEN, "target.pin_block.format"),
    )
    assert world.is_untouched()


BAD_SCHEMES = NO_SCHEME | MAKES_NOTHING


@pytest.mark.parametrize("bad", BAD_SCHEMES.values(), ids=BAD_SCHEMES)
def test_a_scheme_that_cannot_be_is_refused(world: World, bad) -> None:
    scheme, reason = bad
    refusal = refusal_of(lambda: generate(world, scheme=scheme))
    assert (refusal.reason, refusal.field.split(".")[0]) == (reason, "scheme")
    assert world.is_untouched()


BAD_METHODS = {
    name: (scheme, reason)
    for name, (scheme, reason) in BAD_SCHEMES.items()
    if scheme.key_index is None
}


@pytest.mark.parametrize(("scheme", "reason"), BAD_METHODS.values(), ids=BAD_METHODS)
def test_a_method_that_cannot_be_is_refused(
    world: World, scheme: SchemeRef, reason: Reason
) -> None:
    for method, at in (
        (scheme, "ibm_3624_natural"),
        (value(scheme), "ibm_3624_offset"),
    ):
        refusal = refusal_of(lambda m=method: generate(world, m))
        assert (refusal.reason, refusal.field.split(".")[0]) == (reason, at)
        assert world.is_untouched()


def test_an_offset_of_another_length_is_refused(world: World) -> None:
    refusal = refusal_of(lambda: generate(world, value(ibm(), "000000")))
    assert (refusal.reason, refusal.field) == (Reason.SCHEME_MISMATCH, "ibm_3624_offset.offset")
    assert world.is_untouched()


@pytest.mark.parametrize("method", [6, ibm("ibm-6")], ids=["random", "natural"])
def test_a_scheme_of_another_length_is_refused(world: World, method: int | SchemeRef) -> None:
    refusal = refusal_of(lambda: generate(world, method, scheme=ibm()))
    assert (refusal.reason, refusal.field.split(".")[0]) == (Reason.SCHEME_MISMATCH, "scheme")
    assert world.is_untouched()


def test_both_pans_are_the_same(world: World) -> None:
    for target in (to_block(pan=OTHER_PAN), to_partner(pan=OTHER_PAN)):
        refusal = refusal_of(lambda t=target: generate(world, 4, t))
        assert (refusal.reason, refusal.field) == (Reason.PAN_MISMATCH, "")
    assert world.is_untouched()


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"keys": frozenset({"offset", "pvk"})}, Reason.KEY_NOT_GRANTED),
        ({"schemes": frozenset({"visa"})}, Reason.SCHEME_NOT_GRANTED),
        ({"schemes": frozenset({"ibm"})}, Reason.SCHEME_NOT_GRANTED),
        ({"formats": frozenset({Format.ISO_3})}, Reason.FORMAT_NOT_GRANTED),
    ],
)
def test_target_and_both_schemes_must_be_granted(
    tmp_path: Path, lacking: dict, reason: Reason
) -> None:
    world = granting(tmp_path, **lacking)
    assert refusal_of(lambda: generate(world, ibm(), scheme=visa())).reason is reason
    assert world.is_untouched()


def test_the_partners_profile_must_be_granted(tmp_path: Path) -> None:
    world = granting(tmp_path, profiles=frozenset({"sealed"}))
    assert refusal_of(lambda: generate(world, 4, to_partner())).reason is Reason.PROFILE_NOT_GRANTED
    assert world.is_untouched()


def test_each_pin_counts_for_its_pan(tmp_path: Path) -> None:
    world = granting(tmp_path, per_pan=Rate(count=1, period_s=60.0, burst=1))
    generate(world)
    world.device.calls.clear()
    assert refusal_of(lambda: generate(world)).reason is Reason.PAN_RATE_EXCEEDED
    assert not world.device.calls


def test_an_hsm_that_is_away_is_told_as_such(world: World) -> None:
    world.device.failure = HsmUnavailable
    assert refusal_of(lambda: generate(world)).reason is Reason.HSM_UNAVAILABLE


# Notes


def test_notes_name_target_and_schemes(world: World) -> None:
    made = call(METHOD)
    generate(world, ibm(), to_block("zpk-aes", Format.ISO_4), visa(), made)
    assert [each.id for each in made.notes.keys] == ["zpk-aes/1", "offset/1", "pvk/1"]
    assert (made.notes.sources, made.notes.target) == ([], "ISO_4+ibm+visa")
    assert made.notes.pan_index == world.pans.of(Pan(PAN)).hex()


def test_notes_name_one_scheme_once(world: World) -> None:
    made = call(METHOD)
    generate(world, ibm(), to_partner(), ibm(), made)
    assert [each.id for each in made.notes.keys] == ["partner/1", "offset/1"]
    assert made.notes.target == "partner+ibm"

"""GenerateVerificationValue: the value of a PIN that is bound to its card and not weak."""

from dataclasses import replace
from pathlib import Path

import pytest

from hsm.errors import HsmUnavailable
from pinvault.model.errors import Reason
from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinBlockSource, PinSource
from pinvault.model.profiles import PinLength
from pinvault.model.references import SchemeRef
from pinvault.model.verification import PinOffset, Pvv
from pinvault.operations.generate_verification_value import GeneratedValue
from pinvault.policy.limits import Rate
from pinvault.policy.translation import Permission
from tests.unit.operations.bad_parts import BAD_SOURCES
from tests.unit.operations.bad_schemes import MAKES_NOTHING, NO_SCHEME
from tests.unit.operations.support import (
    BOUND,
    EVERYTHING,
    OTHER_PAN,
    PAN,
    RULES,
    UNBOUND,
    Make,
    World,
    call,
    envelope,
    ibm,
    offset_of,
    pvv_of,
    refusal_of,
    visa,
)

METHOD = "PinBlockService.GenerateVerificationValue"


def generate(world: World, source: PinSource, scheme: SchemeRef, made=None) -> GeneratedValue:
    return world.generate_value(made or call(METHOD), source=source, pan=Pan(PAN), scheme=scheme)


def granting(directory: Path, **row: object) -> World:
    return World(directory, rows=tuple(replace(each, **row) for each in EVERYTHING))


@pytest.mark.parametrize("make", BOUND.values(), ids=BOUND)
def test_every_bound_source_has_a_value(world: World, make: Make) -> None:
    source = make(world, "7392")
    made = generate(world, source, visa())
    assert made.value == Pvv(value=pvv_of("7392"), key_index=0)
    assert made.verification_key.id == "pvk/1"


@pytest.mark.parametrize(
    ("scheme", "digits", "expected", "under"),
    [
        (visa(2), "7392", Pvv(value=pvv_of("7392", index=2), key_index=2), "pvk-make/1"),
        (visa(), "739205", Pvv(value=pvv_of("7392"), key_index=0), "pvk/1"),
        (ibm(), "7392", PinOffset(value=offset_of("7392")), "offset/1"),
        (ibm("ibm-6"), "051846", PinOffset(value=offset_of("051846")), "offset/1"),
    ],
    ids=["generating key", "longer PIN", "offset", "longer offset"],
)
def test_every_scheme_gives_its_value(
    world: World, scheme: SchemeRef, digits: str, expected: Pvv | PinOffset, under: str
) -> None:
    made = generate(world, world.block(digits=digits), scheme)
    assert made.value == expected
    assert (made.source_key.id, made.verification_key.id) == ("zpk/3", under)


# Refusals


@pytest.mark.parametrize(("source", "reason", "at"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_a_source_that_cannot_be_is_refused(
    world: World, source: PinSource, reason: Reason, at: str
) -> None:
    refusal = refusal_of(lambda: generate(world, source, visa()))
    assert (refusal.reason, refusal.field) == (reason, f"source.{at}")
    assert world.is_untouched()


BAD_SCHEMES = NO_SCHEME | MAKES_NOTHING


@pytest.mark.parametrize("bad", BAD_SCHEMES.values(), ids=BAD_SCHEMES)
def test_a_scheme_that_cannot_be_is_refused(world: World, bad) -> None:
    scheme, reason = bad
    refusal = refusal_of(lambda: generate(world, world.block(), scheme))
    assert (refusal.reason, refusal.field.split(".")[0]) == (reason, "scheme")
    assert world.is_untouched()


@pytest.mark.parametrize("make", UNBOUND.values(), ids=UNBOUND)
def test_a_source_that_is_bound_to_no_pan_is_refused(world: World, make: Make) -> None:
    """Whatever is granted: a value would say that the PIN is the card's."""
    refusal = refusal_of(lambda: generate(world, make(world, "7392"), visa()))
    assert (refusal.reason, refusal.field) == (Reason.SOURCE_UNBOUND, "source")
    assert world.is_untouched()


def test_all_pans_are_the_same(world: World) -> None:
    for source in (world.block(pan=OTHER_PAN), envelope(pan=OTHER_PAN)):
        refusal = refusal_of(lambda s=source: generate(world, s, visa()))
        assert (refusal.reason, refusal.field) == (Reason.PAN_MISMATCH, "")
    assert world.is_untouched()


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"keys": frozenset({"pvk"})}, Reason.KEY_NOT_GRANTED),
        ({"schemes": frozenset({"ibm"})}, Reason.SCHEME_NOT_GRANTED),
        ({"formats": frozenset({Format.ISO_3})}, Reason.FORMAT_NOT_GRANTED),
    ],
)
def test_source_and_scheme_must_be_granted(tmp_path: Path, lacking: dict, reason: Reason) -> None:
    world = granting(tmp_path, **lacking)
    assert refusal_of(lambda: generate(world, world.block(), visa())).reason is reason
    assert world.is_untouched()


def block_that_can_be_chosen(world: World, digits: str) -> PinBlockSource:
    """A block under a key of both directions: EncryptPin makes it of any PIN that is sealed."""
    return world.block(digits=digits)


@pytest.mark.parametrize(
    "make",
    [BOUND["sealed"], BOUND["sealed-block"], block_that_can_be_chosen],
    ids=["JWE", "RSA", "block"],
)
def test_the_offset_of_what_anybody_can_seal_needs_leave(tmp_path: Path, make: Make) -> None:
    """Of a PIN that the caller chose, the offset tells the natural PIN; the PVV tells nothing."""
    world = granting(tmp_path, translations=frozenset({Permission.ISO_1_TO_PAN}))
    refusal = refusal_of(lambda: generate(world, make(world, "7392"), ibm()))
    assert refusal.reason is Reason.TRANSLATION_NOT_GRANTED
    assert world.is_untouched()
    assert generate(world, make(world, "7392"), visa())
    assert generate(world, world.block(under="zpk-d/1"), ibm())


def test_the_profile_of_a_source_must_be_granted(tmp_path: Path) -> None:
    world = granting(tmp_path, profiles=frozenset({"partner"}))
    refusal = refusal_of(lambda: generate(world, envelope(), visa()))
    assert refusal.reason is Reason.PROFILE_NOT_GRANTED
    assert world.is_untouched()


def test_each_value_counts_for_its_pan(tmp_path: Path) -> None:
    world = granting(tmp_path, per_pan=Rate(count=1, period_s=60.0, burst=1))
    generate(world, world.block(), visa())
    refusal = refusal_of(lambda: generate(world, world.block(), ibm()))
    assert refusal.reason is Reason.PAN_RATE_EXCEEDED


# Rules and lengths of the row


@pytest.mark.parametrize("digits", ["1111", "4321", "0123", "2512", "1987"])
def test_a_weak_pin_is_refused_where_the_row_has_rules(
    tmp_path: Path, world: World, digits
) -> None:
    assert generate(world, world.block(digits=digits), visa())
    folder = tmp_path / "strict"
    folder.mkdir()
    strict = granting(folder, pin_rules=RULES)
    refusal = refusal_of(lambda: generate(strict, strict.block(digits=digits), visa()))
    assert (refusal.reason, refusal.field, refusal.cause) == (Reason.PIN_WEAK, "", "")
    assert strict.device.calls == {"decipher": 1}
    assert generate(strict, strict.block(digits="7392"), visa())
    strict.table.close()


def test_the_rules_bound_the_length_of_new_pins(tmp_path: Path) -> None:
    rules = replace(RULES, pin_length=PinLength(minimum=6, maximum=6))
    world = granting(tmp_path, pin_rules=rules)
    refusal = refusal_of(lambda: generate(world, world.block(digits="7392"), visa()))
    assert refusal.reason is Reason.PIN_WEAK
    assert generate(world, world.block(digits="739205"), visa())


def test_the_row_pins_the_length_before_its_rules(tmp_path: Path) -> None:
    world = granting(tmp_path, pin_rules=RULES, pin_length=PinLength(minimum=4, maximum=4))
    refusal = refusal_of(lambda: generate(world, world.block(digits="11111"), visa()))
    assert refusal.reason is Reason.PIN_SOURCE_REFUSED


def test_an_offset_is_of_a_pin_of_the_schemes_length(world: World) -> None:
    refusal = refusal_of(lambda: generate(world, world.block(digits="051846"), ibm()))
    assert (refusal.reason, refusal.field) == (Reason.PIN_SOURCE_REFUSED, "")


def test_an_hsm_that_is_away_is_told_as_such(world: World) -> None:
    world.device.failure = HsmUnavailable
    refusal = refusal_of(lambda: generate(world, world.block(), visa()))
    assert refusal.reason is Reason.HSM_UNAVAILABLE


def test_notes_name_source_scheme_and_keys(world: World) -> None:
    made = call(METHOD)
    generate(world, envelope(), ibm(), made)
    assert [each.id for each in made.notes.keys] == ["offset/1", "pin-seal/10"]
    assert (made.notes.sources, made.notes.target) == (["sealed"], "ibm")
    assert made.notes.pan_index == world.pans.of(Pan(PAN)).hex()

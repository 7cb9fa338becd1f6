"""VerifyPin: a right PIN and a wrong one are results, and everything else is refused first."""

from dataclasses import replace
from pathlib import Path

import pytest

from hsm.errors import HsmUnavailable
from pinvault.model.errors import Reason
from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinBlockSource, PinSource
from pinvault.model.profiles import PinLength
from pinvault.model.references import ValueRef
from pinvault.operations.verify_pin import Verified
from pinvault.policy.limits import Rate
from pinvault.policy.translation import Permission
from tests.unit.operations.bad_parts import BAD_SOURCES
from tests.unit.operations.bad_schemes import NO_SCHEME, VERIFIES_NOTHING
from tests.unit.operations.support import (
    AES_BASE_TDES_BLOCK,
    BOUND,
    EVERYTHING,
    OTHER_PAN,
    PAN,
    UNBOUND,
    Make,
    World,
    call,
    envelope,
    ibm,
    offset_of,
    pvv_of,
    refusal_of,
    value,
    visa,
)

METHOD = "PinBlockService.VerifyPin"
SOURCES = BOUND | UNBOUND
PIN, WRONG = "7392", "7393"
BLOCKS = {
    "ISO_0": lambda world, digits: world.block(digits=digits),
    "ISO_1": lambda world, digits: world.block(Format.ISO_1, digits=digits),
    "ISO_4": lambda world, digits: world.block(Format.ISO_4, under="zpk-aes/1", digits=digits),
    "DUKPT": lambda world, digits: world.block(
        under="bdk-256/1", digits=digits, dukpt=AES_BASE_TDES_BLOCK
    ),
}


def right(index: int = 0) -> ValueRef:
    return value(visa(index), pvv_of(PIN, index=index))


def verify(
    world: World, source: PinSource, reference: ValueRef | PinBlockSource, made=None
) -> Verified:
    return world.verify_pin(made or call(METHOD), source=source, pan=Pan(PAN), reference=reference)


def granting(directory: Path, **row: object) -> World:
    return World(directory, rows=tuple(replace(each, **row) for each in EVERYTHING))


# Results


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_every_source_is_verified(world: World, make: Make) -> None:
    assert verify(world, make(world, PIN), right()).matches


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_a_wrong_pin_is_a_result(world: World, make: Make) -> None:
    assert not verify(world, make(world, WRONG), right()).matches


@pytest.mark.parametrize(
    ("reference", "under"),
    [
        (right(), "pvk/1"),
        (right(1), "pvk-verify/1"),
        (right(3), "pvk-past/1"),
        (value(ibm(), offset_of(PIN)), "offset/1"),
        (value(ibm("ibm-verify"), offset_of(PIN, of="offset-verify")), "offset-verify/1"),
    ],
    ids=["PVV", "verifying key", "key past its cryptoperiod", "offset", "verifying offset key"],
)
def test_every_value_is_compared_with(world: World, reference: ValueRef, under: str) -> None:
    made = verify(world, world.block(digits=PIN), reference)
    assert (made.matches, made.source_key.id, made.reference_key.id) == (True, "zpk/3", under)
    for place in range(4):
        digits = reference.digits
        other = digits[:place] + str((int(digits[place]) + 1) % 10) + digits[place + 1 :]
        assert not verify(world, world.block(digits=PIN), replace(reference, digits=other)).matches


def test_a_longer_offset_compares_a_longer_pin(world: World) -> None:
    reference = value(ibm("ibm-6"), offset_of("051846"))
    assert verify(world, world.block(digits="051846"), reference).matches
    assert not verify(world, world.block(digits="0518"), reference).matches


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("digits", [PIN, WRONG, PIN + "0"], ids=["right", "wrong", "longer"])
def test_another_block_is_compared_with(world: World, make: Make, digits: str) -> None:
    reference = make(world, PIN)
    assert isinstance(reference, PinBlockSource)
    made = verify(world, envelope(digits), reference)
    assert made.matches is (digits == PIN)
    assert made.source_key.id == "pin-seal/10"
    assert made.reference_key.id == reference.key


# Refusals, before anything is touched


@pytest.mark.parametrize(("source", "reason", "at"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_a_source_that_cannot_be_is_refused(
    world: World, source: PinSource, reason: Reason, at: str
) -> None:
    refusal = refusal_of(lambda: verify(world, source, right()))
    assert (refusal.reason, refusal.field) == (reason, f"source.{at}")
    assert world.is_untouched()


BAD_BLOCKS = {name: bad for name, bad in BAD_SOURCES.items() if isinstance(bad[0], PinBlockSource)}


@pytest.mark.parametrize(("reference", "reason", "at"), BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_a_block_that_cannot_be_is_no_reference(
    world: World, reference: PinBlockSource, reason: Reason, at: str
) -> None:
    refusal = refusal_of(lambda: verify(world, envelope(), reference))
    assert (refusal.reason, refusal.field) == (reason, at)
    assert world.is_untouched()


BAD_SCHEMES = NO_SCHEME | VERIFIES_NOTHING


@pytest.mark.parametrize("bad", BAD_SCHEMES.values(), ids=BAD_SCHEMES)
def test_a_scheme_that_cannot_be_is_refused(world: World, bad) -> None:
    scheme, reason = bad
    refusal = refusal_of(lambda: verify(world, world.block(), value(scheme)))
    assert refusal.reason is reason
    assert refusal.field.startswith("verification_value.")
    assert world.is_untouched()


@pytest.mark.parametrize("digits", ["00000", "000000000000"])
def test_an_offset_has_as_many_digits_as_its_scheme_checks(world: World, digits: str) -> None:
    refusal = refusal_of(lambda: verify(world, world.block(), value(ibm(), digits)))
    assert refusal.reason is Reason.SCHEME_MISMATCH
    assert refusal.field.startswith("verification_value.")
    assert refusal.field.endswith(".offset")
    assert world.is_untouched()


def test_all_pans_are_the_same(world: World) -> None:
    mine, others = world.block(), world.block(pan=OTHER_PAN)
    for source, reference in ((others, right()), (mine, others), (others, mine), (others, others)):
        refusal = refusal_of(lambda s=source, r=reference: verify(world, s, r))
        assert (refusal.reason, refusal.field) == (Reason.PAN_MISMATCH, "")
    assert world.is_untouched()


@pytest.mark.parametrize("make", UNBOUND.values(), ids=UNBOUND)
def test_what_is_bound_to_no_pan_needs_leave(tmp_path: Path, make: Make) -> None:
    world = granting(tmp_path, translations=frozenset({Permission.AES_TO_TDES}))
    source = make(world, PIN)
    assert refusal_of(lambda: verify(world, source, right())).reason is (
        Reason.TRANSLATION_NOT_GRANTED
    )
    if isinstance(source, PinBlockSource):
        refusal = refusal_of(lambda: verify(world, world.block(), source))
        assert refusal.reason is Reason.TRANSLATION_NOT_GRANTED
    assert world.is_untouched()


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"keys": frozenset({"zpk-aes"})}, Reason.KEY_NOT_GRANTED),
        ({"profiles": frozenset({"partner"})}, Reason.PROFILE_NOT_GRANTED),
        ({"schemes": frozenset({"ibm"})}, Reason.SCHEME_NOT_GRANTED),
        ({"formats": frozenset({Format.ISO_4})}, Reason.FORMAT_NOT_GRANTED),
    ],
)
def test_source_and_reference_must_be_granted(
    tmp_path: Path, lacking: dict, reason: Reason
) -> None:
    world = granting(tmp_path, **lacking)
    by_value = (envelope() if "profiles" in lacking else world.block(), right())
    by_block = (envelope(), world.block())
    met = {refusal_of(lambda: verify(world, *by_value)).reason}
    if "schemes" not in lacking:
        met.add(refusal_of(lambda: verify(world, *by_block)).reason)
    assert met == {reason}
    assert world.is_untouched()


def test_a_scheme_is_granted_without_its_key(tmp_path: Path) -> None:
    world = granting(tmp_path, keys=frozenset({"zpk"}))
    assert verify(world, world.block(), right()).matches


def test_each_try_counts_for_its_pan(tmp_path: Path) -> None:
    world = granting(tmp_path, per_pan=Rate(count=2, period_s=60.0, burst=2))
    for _ in range(2):
        verify(world, world.block(digits=WRONG), right())
    world.device.calls.clear()
    refusal = refusal_of(lambda: verify(world, world.block(), right()))
    assert refusal.reason is Reason.PAN_RATE_EXCEEDED
    assert not world.device.calls


# What the row that let the call pass says, and one face


@pytest.mark.parametrize("digits", ["7392", "73920", "739205"])
def test_the_row_pins_the_length_of_both_pins(tmp_path: Path, digits: str) -> None:
    world = granting(tmp_path, pin_length=PinLength(minimum=5, maximum=5))
    uses = (
        lambda: verify(world, world.block(digits=digits), right()),
        lambda: verify(world, envelope(digits), right()),
        lambda: verify(world, world.block(digits="73920"), world.block(digits=digits)),
    )
    for use in uses:
        if len(digits) == 5:
            assert use()
        else:
            refusal = refusal_of(use)
            assert (refusal.reason, refusal.field, refusal.cause) == (
                *(Reason.PIN_SOURCE_REFUSED, "", ""),
            )


def test_the_length_is_that_of_the_row_that_let_the_call_pass(tmp_path: Path) -> None:
    row = next(each for each in EVERYTHING if each.method == METHOD)
    long = replace(row, schemes=frozenset({"ibm-6"}), pin_length=PinLength(minimum=6, maximum=6))
    short = replace(row, schemes=frozenset({"visa"}), pin_length=PinLength(minimum=4, maximum=4))
    world = World(tmp_path, rows=(long, short))
    assert verify(world, world.block(), right()).matches
    assert verify(
        world, world.block(digits="051846"), value(ibm("ibm-6"), offset_of("051846"))
    ).matches
    refusal = refusal_of(lambda: verify(world, world.block(), value(ibm("ibm-6"), "000000")))
    assert refusal.reason is Reason.PIN_SOURCE_REFUSED


def test_a_reference_that_does_not_open_has_the_one_face(world: World) -> None:
    broken = replace(world.block(), ciphertext=bytes(8))
    for source, reference in ((world.block(), broken), (broken, world.block())):
        refusal = refusal_of(lambda s=source, r=reference: verify(world, s, r))
        assert (refusal.reason, refusal.field, refusal.cause) == (Reason.PIN_SOURCE_REFUSED, "", "")


def test_an_hsm_that_is_away_is_told_as_such(world: World) -> None:
    world.device.failure = HsmUnavailable
    refusal = refusal_of(lambda: verify(world, world.block(), right()))
    assert (refusal.reason, refusal.retry_after_s) == (Reason.HSM_UNAVAILABLE, 0.5)


# Notes


def test_notes_name_source_scheme_and_keys(world: World) -> None:
    made = call(METHOD)
    verify(world, envelope(), right(), made)
    assert [each.id for each in made.notes.keys] == ["pvk/1", "pin-seal/10"]
    assert (made.notes.sources, made.notes.target) == (["sealed"], "visa")
    assert made.notes.pan_index == world.pans.of(Pan(PAN)).hex()


def test_notes_name_both_blocks(world: World) -> None:
    made = call(METHOD)
    reference = world.block(Format.ISO_4, under="zpk-aes/1")
    verify(world, world.block(), reference, made)
    assert [each.id for each in made.notes.keys] == ["zpk/3", "zpk-aes/1"]
    assert (made.notes.sources, made.notes.target) == (["ISO_0", "ISO_4"], "")

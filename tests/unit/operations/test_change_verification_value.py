"""ChangeVerificationValue: the new PIN's value or block after the right current PIN, or nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from hsm.errors import HsmUnavailable
from pinvault.model.errors import Reason
from pinvault.model.keys import Algorithm
from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinBlockSource, PinBlockTarget, PinSource
from pinvault.model.profiles import PinLength
from pinvault.model.references import ValueRef
from pinvault.model.verification import PinOffset, Pvv
from pinvault.operations.change_verification_value import BlockReference, ChangedValue
from pinvault.policy.limits import Rate
from pinvault.policy.translation import Permission
from tests.unit.operations.bad_parts import BAD_SOURCES, BAD_TARGETS
from tests.unit.operations.bad_schemes import MAKES_NOTHING, NO_SCHEME, VERIFIES_NOTHING
from tests.unit.operations.support import (
    BOUND,
    EVERYTHING,
    OTHER_PAN,
    PAN,
    RULES,
    UNBOUND,
    Make,
    World,
    aes_transaction,
    call,
    envelope,
    ibm,
    offset_of,
    pvv_of,
    refusal_of,
    to_block,
    value,
    visa,
)

METHOD = "PinBlockService.ChangeVerificationValue"
CURRENT, NEW, WRONG = "7392", "6184", "7393"
STORED = value(visa(), pvv_of(CURRENT))


def change(
    world: World,
    *,
    current: PinSource | None = None,
    new: PinSource | None = None,
    reference: ValueRef | BlockReference = STORED,
    made=None,
) -> ChangedValue:
    return world.change_value(
        made or call(METHOD),
        current_source=current or world.block(digits=CURRENT),
        new_source=new or world.block(digits=NEW),
        pan=Pan(PAN),
        reference=reference,
    )


def stored_block(
    world: World, digits: str = CURRENT, target: PinBlockTarget | None = None
) -> BlockReference:
    aes = {"form": Format.ISO_4, "under": "zpk-aes"}
    return BlockReference(
        current=world.block(Format.ISO_4, under="zpk-aes/1", digits=digits),
        target=target or to_block(**aes),
    )


def granting(directory: Path, **row: object) -> World:
    return World(directory, rows=tuple(replace(each, **row) for each in EVERYTHING))


# Results


@pytest.mark.parametrize("place", ["current", "new"])
@pytest.mark.parametrize("make", BOUND.values(), ids=BOUND)
def test_every_bound_source_is_the_current_pin_or_the_new_one(
    world: World, make: Make, place: str
) -> None:
    made = change(world, **{place: make(world, CURRENT if place == "current" else NEW)})
    assert made.made == Pvv(value=pvv_of(NEW), key_index=0)


def test_an_offset_changes_by_its_own_scheme(world: World) -> None:
    made = change(world, reference=value(ibm(), offset_of(CURRENT)))
    assert made.made == PinOffset(value=offset_of(NEW))
    assert [each.id for each in made.reference_keys] == ["offset/1"]


@pytest.mark.parametrize(
    ("target", "under"),
    [
        (to_block("zpk-aes", Format.ISO_4), "zpk-aes/1"),
        (to_block(), "zpk/3"),
        (
            to_block("bdk-128", Format.ISO_4, dukpt=aes_transaction(Algorithm.AES_128)),
            "bdk-128/1",
        ),
    ],
    ids=["AES", "TDES", "DUKPT"],
)
def test_a_stored_block_is_compared_and_replaced(
    world: World, target: PinBlockTarget, under: str
) -> None:
    made = change(world, reference=stored_block(world, target=target))
    assert isinstance(made.made, bytes)
    assert world.pin_in(made.made, target, under) == NEW
    assert [each.id for each in made.source_keys] == ["zpk/3", "zpk/3"]
    assert [each.id for each in made.reference_keys] == ["zpk-aes/1", under]


def test_the_keys_that_opened_come_in_order(world: World) -> None:
    made = change(world, new=envelope(NEW))
    assert [each.id for each in made.source_keys] == ["zpk/3", "pin-seal/10"]


# A wrong current PIN


@pytest.mark.parametrize("weak", [False, True], ids=["good new PIN", "weak new PIN"])
@pytest.mark.parametrize("by", ["value", "block"])
def test_a_wrong_current_pin_says_nothing_of_the_new_one(
    tmp_path: Path, by: str, weak: bool
) -> None:
    world = granting(tmp_path, pin_rules=RULES)
    reference = STORED if by == "value" else stored_block(world)
    new = world.block(digits="1111" if weak else NEW)
    made = change(world, current=world.block(digits=WRONG), new=new, reference=reference)
    assert made.made is None
    made_of_it = {"value": {"decipher": 2, "encipher": 1}, "block": {"decipher": 4}}
    assert world.device.calls == made_of_it[by]


def test_a_new_pin_that_does_not_open_hides_whether_the_current_one_was_right(
    world: World,
) -> None:
    broken = replace(world.block(), ciphertext=bytes(8))
    for digits in (CURRENT, WRONG):
        world.device.calls.clear()
        current = world.block(digits=digits)
        refusal = refusal_of(lambda c=current: change(world, current=c, new=broken))
        assert (refusal.reason, refusal.field, refusal.cause) == (Reason.PIN_SOURCE_REFUSED, "", "")
        assert world.device.calls == {"decipher": 2}


def test_nothing_is_made_when_the_hsm_goes_away_in_between(world: World) -> None:
    def away(length: int) -> bytes:
        raise HsmUnavailable

    reference = stored_block(world)
    world.device.draw = away
    refusal = refusal_of(lambda: change(world, reference=reference))
    assert refusal.reason is Reason.HSM_UNAVAILABLE
    assert world.device.calls["encipher"] == 0


# Refusals


@pytest.mark.parametrize(("source", "reason", "at"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_a_bad_source_is_refused_at_its_own_field(
    world: World, source: PinSource, reason: Reason, at: str
) -> None:
    for place in ("current", "new"):
        refusal = refusal_of(lambda p=place: change(world, **{p: source}))
        assert (refusal.reason, refusal.field) == (reason, f"{place}_source.{at}")
        assert world.is_untouched()


@pytest.mark.parametrize("make", UNBOUND.values(), ids=UNBOUND)
def test_both_sources_must_be_bound(world: World, make: Make) -> None:
    for place in ("current", "new"):
        unbound = make(world, CURRENT)
        refusal = refusal_of(lambda p=place, s=unbound: change(world, **{p: s}))
        assert (refusal.reason, refusal.field) == (Reason.SOURCE_UNBOUND, f"{place}_source")
        assert world.is_untouched()


def test_the_stored_block_must_be_bound(world: World) -> None:
    reference = BlockReference(current=world.block(Format.ISO_1), target=to_block())
    refusal = refusal_of(lambda: change(world, reference=reference))
    assert (refusal.reason, refusal.field) == (Reason.SOURCE_UNBOUND, "pin_block.current")
    assert world.is_untouched()


BAD_SCHEMES = NO_SCHEME | MAKES_NOTHING | VERIFIES_NOTHING


@pytest.mark.parametrize("bad", BAD_SCHEMES.values(), ids=BAD_SCHEMES)
def test_a_scheme_must_verify_and_generate(world: World, bad) -> None:
    scheme, reason = bad
    refusal = refusal_of(lambda: change(world, reference=value(scheme)))
    assert (refusal.reason, refusal.field.split(".")[0]) == (reason, "verification_value")
    assert world.is_untouched()


def test_an_offset_of_another_length_is_refused(world: World) -> None:
    refusal = refusal_of(lambda: change(world, reference=value(ibm(), "000000")))
    assert refusal.reason is Reason.SCHEME_MISMATCH
    assert world.is_untouched()


BAD_CURRENT = {name: bad for name, bad in BAD_SOURCES.items() if isinstance(bad[0], PinBlockSource)}
BAD_NEXT = {name: bad for name, bad in BAD_TARGETS.items() if isinstance(bad[0], PinBlockTarget)}


@pytest.mark.parametrize(("current", "reason", "at"), BAD_CURRENT.values(), ids=BAD_CURRENT)
def test_a_stored_block_that_cannot_be_is_refused(
    world: World, current: PinBlockSource, reason: Reason, at: str
) -> None:
    reference = BlockReference(current=current, target=to_block())
    refusal = refusal_of(lambda: change(world, reference=reference))
    place = at.removeprefix("pin_block.")
    assert (refusal.reason, refusal.field) == (reason, f"pin_block.current.{place}")
    assert world.is_untouched()


@pytest.mark.parametrize(("target", "reason", "at"), BAD_NEXT.values(), ids=BAD_NEXT)
def test_a_block_in_its_place_that_cannot_be_is_refused(
    world: World, target: PinBlockTarget, reason: Reason, at: str
) -> None:
    reference = stored_block(world, target=target)
    refusal = refusal_of(lambda: change(world, reference=reference))
    place = at.removeprefix("pin_block.")
    assert (refusal.reason, refusal.field) == (reason, f"pin_block.target.{place}")
    assert world.is_untouched()


@pytest.mark.parametrize("form", [Format.ISO_1, Format.ISO_2, Format.VISA_4])
def test_what_is_stored_stays_bound(world: World, form: Format) -> None:
    reference = stored_block(world, target=to_block(form=form))
    refusal = refusal_of(lambda: change(world, reference=reference))
    assert refusal.reason is Reason.TRANSLATION_FORBIDDEN
    assert world.is_untouched()


def test_a_step_from_aes_to_tdes_needs_leave(tmp_path: Path) -> None:
    world = granting(tmp_path, translations=frozenset({Permission.ISO_1_TO_PAN}))
    new = world.block(Format.ISO_4, under="zpk-aes/1", digits=NEW)
    reference = BlockReference(current=world.block(digits=CURRENT), target=to_block())
    refusal = refusal_of(lambda: change(world, new=new, reference=reference))
    assert refusal.reason is Reason.TRANSLATION_NOT_GRANTED
    assert world.is_untouched()
    assert change(world, new=new).made, "no block is made of a value"


def test_all_pans_are_the_same(world: World) -> None:
    others = world.block(pan=OTHER_PAN)
    calls = (
        {"current": others},
        {"new": others},
        {"reference": BlockReference(current=others, target=to_block())},
        {"reference": BlockReference(current=world.block(), target=to_block(pan=OTHER_PAN))},
    )
    for given in calls:
        refusal = refusal_of(lambda g=given: change(world, **g))
        assert (refusal.reason, refusal.field) == (Reason.PAN_MISMATCH, "")
    assert world.is_untouched()


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"keys": frozenset({"zpk", "pvk"})}, Reason.KEY_NOT_GRANTED),
        ({"profiles": frozenset({"partner"})}, Reason.PROFILE_NOT_GRANTED),
        ({"formats": frozenset({Format.ISO_0})}, Reason.FORMAT_NOT_GRANTED),
    ],
)
def test_all_of_a_change_of_blocks_must_be_granted(
    tmp_path: Path, lacking: dict, reason: Reason
) -> None:
    world = granting(tmp_path, **lacking)
    reference = stored_block(world)
    refusal = refusal_of(lambda: change(world, new=envelope(NEW), reference=reference))
    assert refusal.reason is reason
    assert world.is_untouched()


def test_the_scheme_must_be_granted(tmp_path: Path) -> None:
    world = granting(tmp_path, schemes=frozenset({"ibm", "m-chip"}))
    assert refusal_of(lambda: change(world)).reason is Reason.SCHEME_NOT_GRANTED
    assert world.is_untouched()


def test_one_change_counts_once_for_its_pan(tmp_path: Path) -> None:
    world = granting(tmp_path, per_pan=Rate(count=1, period_s=60.0, burst=1))
    change(world)
    assert refusal_of(lambda: change(world)).reason is Reason.PAN_RATE_EXCEEDED


# Rules and lengths of the row


@pytest.mark.parametrize("by", ["value", "block"])
@pytest.mark.parametrize("weak", ["1111", "2345", CURRENT], ids=["repeated", "rising", "current"])
def test_a_weak_new_pin_is_refused_and_nothing_made(tmp_path: Path, weak: str, by: str) -> None:
    world = granting(tmp_path, pin_rules=RULES)
    reference = STORED if by == "value" else stored_block(world)
    refusal = refusal_of(lambda: change(world, new=world.block(digits=weak), reference=reference))
    assert (refusal.reason, refusal.field, refusal.cause) == (Reason.PIN_WEAK, "", "")
    assert world.device.calls["encipher"] == (1 if by == "value" else 0)


def test_the_current_pin_keeps_no_rules(tmp_path: Path) -> None:
    world = granting(tmp_path, pin_rules=RULES)
    made = change(
        world, current=world.block(digits="1111"), reference=value(visa(), pvv_of("1111"))
    )
    assert made.made == Pvv(value=pvv_of(NEW), key_index=0)


@pytest.mark.parametrize("place", ["current", "new", "reference"])
def test_the_row_pins_the_length_of_every_pin(tmp_path: Path, place: str) -> None:
    world = granting(tmp_path, pin_length=PinLength(minimum=4, maximum=4))
    longer = {
        "current": {"current": world.block(digits="73920")},
        "new": {"new": world.block(digits="61840")},
        "reference": {"reference": stored_block(world, "73920")},
    }[place]
    refusal = refusal_of(lambda: change(world, **longer))
    assert (refusal.reason, refusal.field) == (Reason.PIN_SOURCE_REFUSED, "")


# Notes


def test_notes_name_both_sources_and_the_scheme(world: World) -> None:
    made = call(METHOD)
    change(world, new=envelope(NEW), made=made)
    assert [each.id for each in made.notes.keys] == ["zpk/3", "pvk/1", "pin-seal/10"]
    assert (made.notes.sources, made.notes.target) == (["ISO_0", "sealed"], "visa")
    assert made.notes.pan_index == world.pans.of(Pan(PAN)).hex()


def test_notes_name_the_stored_block_and_the_one_in_its_place(world: World) -> None:
    made = call(METHOD)
    change(world, reference=stored_block(world, target=to_block("zpk-e")), made=made)
    assert [each.id for each in made.notes.keys] == ["zpk/3", "zpk/3", "zpk-aes/1", "zpk-e/1"]
    assert (made.notes.sources, made.notes.target) == (["ISO_0", "ISO_0", "ISO_4"], "ISO_0")


def test_notes_of_a_wrong_pin_are_those_of_the_right_one(world: World) -> None:
    right, wrong = call(METHOD), call(METHOD)
    change(world, made=right)
    change(world, current=world.block(digits=WRONG), made=wrong)
    assert right.notes == wrong.notes

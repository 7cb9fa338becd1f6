"""TranslatePin: from block to block for one PAN; its refusals come in their order, and first."""

from dataclasses import replace
from pathlib import Path

import pytest

from pinvault.model.errors import Reason
from pinvault.model.keys import Algorithm
from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinBlockSource, PinBlockTarget
from pinvault.model.profiles import PinLength
from pinvault.operations.translate_pin import TranslatedPin
from pinvault.policy.limits import Rate
from pinvault.policy.translation import Permission
from tests.unit.operations.bad_parts import BAD_SOURCES, BAD_TARGETS, sealed_block
from tests.unit.operations.support import (
    BOUND,
    EVERYTHING,
    KEPT,
    OTHER_PAN,
    PAN,
    TDES_TRANSACTION,
    UNBOUND,
    Make,
    World,
    aes_transaction,
    call,
    refusal_of,
    to_block,
)

METHOD = "PinBlockService.TranslatePin"
SOURCE_FORMATS = set(Format) - {Format.ISO_2, Format.ISO_4}
SOURCES = {name: make for name, make in (BOUND | UNBOUND).items() if not name.startswith("sealed")}
TARGETS = {
    "ISO_0": (to_block(), "zpk/3"),
    "ISO_3": (to_block("zpk-e", Format.ISO_3), "zpk-e/1"),
    "ISO_4": (to_block("zpk-aes", Format.ISO_4), "zpk-aes/1"),
    "TDES DUKPT": (to_block("bdk", dukpt=TDES_TRANSACTION), "bdk/1"),
    "AES DUKPT": (
        to_block("bdk-256", Format.ISO_4, dukpt=aes_transaction(Algorithm.AES_192)),
        "bdk-256/1",
    ),
}


def translate(
    world: World, source: PinBlockSource, target: PinBlockTarget, made=None
) -> TranslatedPin:
    return world.translate_pin(made or call(METHOD), source=source, target=target)


def granting(directory: Path, **row: object) -> World:
    return World(directory, rows=tuple(replace(each, **row) for each in EVERYTHING))


@pytest.mark.parametrize(("target", "under"), TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_every_source_becomes_every_bound_block(
    world: World, make: Make, target: PinBlockTarget, under: str
) -> None:
    source = make(world, "7392")
    assert isinstance(source, PinBlockSource)
    made = translate(world, source, target)
    assert world.pin_in(made.pin_block, target, under) == "7392"
    assert (made.source_key.id, made.target_key.id) == (source.key, under)


def test_format_1_stays_format_1(world: World) -> None:
    target = to_block(form=Format.ISO_1)
    made = translate(world, world.block(Format.ISO_1, digits="051846"), target)
    assert world.pin_in(made.pin_block, target, "zpk/3") == "051846"


# Refusals

BAD_BLOCKS = {name: bad for name, bad in BAD_SOURCES.items() if isinstance(bad[0], PinBlockSource)}
BAD_ENDS = {name: bad for name, bad in BAD_TARGETS.items() if isinstance(bad[0], PinBlockTarget)}


@pytest.mark.parametrize(("source", "reason", "at"), BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_a_source_that_cannot_be_is_refused(
    world: World, source: PinBlockSource, reason: Reason, at: str
) -> None:
    refusal = refusal_of(lambda: translate(world, source, to_block()))
    assert refusal.reason is reason
    assert (refusal.field.split(".")[0], refusal.field.split(".")[-1]) == (
        *("source", at.split(".")[-1]),
    )
    assert world.is_untouched()


@pytest.mark.parametrize(("target", "reason", "at"), BAD_ENDS.values(), ids=BAD_ENDS)
def test_a_target_that_cannot_be_is_refused(
    world: World, target: PinBlockTarget, reason: Reason, at: str
) -> None:
    refusal = refusal_of(lambda: translate(world, sealed_block("zpk"), target))
    assert refusal.reason is reason
    assert (refusal.field.split(".")[0], refusal.field.split(".")[-1]) == (
        *("target", at.split(".")[-1]),
    )
    assert world.is_untouched()


def test_faults_are_told_in_their_order(tmp_path: Path) -> None:
    """A call with every fault, of which each refusal in turn is put right."""
    good, aes = sealed_block("zpk-d"), to_block("zpk-aes", Format.ISO_4)
    row = next(each for each in EVERYTHING if each.method == METHOD)
    once = Rate(count=1, period_s=60.0, burst=1)
    bare = replace(
        *(row,), keys=frozenset(), formats=frozenset(), translations=frozenset(), per_pan=once
    )
    keys = replace(bare, keys=row.keys)
    formats = replace(keys, formats=row.formats)
    down = (sealed_block("zpk-aes", Format.ISO_4, 16), to_block())
    unbound = to_block("zpk-x", Format.ISO_1)
    steps = (
        (bare, (sealed_block("zpk-x"), to_block("zpk-x", pan=OTHER_PAN)), Reason.PAN_MISMATCH),
        (bare, (sealed_block("zpk-x", Format.ISO_2), unbound), Reason.TRANSLATION_FORBIDDEN),
        (bare, (sealed_block("zpk-x"), unbound), Reason.KEY_UNKNOWN),
        (bare, (sealed_block("zpk-e", length=16), unbound), Reason.KEY_USAGE_MISMATCH),
        (bare, (sealed_block("zpk-next", length=16), unbound), Reason.KEY_STATE),
        (bare, (sealed_block("zpk-d", length=16), unbound), Reason.FORMAT_KEY_MISMATCH),
        (bare, (good, to_block("zpk-x", Format.ISO_2)), Reason.TRANSLATION_FORBIDDEN),
        (bare, (good, unbound), Reason.KEY_UNKNOWN),
        (bare, (good, to_block("zpk-d", Format.ISO_1)), Reason.KEY_USAGE_MISMATCH),
        (bare, (good, to_block("zpk-past", Format.ISO_1)), Reason.KEY_STATE),
        (bare, (good, to_block("zpk-aes", Format.ISO_1)), Reason.FORMAT_KEY_MISMATCH),
        (bare, (good, to_block(form=Format.ISO_1)), Reason.TRANSLATION_FORBIDDEN),
        (bare, down, Reason.KEY_NOT_GRANTED),
        (keys, down, Reason.FORMAT_NOT_GRANTED),
        (formats, down, Reason.TRANSLATION_NOT_GRANTED),
    )
    for number, (granted, (source, target), reason) in enumerate(steps):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = World(folder, rows=(granted,))
        refusal = refusal_of(lambda w=world, s=source, t=target: translate(w, s, t))
        assert refusal.reason is reason, number
        assert world.is_untouched()
        world.table.close()
    world = World(tmp_path, rows=(formats,))
    translate(world, world.block(), aes)
    world.device.calls.clear()
    assert refusal_of(lambda: translate(world, good, aes)).reason is Reason.PAN_RATE_EXCEEDED
    assert not world.device.calls


@pytest.mark.parametrize("place", range(len(PAN)))
def test_pans_are_compared_in_every_digit(world: World, place: int) -> None:
    other = PAN[:place] + str((int(PAN[place]) + 1) % 10) + PAN[place + 1 :]
    refusal = refusal_of(lambda: translate(world, sealed_block("zpk"), to_block(pan=other)))
    assert (refusal.reason, refusal.field) == (Reason.PAN_MISMATCH, "")
    assert world.is_untouched()


@pytest.mark.parametrize("legacy", [form for form in Format if form.is_legacy])
def test_a_legacy_format_comes_in_where_a_row_names_it(tmp_path: Path, legacy: Format) -> None:
    iso = frozenset(form for form in Format if not form.is_legacy)
    for number, formats in enumerate((iso, iso | {legacy})):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = granting(folder, formats=formats, translations=frozenset())
        source = world.block(legacy)
        if legacy in formats:
            assert translate(world, source, to_block())
        else:
            refusal = refusal_of(lambda w=world, s=source: translate(w, s, to_block()))
            assert refusal.reason is Reason.FORMAT_NOT_GRANTED
            assert world.is_untouched()
        world.table.close()


@pytest.mark.parametrize("form", [form for form in Format if form in SOURCE_FORMATS])
@pytest.mark.parametrize("under", ["zpk/3", *(f"{name}/1" for name in KEPT)])
def test_a_key_opens_one_legacy_format_alone_or_none(
    world: World, form: Format, under: str
) -> None:
    """A block of one legacy format passes as another, so each has keys of its own."""
    source = sealed_block(under, form)
    kept = KEPT.get(under.partition("/")[0])
    if kept is form or (kept is None and not form.is_legacy):
        assert translate(world, world.block(form, under=under), to_block())
    else:
        refusal = refusal_of(lambda: translate(world, source, to_block()))
        assert refusal.reason is Reason.FORMAT_KEY_MISMATCH
        assert refusal.field.endswith(".format")
        assert world.is_untouched()


def test_a_step_is_granted_by_its_name_alone(tmp_path: Path) -> None:
    """The other permission is no leave for it."""
    for number, (has, form, under) in enumerate(
        (
            (Permission.AES_TO_TDES, Format.ISO_1, "zpk/3"),
            (Permission.ISO_1_TO_PAN, Format.ISO_4, "zpk-aes/1"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = granting(folder, translations=frozenset({has}))
        source = world.block(form, under=under)
        refusal = refusal_of(lambda w=world, s=source: translate(w, s, to_block()))
        assert refusal.reason is Reason.TRANSLATION_NOT_GRANTED
        assert world.is_untouched()
        world.table.close()


@pytest.mark.parametrize("digits", ["7392", "73920"])
def test_the_row_pins_the_length(tmp_path: Path, digits: str) -> None:
    world = granting(tmp_path, pin_length=PinLength(minimum=4, maximum=4))
    source = world.block(digits=digits)
    if len(digits) == 4:
        assert translate(world, source, to_block())
    else:
        refusal = refusal_of(lambda: translate(world, source, to_block()))
        assert (refusal.reason, refusal.field, refusal.cause) == (Reason.PIN_SOURCE_REFUSED, "", "")
        assert world.device.calls == {"decipher": 1}


def test_notes_name_both_keys_and_formats(world: World) -> None:
    made = call(METHOD)
    translate(world, world.block(Format.VISA_4), to_block("zpk-aes", Format.ISO_4), made)
    assert [each.id for each in made.notes.keys] == ["zpk-visa-4/1", "zpk-aes/1"]
    assert (made.notes.sources, made.notes.target) == (["VISA_4"], "ISO_4")
    assert made.notes.pan_index == world.pans.of(Pan(PAN)).hex()

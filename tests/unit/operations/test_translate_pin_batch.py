"""TranslatePinBatch: columns that fit together, a status an item, and refusals of the whole."""

from dataclasses import replace
from pathlib import Path

import pytest

from hsm.errors import HsmUnavailable
from pinvault.model.batch import MAX_ITEMS, PAN_BYTES, ItemStatus
from pinvault.model.errors import Reason
from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinBlockSource, PinBlockTarget
from pinvault.model.profiles import PinLength
from pinvault.operations.translate_pin_batch import Column, TranslatedBatch
from pinvault.policy.limits import Rate
from pinvault.policy.translation import MATRIX, Permission
from tests.support.batch import packed
from tests.unit.operations.bad_parts import BAD_SOURCES, BAD_TARGETS
from tests.unit.operations.support import (
    EVERYTHING,
    OTHER_PAN,
    PAN,
    World,
    call,
    refusal_of,
    to_block,
)

METHOD = "PinBlockService.TranslatePinBatch"
THIRD_PAN = "5555555551234567"
ITEMS = {PAN: "7392", OTHER_PAN: "051846", THIRD_PAN: "739205184627"}
COLUMNS = (Format.ISO_0, Format.ISO_1, Format.ISO_3, Format.ISO_4)
PAIRS = [(one, other) for one in COLUMNS for other in COLUMNS if (one, other) in MATRIX]
ZPK, AES = Column(key="zpk", format=Format.ISO_0), Column(key="zpk-aes", format=Format.ISO_4)
FREE = Column(key="zpk", format=Format.ISO_1)
FREE_OUT = Column(key="zpk-e", format=Format.ISO_1)


def column(form: Format) -> Column:
    return Column(key="zpk-aes" if form is Format.ISO_4 else "zpk", format=form)


def column_to(form: Format) -> Column:
    return Column(key="zpk-aes" if form is Format.ISO_4 else "zpk-e", format=form)


def blocks_of(world: World, form: Format, items: dict[str, str] = ITEMS) -> list[bytes]:
    under = "zpk-aes/1" if form is Format.ISO_4 else "zpk/3"
    return [
        world.block(form, under=under, digits=digits, pan=pan).ciphertext
        for pan, digits in items.items()
    ]


def pans_of(*pans: str) -> bytes:
    return b"".join(map(packed, pans or ITEMS))


def batch(
    world: World,
    source: Column = ZPK,
    target: Column = AES,
    *,
    pin_blocks: bytes | None = None,
    pans: bytes | None = None,
    made=None,
) -> TranslatedBatch:
    if pin_blocks is None:
        pin_blocks = b"".join(blocks_of(world, source.format))
    if pans is None:
        bound = source.format.carries_pan or target.format.carries_pan
        pans = pans_of() if bound else b""
    return world.translate_pin_batch(
        made or call(METHOD), source=source, target=target, pin_blocks=pin_blocks, pans=pans
    )


def granting(directory: Path, **row: object) -> World:
    return World(directory, rows=tuple(replace(each, **row) for each in EVERYTHING))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_column_becomes_every_column_that_it_may(
    world: World, source: Format, target: Format
) -> None:
    made = batch(world, column(source), column_to(target))
    assert made.statuses == bytes([ItemStatus.DONE] * 3)
    width = target.block_bytes
    under = "zpk-aes/1" if target is Format.ISO_4 else "zpk-e/1"
    for at, (pan, digits) in enumerate(ITEMS.items()):
        block = made.pin_blocks[at * width : (at + 1) * width]
        assert world.pin_in(block, to_block(form=target, pan=pan), under) == digits
    assert made.target_key.id == under


def test_every_item_has_its_own_status_and_zeros_where_it_was_not_done(world: World) -> None:
    good = blocks_of(world, Format.ISO_0)
    repeated = good[0]
    made = batch(
        world,
        pin_blocks=b"".join((good[0], bytes(8), good[2], repeated)),
        pans=pans_of(PAN, OTHER_PAN) + b"\xff" * PAN_BYTES + pans_of(PAN),
    )
    assert [ItemStatus(status) for status in made.statuses] == [
        *(ItemStatus.DONE, ItemStatus.REFUSED),
        *(ItemStatus.PAN_MALFORMED, ItemStatus.ACCOUNT_REPEATED),
    ]
    assert any(made.pin_blocks[:16])
    assert not any(made.pin_blocks[16:])


def test_another_pan_in_an_items_place_refuses_that_item_alone(world: World) -> None:
    swapped = pans_of(THIRD_PAN, OTHER_PAN, PAN)
    made = batch(world, pans=swapped)
    assert list(made.statuses) == [ItemStatus.REFUSED, ItemStatus.DONE, ItemStatus.REFUSED]


def test_the_row_pins_the_length_of_every_item(tmp_path: Path) -> None:
    world = granting(tmp_path, pin_length=PinLength(minimum=6, maximum=6))
    made = batch(world)
    assert list(made.statuses) == [ItemStatus.REFUSED, ItemStatus.DONE, ItemStatus.REFUSED]


def test_a_batch_takes_two_hsm_calls_and_one_more_for_each_side_of_format_4(world: World) -> None:
    batch(world, ZPK, replace(ZPK, key="zpk-e"))
    assert world.device.calls == {"decipher": 1, "encipher": 1}
    world.device.calls.clear()
    batch(world, AES, AES)
    assert world.device.calls == {"decipher": 2, "encipher": 2, "random": 1}


# Columns

UNFIT = {
    "no block": (b"", b"", "pin_blocks"),
    "half a block": (bytes(12), pans_of(PAN), "pin_blocks"),
    "one block too many": (bytes(8 * (MAX_ITEMS + 1)), b"", "pin_blocks"),
    "no PANs": (bytes(16), b"", "pans"),
    "a PAN too few": (bytes(16), pans_of(PAN), "pans"),
    "a PAN too many": (bytes(8), pans_of(PAN, OTHER_PAN), "pans"),
    "half a PAN": (bytes(8), pans_of(PAN)[:-1], "pans"),
}


@pytest.mark.parametrize(("pin_blocks", "pans", "at"), UNFIT.values(), ids=UNFIT)
def test_columns_that_do_not_fit_refuse_the_whole(
    world: World, pin_blocks: bytes, pans: bytes, at: str
) -> None:
    refusal = refusal_of(lambda: batch(world, pin_blocks=pin_blocks, pans=pans))
    assert (refusal.reason, refusal.field) == (Reason.BATCH_INVALID, at)
    assert world.is_untouched()


def test_pans_are_refused_where_none_are_wanted(world: World) -> None:
    refusal = refusal_of(lambda: batch(world, FREE, FREE, pans=pans_of()))
    assert (refusal.reason, refusal.field) == (Reason.BATCH_INVALID, "pans")
    assert world.is_untouched()


def test_whole_blocks_are_those_of_the_source(world: World) -> None:
    three_halves = bytes(24)
    refusal = refusal_of(lambda: batch(world, AES, AES, pin_blocks=three_halves, pans=b""))
    assert (refusal.reason, refusal.field) == (Reason.BATCH_INVALID, "pin_blocks")


def test_the_largest_batch_is_taken(world: World) -> None:
    made = batch(world, FREE, FREE_OUT, pin_blocks=bytes(8 * MAX_ITEMS), pans=b"")
    assert len(made.statuses) == MAX_ITEMS


# Refusals


@pytest.mark.parametrize("target", [Format.ISO_0, Format.ISO_1, Format.ISO_3])
def test_what_opens_for_other_pans_goes_under_keys_that_do_not_open(
    tmp_path: Path, target: Format
) -> None:
    """Nothing that a batch makes is kept for its PAN. Short PINs in format 0 open for no other."""
    source, back = column(Format.ISO_1), Column(key="zpk", format=target)
    for folder in ("any", "six"):
        (tmp_path / folder).mkdir()
    for world, refused in (
        (World(tmp_path / "any"), True),
        (granting(tmp_path / "six", pin_length=PinLength(maximum=6)), target is not Format.ISO_0),
    ):
        if refused:
            refusal = refusal_of(lambda w=world: batch(w, source, back))
            assert (refusal.reason, refusal.field) == (Reason.KEY_USAGE_MISMATCH, "target.key")
            assert not world.device.calls
        else:
            assert batch(world, source, back).statuses


BAD_COLUMNS = {
    **{
        f"source: {name}": (Column(key=bad.key, format=bad.format), None, reason, f"source.{at}")
        for name, (bad, reason, at) in BAD_SOURCES.items()
        if isinstance(bad, PinBlockSource) and not at.endswith("ciphertext")
    },
    **{
        f"target: {name}": (None, Column(key=bad.key, format=bad.format), reason, f"target.{at}")
        for name, (bad, reason, at) in BAD_TARGETS.items()
        if isinstance(bad, PinBlockTarget)
    },
}


@pytest.mark.parametrize(
    ("source", "target", "reason", "at"), BAD_COLUMNS.values(), ids=BAD_COLUMNS
)
def test_a_column_that_cannot_be_is_refused(
    world: World, source: Column | None, target: Column | None, reason: Reason, at: str
) -> None:
    refusal = refusal_of(
        lambda: batch(world, source or ZPK, target or ZPK, pin_blocks=bytes(16), pans=b"")
    )
    assert (refusal.reason, refusal.field) == (reason, at.replace(".pin_block", ""))
    assert world.is_untouched()


def test_a_step_that_nobody_may_take_is_refused(world: World) -> None:
    refusal = refusal_of(lambda: batch(world, ZPK, FREE))
    assert refusal.reason is Reason.TRANSLATION_FORBIDDEN
    assert world.is_untouched()


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"keys": frozenset({"zpk"})}, Reason.KEY_NOT_GRANTED),
        ({"formats": frozenset({Format.ISO_4})}, Reason.FORMAT_NOT_GRANTED),
        (
            {"translations": frozenset({Permission.ISO_1_TO_PAN})},
            Reason.TRANSLATION_NOT_GRANTED,
        ),
    ],
)
def test_both_columns_and_the_step_must_be_granted(
    tmp_path: Path, lacking: dict, reason: Reason
) -> None:
    world = granting(tmp_path, **lacking)
    assert refusal_of(lambda: batch(world, AES, ZPK)).reason is reason
    assert world.is_untouched()


def test_a_rate_of_pans_is_not_asked_since_an_account_stands_once(tmp_path: Path) -> None:
    world = granting(tmp_path, per_pan=Rate(count=1, period_s=60.0, burst=1), per_caller=None)
    for _ in range(2):
        assert not any(batch(world).statuses)
    assert world.table.live(now=world.now) == 0


def test_an_hsm_that_is_away_refuses_the_whole(world: World) -> None:
    world.device.failure = HsmUnavailable
    assert refusal_of(lambda: batch(world)).reason is Reason.HSM_UNAVAILABLE


def test_notes_name_the_columns_and_no_pan(world: World) -> None:
    made = call(METHOD)
    batch(world, made=made)
    assert [each.id for each in made.notes.keys] == ["zpk/3", "zpk-aes/1"]
    assert (made.notes.sources, made.notes.target) == (["ISO_0"], "ISO_4")
    assert made.notes.pan_index == ""


def test_an_item_of_a_batch_is_what_one_block_would_be(world: World) -> None:
    block = batch(world, ZPK, replace(ZPK, key="zpk-e")).pin_blocks[:8]
    alone = world.translate_pin(
        call("PinBlockService.TranslatePin"),
        source=world.block(digits=ITEMS[PAN]),
        target=PinBlockTarget(key="zpk-e", format=Format.ISO_0, pan=Pan(PAN)),
    )
    assert block == alone.pin_block

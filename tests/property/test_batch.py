"""A batch ends, item by item, as the one-at-a-time codecs would end it."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinvault.clearzone.batch.fill import draw_letters
from pinvault.clearzone.batch.pans import admit
from pinvault.clearzone.iso9564 import fields, format4
from pinvault.model.batch import ItemStatus
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import PinLength
from tests.support.batch import (
    ALIASED,
    PAIRS,
    Item,
    Wire,
    clear_field,
    expected,
    good_items,
    outcome,
    packed,
    run,
    seal,
    spoiled,
)

DIGITS = "0123456789"
HEX = "0123456789ABCDEF"
FORMATS = (Format.ISO_0, Format.ISO_1, Format.ISO_3, Format.ISO_4)

quick = settings(max_examples=40)
seeds = st.integers(0, 2**32 - 1)
lengths = st.tuples(st.integers(1, 12), st.integers(4, 19))


def pan_of(rng: random.Random) -> str:
    return "".join(rng.choices(DIGITS, k=rng.randint(12, 19)))


def no_pan(rng: random.Random) -> str:
    """Hex characters that are no PAN: too short, too long, or with a letter inside."""
    pan = pan_of(rng)
    at = rng.randrange(len(pan) - 1)
    return rng.choice(
        [
            pan[: rng.randrange(12)],
            pan.ljust(20, rng.choice(DIGITS)),
            pan[:at] + rng.choice("ABCDEF") + pan[at + 1 :],
            pan + rng.choice("ABCDE"),
        ]
    )


def field_of(source: Format, pan: str, rng: random.Random) -> bytes:
    """A PIN field, every other one with a fault somewhere."""
    pin = "".join(rng.choices(DIGITS, k=rng.randint(4, 12)))
    clear = clear_field(source, pin, pan, rng)
    at = rng.randrange(8)
    return rng.choice(
        [
            clear,
            clear,
            clear[:at] + rng.randbytes(1) + clear[at + 1 :],
            rng.choice([rng.randbytes(len(clear)), clear[:1] + rng.randbytes(len(clear) - 1)]),
        ]
    )


def item_of(source: Format, others: list[Item], rng: random.Random) -> Item:
    """An item: mostly a good PAN, sometimes none, sometimes one whose account was there before."""
    pan = pan_of(rng)
    if others and rng.random() < 0.15:
        pan = rng.choice(DIGITS) + rng.choice(others).pan[-9:].rjust(18, rng.choice(DIGITS))
        pan = pan if pan.isdigit() else pan_of(rng)
    block = seal(source, field_of(source, pan, rng), pan)
    return Item(no_pan(rng) if rng.random() < 0.1 else pan, block)


def batch_of(source: Format, size: int, rng: random.Random) -> list[Item]:
    items: list[Item] = []
    for _ in range(size):
        items.append(item_of(source, items, rng))
    return items


@pytest.mark.parametrize(("source", "target"), PAIRS)
@quick
@given(st.integers(1, 40), seeds, lengths)
def test_every_item_ends_as_the_codecs_would_end_it(
    source: Format, target: Format, size: int, seed: int, bounds: tuple[int, int]
) -> None:
    items = batch_of(source, size, random.Random(seed))
    pin_length = PinLength(minimum=bounds[0], maximum=bounds[1])
    made = run(items, Wire(source, target), pin_length)
    assert outcome(made, items, target) == expected(items, source, target, pin_length)


@pytest.mark.parametrize(("source", "target"), ALIASED)
@quick
@given(st.integers(1, 40), seeds)
def test_a_block_is_opened_for_the_first_of_its_pans_alone(
    source: Format, target: Format, size: int, seed: int
) -> None:
    """Copied to other items, with PANs good and bad; the others end as they would without it."""
    rng = random.Random(seed)
    items = batch_of(source, size, rng)
    for at in range(1, size):
        if rng.random() < 0.3:
            items[at] = replace(items[at], block=rng.choice(items[:at]).block)
    made = run(items, Wire(source, target), blocks_once=True)
    assert outcome(made, items, target) == expected(items, source, target, blocks_once=True)


def with_nibble(field: bytes, at: int, value: int) -> bytes:
    text = field.hex()
    return bytes.fromhex(text[:at] + HEX[value] + text[at + 1 :])


@pytest.mark.parametrize("source", FORMATS)
def test_every_nibble_of_every_pin_length_matters(source: Format) -> None:
    rng = random.Random(16)
    items = []
    for length in range(4, 13):
        for at in range(16):
            for value in range(16):
                pan = f"4{len(items):010d}0"
                clear = clear_field(source, "739205184627"[:length], pan, rng)
                items.append(Item(pan, seal(source, with_nibble(clear, at, value), pan)))
    for target in (Format.ISO_0, Format.ISO_4):
        found = outcome(run(items, Wire(source, target)), items, target)
        assert found == expected(items, source, target)
        assert {status for status, _ in found} == {ItemStatus.DONE, ItemStatus.REFUSED}


def test_every_nibble_of_every_pan_length_matters() -> None:
    pans = [
        with_nibble(packed(("4000001234562000" + "9876")[:length]), at, value).hex().upper()
        for length in range(21)
        for at in range(20)
        for value in range(16)
    ]
    statuses = admit(b"".join(packed(pan) for pan in pans), accounts_once=False).statuses
    for pan, status in zip(pans, statuses, strict=True):
        digits = pan.rstrip("F")
        well_formed = 12 <= len(digits) <= 19 and digits.isdigit()
        assert status == (ItemStatus.DONE if well_formed else ItemStatus.PAN_MALFORMED)


@quick
@given(st.lists(st.text(DIGITS, min_size=12, max_size=19), min_size=1, max_size=40), seeds)
def test_the_pan_fields_are_those_of_the_codecs_whatever_stands_beside_them(
    pans: list[str], seed: int
) -> None:
    rng = random.Random(seed)
    mixed = [text for pan in pans for text in (pan, no_pan(rng))]
    column = admit(b"".join(packed(text) for text in mixed), accounts_once=True)
    grid = column.grid
    for at, pan in enumerate(pans):
        for block_format in (Format.ISO_0, Format.ISO_3):
            rows = grid.weave(column.pan_field(block_format), width=8)
            assert rows[16 * at : 16 * at + 8] == fields.pan_field(Pan(pan))
        rows = grid.weave(column.pan_field(Format.ISO_4), width=16)
        assert rows[32 * at : 32 * at + 16] == format4.pan_field(Pan(pan))


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(max_examples=8)
@given(st.integers(0, 29), seeds)
def test_a_spoiled_item_changes_nothing_of_the_others(
    source: Format, target: Format, spoilt: int, seed: int
) -> None:
    items = good_items(30, source, seed=seed)
    before = run(items, Wire(source, target))
    for worse in (spoiled(items[spoilt], source), replace(items[spoilt], pan="4")):
        after = run([*items[:spoilt], worse, *items[spoilt + 1 :]], Wire(source, target))
        others = [at for at in range(30) if at != spoilt]
        width = target.block_bytes
        assert not any(before.statuses)
        assert not any(after.statuses[at] for at in others)
        for at in others:
            place = slice(at * width, (at + 1) * width)
            assert after.blocks[place] == before.blocks[place]


@settings(max_examples=30)
@given(st.integers(1, 300), seeds)
def test_letters_are_drawn_until_there_are_enough(length: int, seed: int) -> None:
    rng = random.Random(seed)
    drawn = draw_letters(length, random=lambda size: bytes([rng.choice([255, 7])]) * min(size, 9))
    assert drawn == b"\xbb" * length

"""A batch costs the HSM a fixed number of calls, and what is not done leaves nothing behind."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from hsm.device import RANDOM_BYTES
from pinvault.clearzone.batch.fill import draw, draw_letters
from pinvault.clearzone.batch.pans import admit
from pinvault.clearzone.batch.translate import translate
from pinvault.model.batch import MAX_ITEMS, PAN_BYTES, ItemStatus
from pinvault.model.pins import Format
from tests.support.batch import (
    ALIASED,
    PAIRS,
    Item,
    Wire,
    ecb,
    good_item,
    good_items,
    outcome,
    packed,
    pans_of,
    run,
    spoiled,
)

DONE, REFUSED = ItemStatus.DONE, ItemStatus.REFUSED
MALFORMED, REPEATED = ItemStatus.PAN_MALFORMED, ItemStatus.ACCOUNT_REPEATED


def statuses_of(pans: list[str], *, accounts_once: bool = True) -> list[ItemStatus]:
    column = admit(b"".join(packed(pan) for pan in pans), accounts_once=accounts_once)
    return [ItemStatus(status) for status in column.statuses]


# Accounts


def test_the_first_item_of_an_account_goes_on_and_later_ones_do_not() -> None:
    pans = ["4000001234562000", "4111111111111111", "9990001234562009", "4000001234562000"]
    assert statuses_of(pans) == [DONE, DONE, REPEATED, REPEATED]
    assert statuses_of(pans, accounts_once=False) == [DONE] * 4


def test_an_account_is_eight_digits_and_the_check_digit_is_none_of_them() -> None:
    assert statuses_of(["4000001234562000", "4000001234562001"]) == [DONE, REPEATED]
    assert statuses_of(["4000001234562000", "4000001234562100"]) == [DONE, DONE]
    assert statuses_of(["4000001234562000", "4000002234562000"]) == [DONE, REPEATED]
    assert statuses_of(["4000001234562000", "4000001334562000"]) == [DONE, DONE]


def test_accounts_are_the_same_whatever_the_length_of_the_pan() -> None:
    pans = ["7" * (length - 9) + "123456780" for length in range(12, 20)]
    assert statuses_of(pans) == [DONE] + [REPEATED] * 7


@pytest.mark.parametrize("order", ["as they come", "sorted", "sorted but for the last"])
def test_repeats_are_found_in_any_order(order: str) -> None:
    """A sorted batch is seen at a glance to have none; it must not be seen wrongly."""
    rng = random.Random(order)
    for _ in range(300):
        accounts = [rng.randrange(12) * 10 ** rng.randrange(7) for _ in range(rng.randrange(1, 8))]
        if order != "as they come":
            accounts.sort()
        if order == "sorted but for the last":
            accounts.append(accounts[0])
        pans = b"".join(packed(f"4000000{account:08}3") for account in accounts)
        expected = [
            ItemStatus.ACCOUNT_REPEATED if account in accounts[:at] else ItemStatus.DONE
            for at, account in enumerate(accounts)
        ]
        assert list(admit(pans, accounts_once=True).statuses) == expected


def test_a_malformed_pan_takes_no_account() -> None:
    pans = ["400000123456200A", "4000001234562000", "4A00001234562000", "4000001234562000"]
    assert statuses_of(pans) == [MALFORMED, DONE, MALFORMED, REPEATED]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_accounts_may_repeat_where_no_format_gives_them_away(
    source: Format, target: Format
) -> None:
    items = good_items(1, source) * 2
    repeats = source.needs_pan_rate or target.needs_pan_rate
    made = run(items, Wire(source, target))
    assert list(made.statuses) == [DONE, REPEATED if repeats else DONE]


# Blocks


@pytest.mark.parametrize(("source", "target"), ALIASED)
def test_a_block_goes_on_with_the_first_of_its_pans(source: Format, target: Format) -> None:
    first, *others = good_items(3, source)
    items = [first, *(replace(other, block=first.block) for other in others)]
    wire = Wire(source, target)
    made = run(items, wire, blocks_once=True)
    assert list(made.statuses) == [DONE, REPEATED, REPEATED]
    assert wire.deciphered[0] == first.block + bytes(16)
    freely = run(items, Wire(source, target))
    assert REPEATED not in freely.statuses


def test_a_block_with_a_malformed_pan_is_not_taken_by_it() -> None:
    first, second = good_items(2, Format.ISO_3)
    items = [replace(first, pan="400000123456200A"), first, replace(second, block=first.block)]
    made = run(items, Wire(Format.ISO_3, Format.ISO_0), blocks_once=True)
    assert list(made.statuses) == [MALFORMED, DONE, REPEATED]


def test_an_account_that_stood_before_takes_no_block() -> None:
    first, second, third = good_items(3, Format.ISO_3)
    items = [first, replace(first, block=second.block), second, replace(third, block=second.block)]
    made = run(items, Wire(Format.ISO_3, Format.ISO_0), blocks_once=True)
    assert list(made.statuses) == [DONE, REPEATED, DONE, REPEATED]


# Sizes


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_calls_do_not_grow_with_the_batch_nor_show_what_is_in_it(
    source: Format, target: Format
) -> None:
    calls = {Format.ISO_4: 2}
    for count in (1, 200):
        good, bad = Wire(source, target), Wire(source, target)
        items = good_items(count, source)
        assert not any(run(items, good).statuses)
        assert set(run([spoiled(item, source) for item in items], bad).statuses) == {REFUSED}
        assert len(good.deciphered) == calls.get(source, 1)
        assert len(good.enciphered) == calls.get(target, 1)
        assert len(good.drawn) <= 1
        assert good.drawn == bad.drawn
        for each, other in ((good.deciphered, bad.deciphered), (good.enciphered, bad.enciphered)):
            assert [len(blocks) for blocks in each] == [len(blocks) for blocks in other]


@pytest.mark.parametrize("target", [Format.ISO_0, Format.ISO_3, Format.ISO_4])
def test_the_largest_batch_is_translated_in_as_many_calls(target: Format) -> None:
    few = good_items(100, Format.ISO_1)
    items = [Item(f"4{at:010d}0", few[at % 100].block) for at in range(MAX_ITEMS)]
    wire = Wire(Format.ISO_1, target)
    made = run(items, wire)
    assert not any(made.statuses)
    assert len(wire.deciphered) == 1
    assert len(wire.enciphered) == (2 if target is Format.ISO_4 else 1)
    assert max(wire.drawn, default=0) <= RANDOM_BYTES
    assert len(wire.drawn) == {Format.ISO_0: 0, Format.ISO_3: 1, Format.ISO_4: 2}[target]
    width = target.block_bytes
    last = replace(made, statuses=made.statuses[-9:], blocks=made.blocks[-9 * width :])
    assert outcome(last, items[-9:], target) == [
        (DONE, item.pin(Format.ISO_1)) for item in items[-9:]
    ]


@pytest.mark.parametrize("count", [0, MAX_ITEMS + 1])
def test_a_batch_has_one_to_ten_thousand_items(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 10000"):
        admit(packed("4000001234562000") * count, accounts_once=False)
    with pytest.raises(ValueError, match="1 to 10000"):
        run([Item("", bytes(8))] * count, Wire(Format.ISO_1, Format.ISO_1))


def test_pans_are_whole() -> None:
    with pytest.raises(ValueError, match="of one size"):
        admit(bytes(PAN_BYTES + 1), accounts_once=False)


def translate_without_hsm(blocks: bytes, pans, source: Format, target: Format) -> None:
    def no_call(_: object) -> bytes:
        pytest.fail("the HSM was touched")

    translate(
        blocks,
        pans,
        source=source,
        target=target,
        decipher=no_call,
        encipher=no_call,
        random=no_call,
    )


@pytest.mark.parametrize(
    ("size", "pans", "source", "target", "words"),
    [
        (9, 1, Format.ISO_0, Format.ISO_0, "of one size"),
        (24, 1, Format.ISO_4, Format.ISO_4, "of one size"),
        (8, 2, Format.ISO_0, Format.ISO_0, "one PAN a PIN block"),
        (8, 0, Format.ISO_0, Format.ISO_0, "bound to a PAN"),
        (8, 0, Format.ISO_1, Format.ISO_4, "bound to a PAN"),
        (8, 1, Format.ISO_0, Format.ISO_2, "format 0, 1, 3 or 4"),
        (8, 1, Format.PLUS, Format.ISO_0, "format 0, 1, 3 or 4"),
    ],
)
def test_what_is_no_batch_is_an_error_before_the_hsm_is_touched(
    size: int, pans: int, source: Format, target: Format, words: str
) -> None:
    column = admit(packed("4000001234562000") * pans, accounts_once=False) if pans else None
    with pytest.raises(ValueError, match=words):
        translate_without_hsm(bytes(size), column, source, target)


# What is not done


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_is_refused_leaves_nothing_in_what_is_enciphered(
    source: Format, target: Format
) -> None:
    items = good_items(3, source)
    items[1] = spoiled(items[1], source)
    wire = Wire(source, target)
    made = run(items, wire)
    width = target.block_bytes
    assert list(made.statuses) == [DONE, REFUSED, DONE]
    assert not any(wire.enciphered[0][width : 2 * width])
    assert any(wire.enciphered[0][:width])


@pytest.mark.parametrize("source", [Format.ISO_0, Format.ISO_3, Format.ISO_4])
def test_what_has_no_place_in_the_batch_is_not_deciphered(source: Format) -> None:
    items = good_items(4, source)
    items[1] = replace(items[1], pan="411111111111111A")
    items[2] = items[0]
    wire = Wire(source, Format.ISO_0)
    made = run(items, wire)
    width = source.block_bytes
    assert list(made.statuses) == [DONE, MALFORMED, REPEATED, DONE]
    assert wire.deciphered[0][:width] == items[0].block
    assert wire.deciphered[0][width : 3 * width] == bytes(2 * width)


def test_format_0_is_the_one_block_that_the_codec_makes() -> None:
    items = good_items(50, Format.ISO_3)
    made = run(items, Wire(Format.ISO_3, Format.ISO_0))
    again = run(items, Wire(Format.ISO_3, Format.ISO_0, seed=2))
    assert made == again


def test_nothing_shows_a_pan_or_a_block() -> None:
    items = good_items(2, Format.ISO_0)
    column = pans_of(items, Format.ISO_0, Format.ISO_0)
    assert column is not None
    made = run(items, Wire(Format.ISO_0, Format.ISO_0))
    assert repr(column) == r"PanColumn(statuses=b'\x00\x00')"
    assert repr(column.grid) == "Grid(items=2)"
    assert repr(made) == r"Translated(statuses=b'\x00\x00')"


# Random fill


def test_each_pair_of_letters_comes_from_as_many_bytes() -> None:
    drawn = draw_letters(252, random=lambda size: (bytes(range(256)) + bytes(size))[:size])
    pairs = Counter(drawn[:252])
    letters = range(0xA, 0x10)
    assert pairs == {high << 4 | low: 7 for high in letters for low in letters}


def test_letters_fall_evenly_on_every_place_of_the_fill() -> None:
    rng = random.Random(9564)
    items = [good_item(at, Format.ISO_1, rng, pin="7392") for at in range(3000)]
    wire = Wire(Format.ISO_1, Format.ISO_3, seed=9564)
    made = run(items, wire)
    clear = ecb("target", Format.ISO_3).decryptor().update(made.blocks)
    column = pans_of(items, Format.ISO_1, Format.ISO_3)
    assert column is not None
    rows = column.grid.add(clear, column.pan_field(Format.ISO_3), width=8).hex()
    for place in range(6, 16):
        counts = Counter(rows[place::16])
        assert sorted(counts) == list("abcdef")
        chi_square = sum((count - 500) ** 2 / 500 for count in counts.values())
        assert chi_square < 20.5  # five degrees of freedom, one in a thousand


@pytest.mark.parametrize("length", [1, RANDOM_BYTES, RANDOM_BYTES + 1, 2 * RANDOM_BYTES])
def test_random_bytes_are_drawn_in_calls_that_the_hsm_takes(length: int) -> None:
    sizes: list[int] = []

    def give(size: int) -> bytes:
        sizes.append(size)
        return bytes(size)

    assert draw(length, random=give) == bytes(length)
    assert sum(sizes) == length
    assert all(1 <= size <= RANDOM_BYTES for size in sizes)
    assert len(sizes) == -(-length // RANDOM_BYTES)

"""Cards: added once, found by id, PAN and external id, walked in order and in little memory."""

import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from pinvault.store import Store, cards, schema
from tests.store.conftest import empty
from tests.store.samples import NOW, add_cards, card, hashed, read, write

ids = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=36)
bounded = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


@bounded
@given(wanted=st.lists(ids, max_size=12), count=st.integers(1, 5))
def test_a_walk_meets_every_card_once_in_order(store: Store, wanted: list[str], count: int) -> None:
    """By code points on both engines, whatever the database's locale is."""
    empty(store)
    with store.write() as db:
        added = [cards.insert_card(db, card(card_id)) for card_id in wanted]
    assert sum(added) == len(set(wanted))
    met: list[str] = []
    while page := read(store, cards.cards_after, met[-1] if met else "", count=count):
        assert len(page) <= count
        met += [each.id for each in page]
    assert met == sorted(set(wanted))


def test_a_card_comes_back_as_it_went(store: Store) -> None:
    add_cards(store, "a")
    assert read(store, cards.get_card, "a") == card("a")
    assert read(store, cards.get_card, "b") is None


@pytest.mark.parametrize(
    ("card_id", "pan", "sequence_number", "is_new"),
    [
        ("a", "one", "01", False),
        ("a", "two", "01", False),
        ("b", "one", "01", False),
        ("b", "one", "02", True),
        ("b", "two", "01", True),
    ],
)
def test_an_id_and_a_pan_with_its_sequence_number_are_there_once(
    store: Store, card_id: str, pan: str, sequence_number: str, is_new: bool
) -> None:
    write(store, cards.insert_card, card("a", pan="one"))
    new = card(card_id, pan=pan, sequence_number=sequence_number)
    assert write(store, cards.insert_card, new) == is_new
    found = read(store, cards.cards_with_pan, hashed(pan))
    assert (new in found) == (is_new or new == card("a", pan="one"))


@pytest.mark.parametrize(
    ("program", "external_id", "is_new"),
    [
        ("debit", "one", False),
        ("debit", "One", True),
        ("debit", "two", True),
        ("credit", "one", True),
        ("debit", None, True),
    ],
)
def test_an_external_id_is_there_once_in_a_program(
    store: Store, program: str, external_id: str | None, is_new: bool
) -> None:
    write(store, cards.insert_card, card("a", external_id="one"))
    write(store, cards.insert_card, card("b"))  # as are many without one
    new = card("c", program=program, external_id=external_id)
    assert write(store, cards.insert_card, new) == is_new
    assert read(store, cards.get_card, "c") == (new if is_new else None)
    if external_id is not None:
        found = read(store, cards.card_with_external_id, program, external_id)
        assert found == (new if is_new else card("a", external_id="one"))


def test_a_card_is_found_by_its_external_id_alone_in_its_program(store: Store) -> None:
    with store.write() as db:
        for number, external_id in enumerate(("one", "two", None)):
            assert cards.insert_card(db, card(str(number), external_id=external_id))
    assert read(store, cards.card_with_external_id, "debit", "two") == card("1", external_id="two")
    for program, external_id in (("credit", "two"), ("debit", "three"), ("debit", "")):
        assert read(store, cards.card_with_external_id, program, external_id) is None


def test_the_cards_of_a_pan_come_by_sequence_number(store: Store) -> None:
    with store.write() as db:
        for number in ("03", "01", "02"):
            new = card(f"card {number}", pan="one", sequence_number=number)
            assert cards.insert_card(db, new)
        assert cards.insert_card(db, card("other"))
    found = read(store, cards.cards_with_pan, hashed("one"))
    assert [each.sequence_number for each in found] == ["01", "02", "03"]


def test_a_status_changes_only_from_the_expected_one(store: Store) -> None:
    add_cards(store, "a", "b")
    assert not write(store, cards.set_status, "a", expected="B", status="C", now=NOW + 1)
    assert write(store, cards.set_status, "a", expected="A", status="B", now=NOW + 1)
    assert not write(store, cards.set_status, "a", expected="A", status="C", now=NOW + 2)
    assert not write(store, cards.set_status, "c", expected="A", status="B", now=NOW)
    changed = read(store, cards.get_card, "a")
    assert changed is not None
    assert (changed.status, changed.changed_at, changed.created_at) == ("B", NOW + 1, NOW)
    assert read(store, cards.get_card, "b") == card("b")


def test_a_walk_of_any_length_needs_the_memory_of_a_page(store: Store) -> None:
    columns = [column.name for column in schema.card.columns]
    with store.write() as db:
        made = [card(f"{number:06}") for number in range(5_000)]
        db.execute(
            insert(schema.card), [{name: getattr(c, name) for name in columns} for c in made]
        )
    del made
    peaks = []
    after = ""
    tracemalloc.start()
    try:
        for _ in range(50):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            after = read(store, cards.cards_after, after, count=100)[-1].id
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert after == "004999"
    assert max(peaks[25:]) < 1.5 * min(peaks[1:])

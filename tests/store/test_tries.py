"""Tries of calls that overlap: who counted one in a round touches no other round."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from pinvault.store import Store, pins
from pinvault.store.pins import StoredPin
from tests.store.samples import NOW, add_cards, material, read, write

LIMIT = 3
CARD = "card"

ENDS: dict[str, Callable[[Connection], object]] = {
    "the right PIN": lambda db: pins.clear_tries(db, CARD, generation=1),
    "a new PIN": lambda db: pins.put_pin(db, CARD, material(2), replaces=1, now=NOW),
    "a new PIN that unblocks": lambda db: pins.put_pin(
        db, CARD, material(2), replaces=1, now=NOW, unblocks=True
    ),
    "an unblocking without a block": lambda db: pins.unblock(db, CARD),
    "an unblocking": lambda db: pins.unblock(db, CARD),
}
by_every_end = pytest.mark.parametrize("end", ENDS)


@pytest.fixture
def with_pin(store: Store) -> Store:
    add_cards(store, CARD)
    assert write(store, pins.put_pin, CARD, material(), replaces=pins.NO_PIN, now=NOW)
    return store


def count(store: Store) -> StoredPin:
    counted = write(store, pins.count_try, CARD, limit=LIMIT, now=NOW)
    assert counted is not None
    return counted


def end_round(store: Store, end: str) -> None:
    if end == "an unblocking":
        with store.write() as db:
            db.exec_driver_sql(f"UPDATE pin SET blocked_at = {NOW}")
    assert write(store, ENDS[end]) is not (end == "an unblocking without a block")


def present(store: Store) -> StoredPin:
    found = read(store, pins.get_pin, CARD)
    assert found is not None
    return found


@by_every_end
def test_a_try_that_came_back_with_its_round_takes_none_of_the_next_back(
    with_pin: Store, end: str
) -> None:
    """Otherwise the wrong PIN that is counted in the next would cost nothing."""
    early = count(with_pin)
    end_round(with_pin, end)
    late = count(with_pin)
    assert not write(with_pin, pins.give_back, CARD, try_round=early.try_round)
    assert present(with_pin).tries_used == 1
    assert write(with_pin, pins.give_back, CARD, try_round=late.try_round)
    assert present(with_pin).tries_used == 0


@by_every_end
def test_the_last_try_of_a_round_does_not_block_the_next(with_pin: Store, end: str) -> None:
    *_, last = (count(with_pin) for _ in range(LIMIT))
    end_round(with_pin, end)
    *_, late = (count(with_pin) for _ in range(LIMIT))
    values = {"limit": LIMIT, "now": NOW}
    assert not write(with_pin, pins.block, CARD, try_round=last.try_round, **values)
    assert present(with_pin).blocked_at is None
    assert write(with_pin, pins.block, CARD, try_round=late.try_round, **values)
    assert present(with_pin).blocked_at == NOW

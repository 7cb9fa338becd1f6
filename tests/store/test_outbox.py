"""The outbox: due in order, settled by the newest claim alone."""

from typing import Any

import pytest
from sqlalchemy import Connection

from pinvault.store import Store, outbox
from tests.store.samples import NOW, SECOND, message, read, write

LEASE = NOW + 30 * SECOND
LATER = NOW + 300 * SECOND


def add(store: Store, *ids: str) -> None:
    with store.write() as db:
        for number, message_id in enumerate(ids):
            outbox.add(db, message(message_id), now=NOW + number)


def claim(store: Store, **other: Any) -> list[tuple[str, int]]:
    values = {"now": NOW + 10, "until": LEASE, "count": 10} | other
    claimed = write(store, outbox.claim, **values)
    return sorted((each.id, each.attempts) for each in claimed)


def test_a_message_is_there_if_its_transaction_is(store: Store) -> None:
    def work(db: Connection) -> None:
        outbox.add(db, message("a"), now=NOW)
        raise KeyError

    with pytest.raises(KeyError):
        store.transact(work)
    assert claim(store) == []
    add(store, "a")
    (taken,) = write(store, outbox.claim, now=NOW, until=LEASE, count=1)
    sent = message("a")
    assert (taken.id, taken.endpoint, taken.type) == (sent.id, sent.endpoint, sent.type)
    assert (taken.card_id, taken.body) == (sent.card_id, sent.body)


def test_what_is_due_first_is_claimed_first(store: Store) -> None:
    add(store, "c", "a", "b")
    assert claim(store, now=NOW - 1) == []
    assert claim(store, count=2) == [("a", 1), ("c", 1)]
    assert claim(store) == [("b", 1)]
    assert claim(store) == []


def test_a_claim_that_ran_out_is_not_heard(store: Store) -> None:
    add(store, "a")
    assert claim(store) == [("a", 1)]
    assert claim(store, now=LEASE, until=LATER) == [("a", 2)]
    assert not write(store, outbox.delivered, "a", attempt=1, keep_until=LATER)
    assert not write(store, outbox.failed, "a", attempt=1, next_at=LATER)
    assert not write(store, outbox.give_up, "a", attempt=1, now=NOW)
    assert write(store, outbox.delivered, "a", attempt=2, keep_until=LATER)
    assert not write(store, outbox.failed, "a", attempt=2, next_at=LATER)
    assert claim(store, now=LATER) == []


def test_a_message_that_failed_is_due_again(store: Store) -> None:
    add(store, "a")
    assert claim(store) == [("a", 1)]
    assert write(store, outbox.failed, "a", attempt=1, next_at=LATER)
    assert claim(store, now=LATER - 1) == []
    assert claim(store, now=LATER) == [("a", 2)]


def test_a_dead_message_waits_to_be_sent_again(store: Store) -> None:
    add(store, "a", "b")
    assert claim(store) == [("a", 1), ("b", 1)]
    assert write(store, outbox.give_up, "b", attempt=1, now=LATER)
    assert claim(store, now=LATER, until=LATER + 1) == [("a", 2)]
    assert [each.id for each in read(store, outbox.dead, count=10)] == ["b"]
    assert not write(store, outbox.resend, "a", now=LATER)
    assert write(store, outbox.resend, "b", now=LATER)
    assert read(store, outbox.dead, count=10) == ()
    assert claim(store, now=LATER) == [("b", 2)]

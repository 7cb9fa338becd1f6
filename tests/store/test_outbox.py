"""The outbox: due in order, settled by the newest claim alone."""

from dataclasses import replace
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


def page(store: Store, state: outbox.State, **other: Any) -> list[str]:
    values = {"after": None, "count": 10} | other
    return [each.id for each in read(store, outbox.page, state=state, **values)]


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
    assert page(store, "dead") == ["b"]
    assert not write(store, outbox.resend, "a", now=LATER)
    assert write(store, outbox.resend, "b", now=LATER)
    assert page(store, "dead") == []
    assert claim(store, now=LATER) == [("b", 2)]


def test_pages_hold_the_messages_of_a_state_by_what_is_due_first(store: Store) -> None:
    """Those that are due at once come by id, so that no page leaves one out."""
    add(store, "b", "a")
    with store.write() as db:
        for message_id in ("e", "c", "d"):
            outbox.add(db, message(message_id), now=NOW + 1)
        outbox.add(db, message("z"), now=NOW - 1)
        outbox.claim(db, now=NOW - 1, until=LEASE, count=1)
        outbox.delivered(db, "z", attempt=1, keep_until=LATER)
    met: list[str] = []
    while found := page(store, "pending", count=2, after=known(store, *met[-1:])):
        met += found
    assert met == ["b", "a", "c", "d", "e"]
    assert page(store, "delivered") == ["z"]
    assert page(store, "dead") == []


def known(store: Store, message_id: str = "") -> outbox.StoredMessage | None:
    return read(store, outbox.get, message_id)


def test_a_message_is_told_as_it_stands(store: Store) -> None:
    add(store, "a")
    sent = message("a")
    made = {name: getattr(sent, name) for name in ("id", "endpoint", "type", "card_id", "body")}
    stored = outbox.StoredMessage(**made, created_at=NOW, attempts=0, state="pending", next_at=NOW)
    assert known(store, "a") == stored
    assert claim(store) == [("a", 1)]
    assert known(store, "a") == replace(stored, attempts=1, next_at=LEASE)
    assert write(store, outbox.give_up, "a", attempt=1, now=LATER)
    assert known(store, "a") == replace(stored, attempts=1, state="dead", next_at=LATER)
    assert known(store, "b") is None


def test_the_queue_is_counted(store: Store) -> None:
    assert read(store, outbox.queue, now=NOW) == outbox.Queue(0, 0, 0, None)
    add(store, "a", "b", "c", "d")
    assert read(store, outbox.queue, now=NOW - 1) == outbox.Queue(4, 0, 0, None)
    assert claim(store, count=2) == [("a", 1), ("b", 1)]
    assert read(store, outbox.queue, now=NOW + 2) == outbox.Queue(4, 1, 0, NOW + 2)
    assert write(store, outbox.give_up, "a", attempt=1, now=NOW)
    assert write(store, outbox.delivered, "b", attempt=1, keep_until=LATER)
    assert read(store, outbox.queue, now=NOW + 3) == outbox.Queue(2, 2, 1, NOW + 2)


def test_endpoints_that_have_enough_are_passed_by(store: Store) -> None:
    for number, endpoint in enumerate(["slow", "slow", "core", "slow", "erp"]):
        sent = replace(message(f"{number}"), endpoint=endpoint)
        write(store, outbox.add, sent, now=NOW + number)
    assert claim(store, count=2, past=["slow"]) == [("2", 1), ("4", 1)]
    assert claim(store, count=2, past=["slow", "core", "erp"]) == []
    assert claim(store, count=2) == [("0", 1), ("1", 1)]

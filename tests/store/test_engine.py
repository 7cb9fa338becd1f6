"""Transactions: whole or nothing, one snapshot a read, faults that tell nothing."""

import pickle
import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from pinvault.store import (
    SchemaMismatch,
    Store,
    StoreBusy,
    StoreError,
    StoreMisconfigured,
    StoreRefused,
    StoreUnavailable,
    cards,
    pins,
    tokens,
    upgrade,
)
from tests.store.samples import NOW, add_cards, card, hashed, material, read, write
from tests.support.databases import PostgresServer

BUSY = sqlite3.OperationalError


class Stop(Exception):
    """The work is left."""


def add_and(store: Store, *then: Callable[[], object]) -> None:
    """Add a card `a`, with something before the commit."""
    with store.write() as db:
        assert cards.insert_card(db, card("a"))
        for step in then:
            step()


def stop() -> None:
    raise Stop


def test_what_is_left_half_way_is_undone(store: Store) -> None:
    with pytest.raises(Stop):
        add_and(store, stop)
    assert read(store, cards.get_card, "a") is None


def test_a_read_sees_one_snapshot(store: Store) -> None:
    add_cards(store, "a")
    with store.read() as db:
        assert [each.id for each in cards.cards_after(db, "", count=9)] == ["a"]
        add_cards(store, "b")
        assert [each.id for each in cards.cards_after(db, "", count=9)] == ["a"]


def test_a_read_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError), store.read() as db:
        cards.insert_card(db, card("a"))


def test_a_connection_that_read_writes_again(store: Store) -> None:
    """PostgreSQL's are shared, and read-only for one transaction."""
    for number in range(20):
        store.probe()
        add_cards(store, str(number))


def test_faults_tell_nothing(store: Store) -> None:
    """Drivers put values and statements into texts; none stays, not even in what hangs on it."""
    marked = "marked"
    with pytest.raises(StoreRefused) as caught:
        write(store, pins.put_pin, marked, material(), replaces=pins.NO_PIN, now=NOW)
    fault: BaseException | None = caught.value
    assert caught.value.code in {"23503", "SQLITE_CONSTRAINT_FOREIGNKEY"}
    while fault is not None:
        assert marked not in f"{fault!s}{fault!r}{vars(fault)}"
        assert "INSERT" not in f"{fault!s}{fault!r}{vars(fault)}"
        fault = fault.__cause__ or fault.__context__


def test_errors_go_from_process_to_process() -> None:
    sent = StoreUnavailable("away", remedy="wait", code="57P01", in_doubt=True)
    received = pickle.loads(pickle.dumps(sent))
    assert type(received) is StoreUnavailable
    assert vars(received) == vars(sent)


def test_rows_do_not_show_what_they_hold(store: Store) -> None:
    add_cards(store, "a")
    write(store, pins.put_pin, "a", material(4321), replaces=pins.NO_PIN, now=NOW)
    shown = repr(read(store, cards.get_card, "a")) + repr(read(store, pins.get_pin, "a"))
    for word in ("4321", "enciphered", str(hashed("a"))):
        assert word not in shown


def test_lengths_are_the_databases_matter_too(store: Store) -> None:
    add_cards(store, "a")
    values = {"card_id": "a", "kind": "SET_PIN", "caller": "bank", "now": NOW, "expires_at": NOW}
    for token_hash, seal in ((31, 32), (32, 31)):
        hashes = {"token_hash": bytes(token_hash), "seal": bytes(seal)}
        with pytest.raises(StoreRefused):
            write(store, tokens.issue, **hashes, **values)


@pytest.mark.parametrize("attempts", [1, 3])
def test_work_that_met_others_is_done_again(store: Store, attempts: int) -> None:
    met: list[int] = []

    def work(db: Connection) -> str:
        assert cards.insert_card(db, card("a"))
        met.append(1)
        if len(met) < attempts:
            raise StoreBusy("the store is busy", remedy="try again")
        return "done"

    assert store.transact(work) == "done"
    assert len(met) == attempts
    assert read(store, cards.get_card, "a") is not None


def test_deadlocked_transactions_both_end(store: Store) -> None:
    """SQLite lets one writer in at a time; PostgreSQL ends one of two, and it is done again."""
    add_cards(store, "a", "b")
    both_hold_one = threading.Barrier(2)

    def swap(first: str, second: str) -> None:
        def work(db: Connection) -> None:
            cards.set_status(db, first, expected="A", status="A", now=NOW)
            with suppress(threading.BrokenBarrierError):
                both_hold_one.wait(0.2)
            cards.set_status(db, second, expected="A", status="A", now=NOW + 1)

        store.transact(work)

    threads = [threading.Thread(target=swap, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    changed = [read(store, cards.get_card, card_id) for card_id in "ab"]
    assert [each.changed_at - NOW for each in changed if each] != []


def test_no_lock_is_waited_for_without_a_bound(address: str, store: Store) -> None:
    add_cards(store, "a")
    hurried = Store.open(address, wait_s=0.2)
    values = {"expected": "A", "status": "A", "now": NOW}
    with store.write() as db:
        cards.set_status(db, "a", **values)
        with pytest.raises(StoreBusy):
            write(hurried, cards.set_status, "a", **values)
    assert write(hurried, cards.set_status, "a", **values)
    hurried.close()


def test_no_connection_is_waited_for_without_a_bound(address: str, store: Store) -> None:
    narrow = Store.open(address, connections=1, wait_s=0.2)
    with narrow.read(), pytest.raises(StoreUnavailable), narrow.read():
        pass
    narrow.probe()
    narrow.close()


def test_a_database_without_tables_is_refused(new_address: Callable[[], str]) -> None:
    address = new_address()
    with pytest.raises((SchemaMismatch, StoreMisconfigured)) as caught:
        Store.open(address)
    assert "pinvault store upgrade" in caught.value.remedy


@pytest.mark.parametrize("revision", ["0000", "9999"])
def test_other_tables_are_refused(new_address: Callable[[], str], revision: str) -> None:
    address = new_address()
    upgrade(address)
    store = Store.open(address)
    with store.write() as db:
        db.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": revision})
    store.close()
    with pytest.raises(SchemaMismatch) as caught:
        Store.open(address)
    assert caught.value.code == revision
    if revision == "9999":
        with pytest.raises(SchemaMismatch):
            upgrade(address)


def test_sqlite_is_set_up_to_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    upgrade(f"sqlite:///{path}")
    store = Store.open(f"sqlite:///{path}")
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "trusted_schema": 0,
    }
    with store.write() as db:
        assert {name: db.scalar(text(f"PRAGMA {name}")) for name in expected} == expected
        files = sorted(tmp_path.iterdir())
        assert [file.name for file in files] == ["store.db", "store.db-shm", "store.db-wal"]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        with closing(sqlite3.connect(path, timeout=0)) as outsider, pytest.raises(BUSY):
            outsider.execute("BEGIN IMMEDIATE")
    store.close()


def test_a_file_that_was_removed_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    upgrade(f"sqlite:///{path}")
    store = Store.open(f"sqlite:///{path}")
    path.unlink()
    with pytest.raises(StoreUnavailable):
        store.transact(lambda db: cards.insert_card(db, card("a")))
    assert not path.exists()
    store.close()


def test_a_server_that_comes_back_is_used_again(postgres: PostgresServer) -> None:
    address = postgres.create()
    upgrade(address)
    store = Store.open(address)
    with pytest.raises(StoreUnavailable) as caught:
        add_and(store, postgres.restart)
    assert caught.value.in_doubt
    assert read(store, cards.get_card, "a") is None
    add_cards(store, "a")
    store.close()


def test_connections_that_end_while_nobody_uses_them_are_replaced(postgres: PostgresServer) -> None:
    address = postgres.create()
    upgrade(address)
    store = Store.open(address)
    add_cards(store, "a")
    postgres.restart()
    add_cards(store, "b")
    postgres.restart()
    assert read(store, cards.get_card, "b") is not None
    store.close()


def test_nobody_waits_for_ever_for_a_server_that_hangs(postgres: PostgresServer) -> None:
    address = postgres.create()
    upgrade(address)
    store = Store.open(address, wait_s=0.2)
    with postgres.hung(), pytest.raises(StoreUnavailable) as caught:
        read(store, cards.get_card, "a")
    assert caught.value.code == "ConnectionTimeout"
    add_cards(store, "a")
    store.close()


def test_whether_a_commit_was_heard_by_a_server_that_hangs_is_in_doubt(
    postgres: PostgresServer,
) -> None:
    address = postgres.create()
    upgrade(address)
    store = Store.open(address, wait_s=0.2)
    with ExitStack() as hanging, pytest.raises(StoreUnavailable) as caught:
        add_and(store, lambda: hanging.enter_context(postgres.hung()))
    assert caught.value.in_doubt
    store.close()


def test_a_server_that_goes_away_in_the_middle_leaves_no_doubt(postgres: PostgresServer) -> None:
    address = postgres.create()
    upgrade(address)
    store = Store.open(address)

    def work(db: Connection) -> None:
        postgres.restart()
        cards.insert_card(db, card("a"))

    with pytest.raises(StoreUnavailable) as caught:
        store.transact(work)
    assert not caught.value.in_doubt
    add_cards(store, "a")
    store.close()


def test_a_server_that_may_lose_commits_is_refused(postgres: PostgresServer) -> None:
    address = postgres.create()
    upgrade(address)
    store = Store.open(address)
    with store.write() as db:
        db.execute(text("ALTER ROLE postgres SET synchronous_commit = off"))
    try:
        with pytest.raises(StoreMisconfigured):
            Store.open(address)
    finally:
        with store.write() as db:
            db.execute(text("ALTER ROLE postgres RESET synchronous_commit"))
        store.close()

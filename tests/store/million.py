"""A million cards: `python -m tests.store.million`, on both engines, or on the one that is named.

Fills a store with cards and their PINs, looks them up in an order that no cache knows, each in a
transaction of its own, and walks all of them; tells rates, plans, and the memory of this process.
"""

import hashlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, event, insert, text

from pinvault.model.cards import card_id
from pinvault.store import Store, cards, pins, upgrade
from pinvault.store.schema import card, pin
from tests.support.databases import PostgresServer

CARDS = 1_000_000
BATCH = 10_000
TENTH = CARDS // BATCH // 10
LOOKUPS = 10_000
PAGE = 1_000
START_MS = 1_767_225_600_000

Row = tuple[Any, ...]


def name_of(number: int) -> str:
    return card_id(now_ms=START_MS + number, drawn=hashed("id", number)[:16])


def hashed(word: str, number: int) -> bytes:
    return hashlib.sha256(f"{word} {number}".encode()).digest()


def card_rows(numbers: Iterable[int]) -> Iterator[Row]:
    for number in numbers:
        pan = hashed("pan", number)
        external, last_four = f"crd-{number:08}", f"{number % 10_000:04}"
        yield (
            *(name_of(number), "debit", external, pan, pan[:16], "pan-store/1", last_four),
            *("00", "3012", "active", START_MS * 1000, START_MS * 1000, hashed("seal", number)),
        )


def pin_rows(numbers: Iterable[int]) -> Iterator[Row]:
    for number in numbers:
        block = hashed("block", number)[:16]
        yield (
            *(name_of(number), "block", None, block, "pin-reference/1", None, None),
            *(START_MS * 1000, 0, None, None, 1, 1),
        )


def put(db: Connection, table: Table, rows: Iterable[Row]) -> None:
    names = [column.name for column in table.columns]
    if db.dialect.name == "sqlite":
        db.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
        return
    cursor = db.connection.driver_connection.cursor()  # type: ignore[union-attr]
    with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def fill(store: Store, count: int) -> list[float]:
    """Put so many cards and their PINs into the store; give the memory after each batch."""
    memory = []
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        with store.write() as db:
            put(db, card, card_rows(numbers))
            put(db, pin, pin_rows(numbers))
        memory.append(memory_mb())
    with store.write() as db:
        db.execute(text("ANALYZE"))
    return memory


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


LOOKS: dict[str, Callable[[Connection, int], object]] = {
    "by id": lambda db, n: cards.get_card(db, name_of(n)),
    "by the hash of the PAN": lambda db, n: cards.cards_with_pan(db, hashed("pan", n)),
    "by external id": lambda db, n: cards.card_with_external_id(db, "debit", f"crd-{n:08}"),
    "its PIN": lambda db, n: pins.get_pin(db, name_of(n)),
}


def look_up(store: Store, look: Callable[[Connection, int], object]) -> float:
    """Give how many cards a second are found."""
    numbers = random.Random(1).sample(range(CARDS), LOOKUPS)
    began = time.perf_counter()
    for number in numbers:
        with store.read() as db:
            assert look(db, number)
    return LOOKUPS / (time.perf_counter() - began)


def plan_of(store: Store, look: Callable[[Connection, int], object]) -> list[str]:
    sent: list[tuple[str, Any]] = []

    def note(_db: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        sent.append((statement, parameters))

    with store.read() as db:
        event.listen(db, "before_cursor_execute", note)
        look(db, 1)
        event.remove(db, "before_cursor_execute", note)
        explain = "EXPLAIN QUERY PLAN" if db.dialect.name == "sqlite" else "EXPLAIN"
        rows = db.exec_driver_sql(f"{explain} {sent[0][0]}", sent[0][1]).all()
    return [str(row[-1]).strip() for row in rows]


def walk(store: Store) -> int:
    met, after = 0, ""
    while True:
        with store.read() as db:
            page = cards.cards_after(db, after, count=PAGE)
        if not page:
            return met
        met, after = met + len(page), page[-1].id


def report(engine: str, address: str) -> None:
    upgrade(address)
    store = Store.open(address, wait_s=60)
    print(f"{engine}: this process holds {memory_mb():.0f} MB")
    began = time.perf_counter()
    memory = fill(store, CARDS)[TENTH - 1 :: TENTH]
    seconds = time.perf_counter() - began
    print(f"  filled in {seconds:.0f} s, MB held: {' '.join(f'{each:.0f}' for each in memory)}")
    for name, look in LOOKS.items():
        print(f"  {name}: {look_up(store, look):.0f}/s   {'; '.join(plan_of(store, look))}")
    began = time.perf_counter()
    assert walk(store) == CARDS
    print(f"  walked in {time.perf_counter() - began:.0f} s, MB held: {memory_mb():.0f}")
    store.close()


def main() -> None:
    engines = sys.argv[1:] or ["sqlite", "postgresql"]
    if "sqlite" in engines:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "store.db")
            report("SQLite", f"sqlite:///{file}")
            print(f"  on disk: {file.stat().st_size / 2**20:.0f} MB")
    if "postgresql" in engines:
        server = PostgresServer("shared_buffers=128MB", "max_wal_size=4GB")
        report("PostgreSQL", server.create())
        server.stop()


if __name__ == "__main__":
    main()

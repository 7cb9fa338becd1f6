"""Transactions on the store.

Rules:
- A transaction is whole or nothing. A `read` sees one snapshot and cannot write; a `write` sees
  what was committed before each of its statements.
- No call waits longer than the store's bound for its turn, a connection, a lock or a statement.
- Nothing that a driver says leaves: `pinvault.store.errors` tells what may be told.
- One `Store` a process, opened after the process was started: connections do not survive a fork.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Self, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from pinvault.store import drivers, migrating
from pinvault.store.errors import StoreBusy, StoreError, told
from pinvault.store.place import SQLITE, read_address

T = TypeVar("T")

CONNECTIONS: Final = 8
"""A call holds one at a time, for its transactions alone; more calls than these wait for one."""
WAIT_S: Final = 5.0
"""Seconds that a call may wait for any one thing: what a caller's deadline has room for."""
_FIRST_PAUSE_S: Final = 0.005


class Store:
    """An open store. Safe to use from any number of threads."""

    def __init__(self, reader: Engine, writer: Engine, *, writers: int, wait_s: float) -> None:
        self._reader = reader
        self._writer = writer
        self._turns = threading.BoundedSemaphore(writers)
        self._wait_s = wait_s

    @classmethod
    def open(cls, url: str, *, connections: int = CONNECTIONS, wait_s: float = WAIT_S) -> Self:
        """Open `sqlite:////absolute/path` or `postgresql://…`, at the schema of this release.

        StoreMisconfigured, SchemaMismatch or StoreUnavailable when it cannot serve.
        """
        address = read_address(url)
        migrating.require_file(address)
        reader, writer = drivers.reader_and_writer(address, connections=connections, wait_s=wait_s)
        # SQLite has one writer: the threads of a process queue for it here, and not at the file.
        writers = 1 if address.drivername == SQLITE else connections
        store = cls(reader, writer, writers=writers, wait_s=wait_s)
        try:
            with store.read() as db:
                drivers.require_durable(db)
                migrating.require_newest(db)
        except StoreError:
            store.close()
            raise
        return store

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one snapshot and refuses to write."""
        with _transaction(self._reader) as db:
            yield db

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose work is durable when the block ends, or undone if it raises."""
        if not self._turns.acquire(timeout=self._wait_s):
            raise StoreBusy("the store is busy", remedy="try again", code="turn")
        try:
            with _transaction(self._writer) as db:
                yield db
        finally:
            self._turns.release()

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a write transaction, again if others were in the way; give its result.

        `work` may so be called several times: it has no effect but on the connection.
        StoreBusy when the store's wait is over.
        """
        until = time.monotonic() + self._wait_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                with self.write() as db:
                    return work(db)
            except StoreBusy:
                if time.monotonic() + pause >= until:
                    raise
            time.sleep(random.uniform(0, pause))  # noqa: S311 (parts those who met)
            pause *= 2

    def probe(self) -> None:
        """See that the store answers, or raise StoreUnavailable; for health checks."""
        with self.read() as db:
            db.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close what is not in use; the rest is closed as it is given back."""
        self._reader.dispose()
        self._writer.dispose()


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    committing = False
    try:
        with engine.begin() as db:
            yield db
            committing = True
    except SQLAlchemyError as error:
        raise told(error, committing=committing) from None

"""The two engines, set up to lose nothing and to wait for nothing without a bound.

SQLite: one file, one host. WAL, every commit synced, deleted content overwritten, and a write
transaction takes the write lock when it begins, so that it never fails half-way for a lock. It asks
for it often: SQLite's own waiting sleeps ever longer, and starves who came late.
PostgreSQL: READ COMMITTED, where every rule is kept by single statements that lock the rows they
change; reads see one snapshot.
"""

import math
import random
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, text
from sqlalchemy.exc import DisconnectionError

from pinvault.store.errors import StoreMisconfigured
from pinvault.store.place import POSTGRESQL, SQLITE

_PRAGMAS: Final = {
    "journal_mode": "WAL",
    "synchronous": "FULL",
    "fullfsync": "ON",  # macOS: fsync alone leaves the data in the drive's cache
    "checkpoint_fullfsync": "ON",
    "foreign_keys": "ON",
    "secure_delete": "ON",
    "trusted_schema": "OFF",
    "temp_store": "MEMORY",
}

_BEGIN_WRITING: Final = "BEGIN IMMEDIATE"
_PAUSE_S: Final = 0.002


def reader_and_writer(url: URL, *, connections: int, wait_s: float) -> tuple[Engine, Engine]:
    """Make the engines for reading and for writing; PostgreSQL's share one pool."""
    if url.drivername == SQLITE:
        make = partial(sqlite, Path(url.database or ""), connections=connections, wait_s=wait_s)
        return make(query_only="ON"), make()
    engine = postgresql(url, connections=connections, wait_s=wait_s)
    reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return reader, engine


def sqlite(path: Path, *, connections: int, wait_s: float, **pragmas: str) -> Engine:
    """Make an engine over a file that exists; it waits `wait_s` seconds for locks and its pool."""
    connect = partial(
        sqlite3.connect,
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=wait_s,
        isolation_level=None,  # else the driver begins transactions of its own, and late
        check_same_thread=False,  # the pool hands a connection to one thread at a time
    )
    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=wait_s,
        hide_parameters=True,
    )
    settings = {**_PRAGMAS, **pragmas}
    if pragmas.get("query_only") == "ON":
        event.listen(engine, "begin", _begin_reading)
    else:
        settings["busy_timeout"] = "0"  # once connected, which waits for its locks
        event.listen(engine, "begin", partial(_begin_writing, wait_s))
    event.listen(engine, "connect", partial(_set_pragmas, settings, wait_s))
    return engine


def _set_pragmas(
    settings: dict[str, str], wait_s: float, connection: sqlite3.Connection, _record: object
) -> None:
    until = time.monotonic() + wait_s
    for name, value in settings.items():
        # Who meets another at the first WAL of a new file is refused at once, whatever the timeout.
        _insist(connection, f"PRAGMA {name} = {value}", until)


def _begin_reading(db: Connection) -> None:
    db.exec_driver_sql("BEGIN")


def _begin_writing(wait_s: float, db: Connection) -> None:
    connection = db.connection.driver_connection
    try:
        if connection is not None:
            _insist(connection, _BEGIN_WRITING, time.monotonic() + wait_s)
    except sqlite3.OperationalError:
        db.exec_driver_sql(_BEGIN_WRITING)  # where its error is told as every other


def _insist(connection: sqlite3.Connection, statement: str, until: float) -> None:
    """Execute a statement, again and again for as long as others hold what it needs."""
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > until:
                raise
            time.sleep(random.uniform(0, _PAUSE_S))  # noqa: S311 (parts those who met)
        else:
            return


def postgresql(
    url: URL, *, connections: int, wait_s: float, patience_s: float | None = None
) -> Engine:
    """Make an engine; it waits `wait_s` seconds for a connection, a lock or a statement.

    With `patience_s`, that long for a lock or a statement.
    """
    wait_ms = math.ceil(wait_s * 1000)
    bound_s = wait_s if patience_s is None else patience_s
    bound_ms = math.ceil(bound_s * 1000)
    told = {
        "lock_timeout": f"{bound_ms * 9 // 10}ms",  # before the other, so that it is told as such
        "statement_timeout": f"{bound_ms}ms",
        "idle_in_transaction_session_timeout": f"{bound_ms}ms",
    }
    arguments: dict[str, Any] = {
        "connect_timeout": max(2, math.ceil(wait_s)),  # libpq takes no less
        "tcp_user_timeout": wait_ms,
        "target_session_attrs": "read-write",  # after a failover the old primary may still answer
        "application_name": "pinvault",
        "options": " ".join(f"-c {name}={value}" for name, value in told.items()),
    }
    try:
        from pinvault.store.bounded import BoundedConnection

        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="READ COMMITTED",
            connect_args=arguments,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=wait_s,
            hide_parameters=True,
        )
    except ImportError:
        raise StoreMisconfigured(
            "PostgreSQL's driver is not installed", remedy="install pinvault[postgres]"
        ) from None

    def connect(_dialect: object, _record: object, given: Any, named: Any) -> BoundedConnection:
        return BoundedConnection.open(*given, wait_s=bound_s, **named)

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkout", _require_open)
    return engine


def _require_open(connection: Any, _record: object, _fairy: object) -> None:
    """Have the pool connect anew in place of a connection that the server has ended."""
    if connection.is_ended:
        raise DisconnectionError


def require_durable(db: Connection) -> None:
    """See that a commit is kept when it is confirmed, or raise StoreMisconfigured."""
    is_served = db.dialect.name == POSTGRESQL
    if is_served and db.scalar(text("SHOW synchronous_commit")) == "off":
        raise StoreMisconfigured(
            "the database confirms commits that it may lose",
            remedy="set synchronous_commit to on, or to a stricter value, for the service's role",
        )

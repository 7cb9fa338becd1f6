"""The migrations make what the code expects, and nothing else, whoever runs them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from pinvault.store import StoreRefused, migrating, upgrade
from pinvault.store.drivers import reader_and_writer
from pinvault.store.migrating import SCRIPTS, revision
from pinvault.store.place import create_private, read_address
from pinvault.store.schema import REVISION, metadata


@contextmanager
def raw(address: str) -> Iterator[Engine]:
    url = read_address(address)
    if url.database and url.drivername == "sqlite":
        create_private(Path(url.database))
    reader, writer = reader_and_writer(url, connections=1, wait_s=5)
    yield writer
    reader.dispose()
    writer.dispose()


def test_the_newest_revision_is_the_one_that_servers_ask_for() -> None:
    scripts = ScriptDirectory(str(SCRIPTS))
    assert scripts.get_heads() == [REVISION]
    history = [script.revision for script in scripts.walk_revisions()]
    assert history == sorted(history, reverse=True)  # so that older and newer can be told


def test_migrations_make_the_schema(address: str) -> None:
    with raw(address) as engine, engine.begin() as db:
        context = MigrationContext.configure(db, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrations_make_what_the_metadata_makes(new_address: Callable[[], str]) -> None:
    """Checks, collations and forms of tables too, which Alembic does not compare."""
    migrated, made = new_address(), new_address()
    upgrade(migrated)
    with raw(made) as engine, engine.begin() as db:
        metadata.create_all(db)
    with raw(migrated) as one, raw(made) as other, one.begin() as a, other.begin() as b:
        assert described(a) == described(b)


def described(db: Connection) -> dict[str, Any]:
    seen = inspect(db)
    return {
        table: {
            "columns": [
                {**column, "type": repr(column["type"])} for column in seen.get_columns(table)
            ],
            "checks": sorted(
                (check["name"] or "", check["sqltext"])
                for check in seen.get_check_constraints(table)
            ),
            "primary key": seen.get_pk_constraint(table),
            "references": seen.get_foreign_keys(table),
            "indexes": sorted(map(index, seen.get_indexes(table))),
            "unique": sorted(map(repr, seen.get_unique_constraints(table))),
            "form": form(db, table),
        }
        for table in metadata.tables
    }


def index(found: Any) -> str:
    options = {name: str(value) for name, value in found.get("dialect_options", {}).items()}
    return repr(found | {"dialect_options": options})


def form(db: Connection, table: str) -> str:
    if db.dialect.name != "sqlite":
        return ""
    made: str = db.scalar(text("SELECT sql FROM sqlite_master WHERE name = :n"), {"n": table})
    after = made[made.rindex(")") + 1 :]
    assert "STRICT" in after
    assert "WITHOUT ROWID" in after
    return " ".join(after.split())


def test_an_upgrade_may_be_run_again(address: str) -> None:
    upgrade(address)
    with raw(address) as engine, engine.begin() as db:
        assert revision(db) == REVISION


def test_upgrades_at_once_make_one(
    new_address: Callable[[], str], processes: ProcessPoolExecutor
) -> None:
    address = new_address()
    list(processes.map(upgrade, [address] * 4))
    with raw(address) as engine, engine.begin() as db:
        assert revision(db) == REVISION


def test_an_upgrade_waits_longer_for_another_than_a_call_would(
    new_address: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "_WAIT_S", 0.5)
    address = new_address()
    with raw(address) as engine, ThreadPoolExecutor(1) as thread:
        with engine.begin() as db:
            if db.dialect.name == "postgresql":
                db.execute(text(f"SELECT pg_advisory_xact_lock({migrating._LOCK})"))
            other = thread.submit(upgrade, address)
            with pytest.raises(TimeoutError):
                other.result(3)
        other.result(60)
        with engine.begin() as db:
            assert revision(db) == REVISION


def test_an_upgrade_that_fails_leaves_nothing(new_address: Callable[[], str]) -> None:
    address = new_address()
    with raw(address) as engine, engine.begin() as db:
        db.execute(text("CREATE TABLE velocity (scope TEXT)"))  # one of the last to be made
    with pytest.raises(StoreRefused):
        upgrade(address)
    with raw(address) as engine, engine.begin() as db:
        assert inspect(db).get_table_names() == ["velocity"]


def test_no_column_is_named_for_a_clear_pin_or_pan() -> None:
    columns = [f"{table}.{column.name}" for table in metadata.tables.values() for column in table.c]
    words = ("clear", "digits", "cvv", "cvc", "track")
    assert [name for name in columns if any(word in name for word in words)] == []
    assert not {name.split(".")[1] for name in columns} & {"pin", "pan", "token", "secret"}

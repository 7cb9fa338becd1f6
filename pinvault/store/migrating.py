"""The schema's migrations: forward only, whole or not at all, one process at a time.

`upgrade` is a deliberate act of an operator; a server only looks. Alembic is imported when it is
needed, which a server never does.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from pinvault.store import drivers
from pinvault.store.errors import SchemaMismatch, StoreRefused, told
from pinvault.store.place import SQLITE, create_private, read_address, require_private
from pinvault.store.schema import REVISION

SCRIPTS: Final = Path(__file__).parent / "migrations"

_UPGRADE: Final = "run 'pinvault store upgrade' with this release"
_LOCK: Final = 0x70696E7661756C74  # "pinvault"
_WAIT_S: Final = 10.0
_PATIENCE_S: Final = 600.0


def upgrade(url: str) -> None:
    """Bring the store to the schema of this release, making SQLite's file if there is none.

    The errors of `Store.open`; SchemaMismatch when the database is newer than this release.
    """
    address = read_address(url)
    if address.drivername == SQLITE:
        create_private(Path(address.database or ""))
    require_file(address)
    engine = _engine(address)
    try:
        with engine.begin() as db:
            _upgrade(db)
    except SQLAlchemyError as error:
        raise told(error, committing=False) from None
    finally:
        engine.dispose()


def require_file(address: URL) -> None:
    """See that SQLite's file may be used, or raise StoreMisconfigured."""
    if address.drivername == SQLITE:
        require_private(Path(address.database or ""))


def require_newest(db: Connection) -> None:
    """See that the database is at this release's schema, or raise SchemaMismatch."""
    found = revision(db)
    if found == REVISION:
        return
    if found is None or found < REVISION:
        raise SchemaMismatch(
            "the store's tables are missing or old", remedy=_UPGRADE, code=found or ""
        )
    raise SchemaMismatch(
        "the store's tables are newer than this release",
        remedy="run the release that made them, or a newer one",
        code=found,
    )


def revision(db: Connection) -> str | None:
    """Give the migration that the database is at, or None."""
    if not inspect(db).has_table("alembic_version"):
        return None
    found: str | None = db.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _engine(address: URL) -> Engine:
    if address.drivername == SQLITE:
        # A table that is made anew is dropped first, and would take the rows that refer to it.
        path = Path(address.database or "")
        return drivers.sqlite(path, connections=1, wait_s=_PATIENCE_S, foreign_keys="OFF")
    return drivers.postgresql(address, connections=1, wait_s=_WAIT_S, patience_s=_PATIENCE_S)


def _upgrade(db: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    if db.dialect.name != SQLITE:  # whose transaction holds the write lock from its beginning
        db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    found = revision(db)
    if found is not None and found > REVISION:
        require_newest(db)
    config = Config(attributes={"connection": db})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    command.upgrade(config, "head")
    if db.dialect.name == SQLITE and db.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise StoreRefused("a migration left rows that refer to nothing", remedy="report it")

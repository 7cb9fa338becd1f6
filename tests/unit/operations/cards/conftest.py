"""One SQLite file for the session, emptied for every test, and a vault on it."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pinvault.store import Store, upgrade
from pinvault.store.schema import metadata
from tests.support.vault import Vault


@pytest.fixture(scope="session")
def opened() -> Iterator[Store]:
    """In memory where the host has a place for that: nothing here is about disks."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        address = f"sqlite:///{folder}/store.db"
        upgrade(address)
        store = Store.open(address)
        yield store
        store.close()


@pytest.fixture
def make_vault(opened: Store, tmp_path: Path) -> Callable[..., Vault]:
    """Makes vaults of one host on one store, which is empty at first."""
    with opened.write() as db:
        for table in reversed(metadata.sorted_tables):
            db.execute(table.delete())

    def make(**how: object) -> Vault:
        return Vault("", how.pop("host", tmp_path), store=opened, **how)

    return make


@pytest.fixture
def vault(make_vault: Callable[..., Vault]) -> Vault:
    return make_vault()

"""One SQLite file and one PostgreSQL database for the session, emptied for every test."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from pinvault.store import Store, upgrade
from pinvault.store.schema import metadata
from tests.support.databases import QUICK, PostgresServer

ENGINES = ("sqlite", "postgresql")
PROCESSES = 4


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer(*QUICK)
    yield server
    server.stop()


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Every test that asks for a store, or for this, runs on both."""
    return request.param


@pytest.fixture(scope="session")
def new_address(
    engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Makes the address of a database of one's own, without tables."""
    numbers = count()

    def make() -> str:
        if engine == "postgresql":
            return request.getfixturevalue("postgres").create()
        folder: Path = tmp_path_factory.mktemp("store")
        return f"sqlite:///{folder}/{next(numbers)}.db"

    return make


@pytest.fixture(scope="session")
def address(new_address: Callable[[], str]) -> str:
    """The session's database, at the newest schema."""
    made = new_address()
    upgrade(made)
    return made


@pytest.fixture(scope="session")
def opened(address: str) -> Iterator[Store]:
    store = Store.open(address)
    yield store
    store.close()


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Four that are up, so that they begin together."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        list(pool.map(abs, range(PROCESSES * 4)))
        yield pool


@pytest.fixture
def store(opened: Store) -> Store:
    """The session's store, without a row."""
    empty(opened)
    return opened


def empty(store: Store) -> None:
    with store.write() as db:
        for table in reversed(metadata.sorted_tables):
            db.execute(table.delete())

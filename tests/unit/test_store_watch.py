"""A worker's store: whether it answers, what is swept, and what is told of it."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select

from pinvault.bootstrap import store_watch
from pinvault.bootstrap.store_watch import StoreWatch
from pinvault.server.logs import make_log
from pinvault.server.metrics import StoreMetrics
from pinvault.store import Store, StoreUnavailable, outbox, upgrade, velocity
from pinvault.store.schema import velocity as velocity_table
from tests.support.leaks import without_chance

NOW_S = 1_767_225_600.0
NOW = int(NOW_S * 1e6)
AWAY = StoreUnavailable("the store is away or too slow", remedy="see that it runs", code="08006")


@dataclass
class Watched:
    """A watch over a store, and what it told."""

    store: Store
    is_first: bool = True
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    out: io.StringIO = field(default_factory=io.StringIO)
    clock_s: float = 0.0

    def __post_init__(self) -> None:
        self.watch = StoreWatch(
            self.store,
            is_first=self.is_first,
            log=make_log(count=lambda: None, stream=self.out),
            metrics=StoreMetrics(self.registry),
            now=lambda: NOW_S,
            clock=lambda: self.clock_s,
        )

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)

    def log(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def windows(self) -> int:
        with self.store.read() as db:
            return db.scalar(select(func.count()).select_from(velocity_table)) or 0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/store.db"
    upgrade(url)
    opened = Store.open(url)
    yield opened
    opened.close()


def use_windows(store: Store, count: int, *, over: bool) -> None:
    with store.write() as db:
        for number in range(count):
            subject = number.to_bytes(4) + bytes([over])
            ends_at = NOW if over else NOW + 1
            velocity.count_use(
                db, scope="changes", subject=subject, limit=1, now=0, ends_at=ends_at
            )


def test_the_first_worker_sweeps_what_is_over_and_counts_what_waits(store: Store) -> None:
    use_windows(store, 2 * store_watch.BITE + 7, over=True)
    use_windows(store, 3, over=False)
    with store.write() as db:
        for name in ("one", "other"):
            sent = outbox.Message(id=name, endpoint="app", type="t", card_id="c", body="{}")
            outbox.add(db, sent, now=NOW - 5_000_000)
    watched = Watched(store)
    watched.watch.look()
    assert watched.windows() == 3
    names = ("pinvault_store_up", "pinvault_outbox_pending", "pinvault_outbox_dead")
    assert [watched.value(name) for name in names] == [1, 2, 0]
    assert watched.value("pinvault_outbox_oldest_seconds") == 5


def test_it_sweeps_once_a_minute(store: Store) -> None:
    watched = Watched(store)
    watched.watch.look()
    use_windows(store, 1, over=True)
    watched.clock_s = store_watch.SWEEP_EVERY_S - 1
    watched.watch.look()
    assert watched.windows() == 1
    watched.clock_s = store_watch.SWEEP_EVERY_S
    watched.watch.look()
    assert watched.windows() == 0


def test_other_workers_do_not_sweep(store: Store) -> None:
    use_windows(store, 1, over=True)
    watched = Watched(store, is_first=False)
    watched.watch.look()
    assert watched.windows() == 1
    assert watched.value("pinvault_store_up") == 1


def test_a_store_that_goes_away_is_told_once_and_so_is_its_return(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(store)

    def away(_: Store) -> None:
        raise AWAY

    with monkeypatch.context() as patched:
        patched.setattr(Store, "probe", away)
        for _ in range(3):
            watched.watch.look()
        assert not watched.watch.is_up()
        assert watched.value("pinvault_store_up") == 0
    watched.watch.look()
    assert watched.watch.is_up()
    assert watched.value("pinvault_store_up") == 1
    told = [(line["event"], line.get("code")) for line in watched.log()]
    assert told == [("store away", "08006"), ("store is back", None)]


@pytest.mark.parametrize("name", ["sweep", "queue"])
def test_a_store_that_cannot_be_swept_is_still_up(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def too_slow(*_: object, **__: object) -> None:
        raise AWAY

    use_windows(store, 1, over=True)
    watched = Watched(store)
    with monkeypatch.context() as patched:
        patched.setattr(store_watch, name, too_slow)
        watched.watch.look()
    assert watched.watch.is_up()
    assert watched.value("pinvault_store_up") == 1
    assert [(line["event"], line["code"]) for line in watched.log()] == [
        ("store not swept", "08006")
    ]
    watched.clock_s += store_watch.SWEEP_EVERY_S
    watched.watch.look()
    assert watched.windows() == 0


def test_whatever_goes_wrong_the_thread_looks_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_watch, "POLL_S", 0.001)
    looks: list[None] = []
    watched = Watched(store)

    def look() -> None:
        looks.append(None)
        if len(looks) == 1:
            raise RuntimeError("4831")

    monkeypatch.setattr(watched.watch, "look", look)
    watched.watch.start()
    while len(looks) < 3:
        pass
    watched.watch.close()
    assert [line["event"] for line in watched.log()] == ["store not looked at"]
    assert "4831" not in without_chance(watched.out.getvalue())

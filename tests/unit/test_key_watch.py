"""What is told of keys: their ends, their wear, what becomes of a key ring; and who operates."""

import io
import json
import math
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from hsm.errors import Finding, HsmUnavailable, InspectionFailed, KeyringError
from hsm.keyring import Keyring
from pinvault.audit.errors import AuditUnavailable
from pinvault.audit.record import AuditRecord, encode
from pinvault.bootstrap import records
from pinvault.bootstrap.key_life import days_left, endings
from pinvault.bootstrap.ring_versions import UNSURE, RingVersion
from pinvault.bootstrap.watch import KeyWatch, RingWitness
from pinvault.config import ConfigError
from pinvault.model.keys import Key, KeyDirectory
from pinvault.policy.block_counts import BlockCounts
from pinvault.server.logs import make_log
from pinvault.server.metrics import Metrics
from tests.support.leaks import without_chance
from tests.support.software_device import key

TODAY = date(2026, 6, 1)
SHA256 = "0123456789abcdef" * 4
VERSION = RingVersion(ring=Keyring(keys=()), place=UNSURE, inode=1, sha256=SHA256)
SECRETS = Finding(
    key_id="zpk/1", attribute="check value", expected="AA" * 32, found="BB" * 32, remedy="compare"
)


def ending(days: int | None, *, name: str = "zpk", state: str = "active") -> Key:
    until = None if days is None else TODAY + timedelta(days=days)
    return key(name, "P0", "TDES_2KEY", "B", state=state, valid_until=until)


@dataclass
class Told:
    """A log, metrics and a record in memory."""

    out: io.StringIO = field(default_factory=io.StringIO)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    records: list[AuditRecord] = field(default_factory=list)
    full: bool = False

    def __post_init__(self) -> None:
        self.removed = 0
        self.metrics = Metrics(self.registry)
        self.log = make_log(count=self._count, stream=self.out)

    def _count(self) -> None:
        self.removed += 1

    def append(self, record: AuditRecord, timeout: float) -> None:
        if self.full:
            raise AuditUnavailable("full", remedy="make room")
        encode(record)
        self.records.append(record)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]

    def gauge(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def test_the_days_to_an_end_are_those_that_are_left_after_today() -> None:
    assert [days_left(ending(days), today=TODAY) for days in (-1, 0, 7)] == [-1, 0, 7]
    assert days_left(ending(None), today=TODAY) is None
    assert days_left(ending(3, state="retired"), today=TODAY) is None


def test_keys_are_warned_of_in_the_order_of_their_ends_and_not_before() -> None:
    keys = [
        ending(30, name="near"),
        ending(31, name="far"),
        ending(-3, name="past"),
        ending(0, name="today", state="decipher-only"),
        ending(1, name="gone", state="retired"),
        ending(None, name="endless"),
    ]
    found = endings(keys, today=TODAY, warn_days=30)
    assert [each.key.name for each in found] == ["past", "today", "near"]
    past, today, near = (each.text for each in found)
    assert "has ended" in past
    assert "no longer opens" in today
    assert "in 30 days" in near


def test_a_key_ring_is_recorded_when_it_is_taken_and_told_by_its_digest() -> None:
    told = Told()
    RingWitness(told, told.log, told.metrics).taken(VERSION, ())
    (record,) = told.records
    assert (record.event, record.outcome, record.keyring) == ("keyring", "OK", SHA256)
    assert told.lines[0]["ring"] == SHA256[:8]
    assert told.removed == 0


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (KeyringError("wrong", file="keyring.toml", remedy="correct it"), "malformed"),
        (ConfigError(Path("pinvault.toml"), "keys.index", "correct it"), "does-not-fit"),
        (InspectionFailed((SECRETS,)), "token-differs"),
        (HsmUnavailable(), "token-away"),
        (AuditUnavailable("full", remedy="make room"), "not-recorded"),
        (RuntimeError("4111111111111111"), "failed"),
    ],
)
def test_a_refused_key_ring_is_told_once_everywhere_without_values(
    error: Exception, cause: str
) -> None:
    told = Told()
    witness = RingWitness(told, told.log, told.metrics)
    for _ in range(3):
        witness.refused(error, sha256=SHA256)
    assert told.gauge("pinvault_keyring_refused") == 1
    (record,) = told.records
    assert (record.outcome, record.cause, record.keyring) == ("REFUSED", cause, SHA256)
    (line,) = told.lines
    assert line["cause"] == cause
    assert not any(value in told.out.getvalue() for value in ("AAAA", "BBBB", "4111"))
    assert told.removed == 0, "nothing was left to the redactor"
    witness.refused(KeyringError("another"), sha256="f" * 64)
    witness.taken(VERSION, ())
    assert told.gauge("pinvault_keyring_refused") == 0
    witness.refused(error, sha256=SHA256)
    assert len(told.records) == 4


def test_a_refusal_that_cannot_be_recorded_is_logged_and_goes_on() -> None:
    told = Told(full=True)
    witness = RingWitness(told, told.log, told.metrics)
    witness.refused(HsmUnavailable(), sha256=SHA256)
    assert [line["event"] for line in told.lines] == [
        "key ring refused",
        "key ring refusal not recorded",
    ]
    with pytest.raises(AuditUnavailable):
        witness.taken(VERSION, ())


@dataclass
class FakeRing:
    """A key ring that a test changes."""

    keys: list[Key]
    error: Exception | None = None

    def tend(self) -> None:
        if self.error is not None:
            raise self.error

    def directory(self) -> KeyDirectory:
        return KeyDirectory(self.keys)


def watch(told: Told, ring: FakeRing, folder: Path, *, is_first: bool = True) -> KeyWatch:
    counts = BlockCounts.open(folder / "blocks.table", warn=100, refuse=0)
    return KeyWatch(
        ring,  # type: ignore[arg-type]
        counts,
        warn_days=30,
        is_first=is_first,
        log=told.log,
        metrics=told.metrics,
        today=lambda: TODAY,
    )


def test_metrics_tell_days_and_blocks_and_forget_keys_that_are_gone(tmp_path: Path) -> None:
    told, ring = Told(), FakeRing([ending(5), ending(None, name="zpk-b")])
    watching = watch(told, ring, tmp_path)
    watching._counts.count(("zpk", 1, ring.keys[0].check_value), 100)
    watching._meter()
    assert told.gauge("pinvault_key_days_left", key="zpk/1") == 5
    assert told.gauge("pinvault_key_days_left", key="zpk-b/1") is None
    assert told.gauge("pinvault_key_tdes_blocks", key="zpk/1") == 100
    assert [(x["event"], x["key"]) for x in told.lines] == [("key wears out", "zpk/1")]
    ring.keys = [ending(5, state="retired")]
    watching._meter()
    assert math.isnan(told.gauge("pinvault_key_days_left", key="zpk/1") or 0)
    watching._counts.close()


@pytest.mark.parametrize("is_first", [True, False])
def test_ends_are_logged_once_a_day_by_one_worker(tmp_path: Path, is_first: bool) -> None:
    told = Told()
    watching = watch(told, FakeRing([ending(5)]), tmp_path, is_first=is_first)
    for _ in range(3):
        watching._tell()
    watching._today = lambda: TODAY + timedelta(days=1)
    watching._tell()
    assert [line["days"] for line in told.lines] == ([5, 4] if is_first else [])
    watching._counts.close()


def test_the_thread_survives_what_goes_wrong_and_ends_when_told(tmp_path: Path) -> None:
    told = Told()
    watching = watch(told, FakeRing([], error=RuntimeError("4111111111111111")), tmp_path)
    watching.start()
    watching.close()
    watching.close()
    assert told.lines[0]["event"] == "keys not looked at"
    assert "4111" not in without_chance(told.out.getvalue())
    watching._counts.close()


@pytest.mark.parametrize("login", ["root", "x.y_z-1", "Jörg", "u4111111111111111", "a" * 200])
def test_an_operator_has_a_name_that_can_be_recorded(monkeypatch, login: str) -> None:
    class User:
        pw_name = login

    monkeypatch.setattr(records.pwd, "getpwuid", lambda _: User)
    name = records.operator()
    assert name.startswith("operator:")
    encode(AuditRecord(event="custody", time="2026-01-02T03:04:05.000000Z", caller=name))


def test_a_user_without_a_name_has_a_number(monkeypatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(records.pwd, "getpwuid", nobody)
    assert records.operator().startswith("operator:user-")

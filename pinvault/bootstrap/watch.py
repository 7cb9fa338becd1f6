"""What a worker does about its keys beside the calls: the key ring, their ends, their counts.

Rules:
- One thread, several times a second; whatever goes wrong in it is logged and tried again.
- A key ring that is taken is on record before it serves. One that is refused is told once, in log,
  metric and record, until something else is wrong with it.
- Every worker keeps the metrics, the first one alone writes of ends into the log: at start, and
  every day.
"""

import threading
from collections.abc import Callable
from datetime import date
from typing import Any, Final

from hsm.errors import Finding, HsmUnavailable, InspectionFailed, KeyringError
from hsm.keyring import KeyEntry
from pinvault.audit.errors import AuditError
from pinvault.audit.log import AuditLog
from pinvault.audit.record import AuditRecord, rfc3339
from pinvault.bootstrap.inputs import utc_now, utc_today
from pinvault.bootstrap.key_life import days_left, endings
from pinvault.bootstrap.own_keys import OwnKeyChanged
from pinvault.bootstrap.purposes import KeyRedefined
from pinvault.bootstrap.records import beginning
from pinvault.bootstrap.ring import LiveRing
from pinvault.bootstrap.ring_versions import RingVersion
from pinvault.config import ConfigError
from pinvault.model.faults import ClearedFault
from pinvault.model.keys import Key
from pinvault.policy.block_counts import BlockCounts, KeyName
from pinvault.server.logs import Log
from pinvault.server.metrics import Metrics

POLL_S: Final = 0.25
METRICS_EVERY: Final = 20
"""Looks at the key ring between two of the metrics."""
RECORD_TIMEOUT_S: Final = 2.0
CLOSE_S: Final = 5.0
"""How long the end waits for a look that is under way: a token may hang."""
SHORT: Final = 8
"""Hex digits that tell one key ring from another in the log."""
GONE: Final = float("nan")

CAUSES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (OwnKeyChanged, "own-key-changed"),
    (KeyRedefined, "key-redefined"),
    (ConfigError, "does-not-fit"),
    (KeyringError, "malformed"),
    (InspectionFailed, "token-differs"),
    (HsmUnavailable, "token-away"),
    (AuditError, "not-recorded"),
)


class RingWitness:
    """Writes what becomes of a key ring into log, metrics and record."""

    def __init__(self, audit: AuditLog, log: Log, metrics: Metrics) -> None:
        self._audit = audit
        self._log = log
        self._metrics = metrics
        self._told: tuple[str, str] | None = None

    def begun(self, entry: KeyEntry) -> None:
        """Record that a key is about to be entered or changed; what this raises stops that."""
        self._audit.append(beginning(entry), RECORD_TIMEOUT_S)

    def taken(self, version: RingVersion, findings: tuple[Finding, ...]) -> None:
        """Record that a key ring serves from now on; what this raises stops that."""
        self._record("OK", "", version.sha256)
        for finding in findings:
            self._log.warning("token", finding=finding.summary, remedy=finding.remedy)
        self._log.info("key ring taken", ring=version.sha256[:SHORT], keys=len(version.ring.keys))
        self._metrics.keyring_refused(False)
        self._told = None

    def refused(self, error: Exception, *, sha256: str) -> None:
        """Tell why the key ring before goes on serving."""
        self._metrics.keyring_refused(True)
        cause = next((word for kind, word in CAUSES if isinstance(error, kind)), "failed")
        if self._told == (cause, sha256):
            return
        self._told = (cause, sha256)
        facts = {"cause": cause, "ring": sha256[:SHORT]}
        if cause == "failed":
            self._log.fault("key ring refused", error, **facts)
        else:
            self._log.warning("key ring refused", why=_why(error), **facts)
        try:
            self._record("REFUSED", cause, sha256)
        except AuditError as failed:
            self._log.fault("key ring refusal not recorded", failed)

    def _record(self, outcome: str, cause: str, sha256: str) -> None:
        record = AuditRecord(
            event="keyring",
            time=rfc3339(utc_now()),
            outcome=outcome,
            cause=cause,
            keyring=sha256,
        )
        self._audit.append(record, RECORD_TIMEOUT_S)


def _why(error: Exception) -> object:
    """Say what is wrong; of a token the keys and attributes, since values are for its doctor."""
    if isinstance(error, InspectionFailed):
        return [f"{found.key_id}: {found.attribute}: {found.remedy}" for found in error.findings]
    return str(error)


class KeyWatch:
    """The thread. `is_first` tells the worker that logs the ends of keys."""

    def __init__(
        self,
        ring: LiveRing[Any],
        counts: BlockCounts,
        *,
        warn_days: int,
        is_first: bool,
        log: Log,
        metrics: Metrics,
        today: Callable[[], date] = utc_today,
    ) -> None:
        self._ring = ring
        self._counts = counts
        self._warn_days = warn_days
        self._is_first = is_first
        self._log = log
        self._metrics = metrics
        self._today = today
        self._told_on: date | None = None
        self._metered: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)
        counts.warned = self._warn_of_blocks

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End, and wait for the look that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        looks = 0
        while True:
            try:
                self._ring.tend()
                if looks % METRICS_EVERY == 0:
                    self._meter()
                    self._tell()
            except Exception as error:  # noqa: BLE001 - the next look may go well
                self._log.fault("keys not looked at", ClearedFault.of(error))
            looks += 1
            if self._stop.wait(POLL_S):
                return

    def _meter(self) -> None:
        today, present = self._today(), set[str]()
        for key in self._ring.directory():
            days = days_left(key, today=today)
            is_counted = key.usage == "P0" and key.algorithm.family == "TDES"
            blocks = self._counts.total(_named(key)) if is_counted else None
            self._metrics.key_life(key.id, days_left=days, blocks=blocks)
            if days is not None:
                present.add(key.id)
        for key_id in self._metered - present:
            self._metrics.key_life(key_id, days_left=GONE, blocks=None)
        self._metered = frozenset(present)

    def _tell(self) -> None:
        today = self._today()
        if not self._is_first or self._told_on == today:
            return
        self._told_on = today
        for ending in endings(self._ring.directory(), today=today, warn_days=self._warn_days):
            self._log.warning("key ends", key=ending.key.id, days=ending.days, what=ending.text)

    def _warn_of_blocks(self, key: KeyName, blocks: int) -> None:
        name, version, _ = key
        self._log.warning("key wears out", key=f"{name}/{version}", blocks=blocks)


def _named(key: Key) -> KeyName:
    return key.name, key.version, key.check_value

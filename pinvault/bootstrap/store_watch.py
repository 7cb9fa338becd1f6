"""What a worker does about its store beside the calls: sees that it answers, and keeps it clean.

Rules:
- One thread; it may wait for a store that hangs, which the worker's pulse may not.
- Every worker tells its own health by what it sees: whether the store answers, and nothing else.
  The first one of a host alone sweeps and counts the outbox; several may sweep one store at once.
- What is over is removed in bites, each a short transaction of its own.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from pinvault.model.faults import ClearedFault
from pinvault.server.logs import Log
from pinvault.server.metrics import StoreMetrics
from pinvault.store import Store, StoreError
from pinvault.store.outbox import queue
from pinvault.store.sweeping import sweep

POLL_S: Final = 1.0
SWEEP_EVERY_S: Final = 60.0
BITE: Final = 500
"""Rows of a kind that one transaction removes."""
CLOSE_S: Final = 5.0
"""How long the end waits for a look that is under way: the store may hang."""


class StoreWatch:
    """The thread. `is_first` tells the worker that sweeps; `now` gives Unix seconds."""

    def __init__(
        self,
        store: Store,
        *,
        is_first: bool,
        log: Log,
        metrics: StoreMetrics,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._is_first = is_first
        self._log = log
        self._metrics = metrics
        self._now = now
        self._clock = clock
        self._is_up = True
        self._sweep_at = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        metrics.up(True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End, and wait for the look that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def is_up(self) -> bool:
        """Whether the store answered the last look."""
        return self._is_up

    def look(self) -> None:
        """See that the store answers and, when it is time, keep it clean."""
        try:
            self._store.probe()
        except StoreError as error:
            self._tell(error)
            return
        self._tell(None)
        if self._is_first and self._clock() >= self._sweep_at:
            self._sweep_at = self._clock() + SWEEP_EVERY_S
            self._keep_clean()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the next look may go well
                self._log.fault("store not looked at", ClearedFault.of(error))
            self._stop.wait(POLL_S)

    def _tell(self, error: StoreError | None) -> None:
        is_up = error is None
        self._metrics.up(is_up)
        if is_up is self._is_up:
            return
        self._is_up = is_up
        if error is None:
            self._log.info("store is back")
        else:
            self._warn("store away", error)

    def _keep_clean(self) -> None:
        """Sweep and count; what the store cannot do of it now is for the next time."""
        try:
            self._sweep()
            self._count()
        except StoreError as error:
            self._warn("store not swept", error)

    def _warn(self, event: str, error: StoreError) -> None:
        self._log.warning(event, why=error.problem, remedy=error.remedy, code=error.code)

    def _sweep(self) -> None:
        removed = BITE
        while removed >= BITE and not self._stop.is_set():
            removed = self._store.transact(
                lambda db: sweep(db, now=self._microseconds(), count=BITE)
            )

    def _count(self) -> None:
        now = self._microseconds()
        with self._store.read() as db:
            waiting = queue(db, now=now)
        oldest = waiting.oldest_due_at
        self._metrics.outbox(
            pending=waiting.pending,
            dead=waiting.dead,
            oldest_s=(now - oldest) / 1e6 if oldest is not None else 0.0,
        )

    def _microseconds(self) -> int:
        return int(self._now() * 1e6)

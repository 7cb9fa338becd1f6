"""Flat combining: many threads, one write. Whoever finds the writer's seat free writes for all.

Rules kept here:
- One mutex guards the seat, the queue and every ticket's state; it is held for a few
  instructions, never during a write.
- Seat free means queue empty. Who leaves the seat hands it to the first in the queue, and only
  to an empty queue gives it up: no wake-up is lost.
- A gate is opened once by whoever chooses or settles its ticket, and shut again by its thread.
- A batch fails or succeeds as a whole, and every member learns which. A leader that dies of
  anything else than a refused write has failed its batch, and still hands over.
- A caller whose time is up leaves the queue, or, when its batch is being written, goes away
  not knowing. A record without an answer is lawful; an answer without a record is not.
"""

import threading
from collections.abc import Callable, Sequence
from enum import Enum, auto, unique

from pinvault.audit.errors import AuditUnavailable

MAX_BATCH = 1024
"""The most records in one write."""


@unique
class _State(Enum):
    WAITING = auto()
    CHOSEN = auto()  # to lead: the seat was handed to this ticket
    TAKEN = auto()  # into a batch
    DONE = auto()
    FAILED = auto()


class _Ticket:
    """One body in the queue, and the gate its thread waits at."""

    __slots__ = ("body", "error", "gate", "state")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.gate = threading.Lock()
        self.gate.acquire()
        self.state = _State.WAITING
        self.error: AuditUnavailable | None = None


class Combiner:
    """Brings bodies to `commit` in batches, in order of arrival, one batch at a time.

    `commit` returns when the whole batch is durable, or raises `AuditUnavailable` when
    none of it is.
    """

    def __init__(self, commit: Callable[[Sequence[bytes]], None]) -> None:
        self._commit = commit
        self._mutex = threading.Lock()
        self._queue: list[_Ticket] = []
        self._busy = False
        self._closed = False
        self._drained = threading.Event()

    def submit(self, body: bytes, *, timeout: float) -> None:
        """Return when `body` is durable; raise `AuditUnavailable` when it may not be.

        `timeout` bounds the wait for others, in seconds; a write of one's own takes what
        the disk takes.
        """
        ticket = _Ticket(body)
        with self._mutex:
            if self._closed:
                raise AuditUnavailable("the audit log is closed", remedy="start the worker again")
            self._queue.append(ticket)
            leads = not self._busy
            self._busy = True
        if leads or self._wait(ticket, timeout):
            self._lead()
        if ticket.state is not _State.DONE:
            raise _unavailable(ticket.error)

    def retire(self, *, timeout: float) -> bool:
        """Accept nothing more; tell whether all that was accepted is settled in time.

        If so, nobody will call `commit` again, and the caller may.
        """
        with self._mutex:
            self._closed = True
            if not self._busy:
                self._drained.set()
        return self._drained.wait(timeout)

    def _wait(self, ticket: _Ticket, timeout: float) -> bool:
        """Wait for the outcome; tell whether this thread must lead instead."""
        limit = min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        if not ticket.gate.acquire(timeout=limit):
            self._give_up(ticket)
        return ticket.state is _State.CHOSEN

    def _give_up(self, ticket: _Ticket) -> None:
        """Leave the queue, unless the outcome or the seat came at the last moment."""
        with self._mutex:
            if ticket.state is _State.WAITING:
                self._queue.remove(ticket)
                ticket.state = _State.FAILED
            elif ticket.state is _State.CHOSEN:
                ticket.gate.acquire()  # opened under this mutex; every gate is opened once
            elif ticket.state is _State.TAKEN:
                raise _unavailable(None)

    def _lead(self) -> None:
        """Write one batch, hand the seat over, then let the batch's threads go."""
        with self._mutex:
            batch = self._queue[:MAX_BATCH]
            del self._queue[:MAX_BATCH]
            for ticket in batch:
                ticket.state = _State.TAKEN
        outcome, error = _State.FAILED, None
        try:
            self._commit([ticket.body for ticket in batch])
            outcome = _State.DONE
        except AuditUnavailable as refused:
            error = refused
        finally:
            self._hand_over()
            for ticket in batch:
                ticket.error = error
                ticket.state = outcome
                ticket.gate.release()

    def _hand_over(self) -> None:
        with self._mutex:
            if self._queue:
                self._queue[0].state = _State.CHOSEN
                self._queue[0].gate.release()
                return
            self._busy = False
            if self._closed:
                self._drained.set()


def _unavailable(error: AuditUnavailable | None) -> AuditUnavailable:
    """Make each thread's own exception: a shared one would collect every thread's traceback."""
    if error is None:
        return AuditUnavailable(
            "the record was not known to be durable in time",
            remedy="see whether the disk is slow or stuck",
        )
    return AuditUnavailable(error.problem, remedy=error.remedy, path=error.path, errno=error.errno)

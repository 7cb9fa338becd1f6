"""The lane: many callers, one at a time inside the token, those who want the same thing together.

Flat combining (Hendler, Incze, Shavit, Tzafrir, SPAA 2010) without a thread of its own.

Rules:
- At most one thread is inside `run` at any moment.
- A caller who finds the lane free runs its own operation at once, in its own thread.
- While the lane is busy, callers queue by group. Whoever leaves hands the lane to the first waiter
  of the group that has waited longest; that waiter runs what has gathered in its group as one
  batch, and then hands on. So a leader's duty is one batch, and no group starves another.
- A caller whose time runs out in the queue leaves it, and its payload is never run. One whose batch
  is already running stops waiting; its result is dropped. One who was made leader at that very
  instant does its duty, since others depend on it.
- Nothing here knows what a payload is. A hung `run` cannot be interrupted: `busy_since` is there
  for a watchdog in another process or thread.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from enum import Enum, auto
from typing import Final, Generic, TypeVar, cast

from hsm.errors import HsmTimeout, HsmUnavailable

GroupT = TypeVar("GroupT", bound=Hashable)
PayloadT = TypeVar("PayloadT")
ResultT = TypeVar("ResultT")

BATCH_LIMIT: Final = 256
"""Payloads in one batch, unless the lane is told otherwise."""


class _Stage(Enum):
    WAITING = auto()
    LEADING = auto()
    RUNNING = auto()


class _Ticket(Generic[PayloadT, ResultT]):
    """One caller's place in the queue. Its gate opens when it leads or when it has its outcome."""

    __slots__ = ("gate", "outcome", "payload", "stage")

    def __init__(self, payload: PayloadT) -> None:
        self.payload = payload
        self.stage = _Stage.WAITING
        self.outcome: ResultT | BaseException | None = None
        self.gate = threading.Lock()
        self.gate.acquire()


class Lane(Generic[GroupT, PayloadT, ResultT]):
    """Serialises calls of `run(group, payloads)`, which gives one result a payload, in order.

    A result that is an exception is raised to its own caller alone. When `run` itself raises, every
    member of the batch gets that exception.
    """

    def __init__(
        self,
        run: Callable[[GroupT, Sequence[PayloadT]], Sequence[ResultT | Exception]],
        *,
        batch_limit: int = BATCH_LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._batch_limit = batch_limit
        self._clock = clock
        self._mutex = threading.Lock()
        self._busy_since: float | None = None
        self._queue: OrderedDict[GroupT, list[_Ticket[PayloadT, ResultT]]] = OrderedDict()

    @property
    def busy_since(self) -> float | None:
        """The clock's reading when the running batch began, or None when the lane is free."""
        return self._busy_since

    def call(self, group: GroupT, payload: PayloadT, timeout: float) -> ResultT:
        """The result for `payload`, waiting at most `timeout` seconds for a turn.

        HsmTimeout when the time runs out; else whatever `run` gave or raised for this payload.
        """
        if timeout <= 0:
            raise HsmTimeout
        ticket: _Ticket[PayloadT, ResultT] | None = None
        with self._mutex:
            if self._busy_since is None:
                self._busy_since = self._clock()
            else:
                ticket = _Ticket(payload)
                self._queue.setdefault(group, []).append(ticket)
        outcome = (
            self._alone(group, payload)
            if ticket is None
            else self._in_the_queue(group, ticket, timeout)
        )
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _alone(self, group: GroupT, payload: PayloadT) -> ResultT | Exception:
        """Run one payload in a lane that was free: nobody can have been waiting."""
        payloads = (payload,)
        try:
            [(_, outcome)] = zip(payloads, self._run(group, payloads), strict=True)
        finally:
            self._hand_on()
        return outcome

    def _in_the_queue(
        self, group: GroupT, ticket: _Ticket[PayloadT, ResultT], timeout: float
    ) -> ResultT | BaseException:
        """Wait for the outcome, and lead a batch when it is this ticket's turn to."""
        self._wait(group, ticket, timeout)
        if ticket.stage is _Stage.LEADING:
            self._lead(group, ticket)
        return cast("ResultT | BaseException", ticket.outcome)

    def _wait(self, group: GroupT, ticket: _Ticket[PayloadT, ResultT], timeout: float) -> None:
        """Return when the ticket leads or has its outcome; HsmTimeout when neither came in time."""
        try:
            opened = ticket.gate.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
        except BaseException:
            # An interrupted waiter must not be made leader afterwards: the lane would stand still.
            if self._withdraw(group, ticket) is _Stage.LEADING:
                self._hand_on()
            raise
        if opened or self._withdraw(group, ticket) is _Stage.LEADING:
            return
        # The batch may have ended between the end of the time and this line.
        if not ticket.gate.acquire(blocking=False):
            raise HsmTimeout

    def _withdraw(self, group: GroupT, ticket: _Ticket[PayloadT, ResultT]) -> _Stage:
        """Take a ticket that still waits out of the queue; the stage it was found in."""
        with self._mutex:
            if ticket.stage is _Stage.WAITING:
                tickets = self._queue[group]
                tickets.remove(ticket)
                if not tickets:
                    del self._queue[group]
            return ticket.stage

    def _lead(self, group: GroupT, own: _Ticket[PayloadT, ResultT]) -> None:
        """Run one batch with `own` first, hand the lane on, then wake the followers."""
        batch = [own, *self._gather(group)]
        try:
            outcomes = self._run(group, [ticket.payload for ticket in batch])
            for ticket, outcome in zip(batch, outcomes, strict=True):
                ticket.outcome = outcome
        except Exception as error:  # noqa: BLE001  every member of the batch raises it
            for ticket in batch:
                ticket.outcome = error
        except BaseException:
            for ticket in batch:
                ticket.outcome = HsmUnavailable("the call was interrupted")
            raise
        finally:
            self._hand_on()
            for ticket in batch[1:]:
                ticket.gate.release()

    def _gather(self, group: GroupT) -> list[_Ticket[PayloadT, ResultT]]:
        """The followers of a leader: what waits in its group, up to the batch limit."""
        with self._mutex:
            waiting = self._queue.pop(group, [])
            followers = waiting[: self._batch_limit - 1]
            left_over = waiting[self._batch_limit - 1 :]
            if left_over:
                # Popped and set again, so that the group now stands behind all others.
                self._queue[group] = left_over
            for ticket in followers:
                ticket.stage = _Stage.RUNNING
            return followers

    def _hand_on(self) -> None:
        """Make the first waiter of the oldest group the leader, or leave the lane free."""
        with self._mutex:
            if not self._queue:
                self._busy_since = None
                return
            group, tickets = next(iter(self._queue.items()))
            heir = tickets.pop(0)
            if not tickets:
                del self._queue[group]
            heir.stage = _Stage.LEADING
            self._busy_since = self._clock()
        heir.gate.release()

"""Waits for the one message of a call, and for no caller longer than it takes to send it.

gRPC gives a call a thread before its message has come. Whoever opens calls and sends
nothing would hold every thread of a worker. Rules:
- A message comes within a bounded time, or the call is cancelled and recorded as malformed.
- While more than `room` calls wait at once, the time is half as long. Nothing is cancelled for
  the crowd alone: on a busy machine messages that are here wait for a moment too.
"""

import threading
import time
from collections.abc import Iterator
from typing import Protocol

import grpc

from pinvault.model.errors import Reason, Refusal

LOOK_S = 0.1
CAUSE = "no-message"


class Cancellable(Protocol):
    """A call that can be ended from another thread."""

    def cancel(self) -> object:
        """End the call."""


class Arrivals:
    """The calls whose message has not come yet. `within_s` is in seconds."""

    def __init__(self, *, within_s: float, room: int) -> None:
        self._within_s = within_s
        self._room = room
        self._waiting: dict[int, tuple[float, Cancellable]] = {}
        self._mutex = threading.Lock()
        threading.Thread(target=self._look, name="arrivals", daemon=True).start()

    def take(self, messages: Iterator[bytes], call: Cancellable) -> bytes:
        """Give the call's message, or refuse the call when none comes in time."""
        key = id(call)
        with self._mutex:
            self._waiting[key] = (time.monotonic(), call)
        try:
            return next(messages)
        except (StopIteration, grpc.RpcError):
            raise Refusal(Reason.REQUEST_MALFORMED, cause=CAUSE) from None
        finally:
            with self._mutex:
                self._waiting.pop(key, None)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_S)
            with self._mutex:
                crowded = len(self._waiting) > self._room
                patience = self._within_s / 2 if crowded else self._within_s
                latest = time.monotonic() - patience
                late = [call for began, call in self._waiting.values() if began < latest]
            for call in late:
                call.cancel()

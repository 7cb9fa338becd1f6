"""How often one caller may call, and how often for one card: in this process, for this dialect.

Rules:
- A rate is a bucket of tokens that fills evenly; its first fill is the whole.
- Cards are known by a keyed hash that lives as long as the process: no PAN is kept.
- The table is bounded, and when it is full of cards that are still counted, calls are refused.
- It spares the server. What guards a PIN (tries, and rates of a card) is the server's.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Self

from pinvault.edge.dialect import EdgeReason, Refused

SLOTS: Final = 65_536
_PERIODS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
PATTERN: Final = r"^[1-9][0-9]{0,5}/[smh]\Z"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many calls (`burst`) in a period, in seconds.

    >>> Rate.read("10/m")
    Rate(burst=10, period_s=60.0)
    """

    burst: int
    period_s: float

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what fits PATTERN: calls, and s, m or h."""
        count, _, unit = text.partition("/")
        return cls(int(count), _PERIODS[unit])


class Buckets:
    """Buckets of one rate, each known by a name. Safe to use from any number of threads."""

    def __init__(self, rate: Rate, *, now: Callable[[], float], slots: int = SLOTS) -> None:
        self._rate, self._now, self._slots = rate, now, slots
        self._step = rate.period_s / rate.burst  # one token, in seconds
        self._full_at: OrderedDict[bytes, float] = OrderedDict()  # by last use
        self._lock = threading.Lock()

    def wait(self, name: bytes) -> float:
        """Take a token and give 0.0, or give the seconds until there is one."""
        with self._lock:
            now = self._now()
            full_at = max(self._full_at.get(name, now), now)
            wait = full_at + self._step - now - self._rate.period_s
            if wait > self._step * 1e-6:
                return wait
            if name not in self._full_at and not self._has_room(now):
                return self._step
            self._full_at[name] = full_at + self._step
            self._full_at.move_to_end(name)
            return 0.0

    def _has_room(self, now: float) -> bool:
        """Forget the longest unused buckets that have filled."""
        while self._full_at and next(iter(self._full_at.values())) <= now:
            self._full_at.popitem(last=False)
        return len(self._full_at) < self._slots


class Rates:
    """The rates of one dialect."""

    def __init__(self, *, per_caller: Rate, per_card: Rate, now: Callable[[], float]) -> None:
        self._callers = Buckets(per_caller, now=now)
        self._cards = Buckets(per_card, now=now)
        self._key = secrets.token_bytes(32)

    def spend(self, caller: str, *, card: str = "") -> None:
        """Count a call of a caller and, where it is known, for a card; refuse one too many.

        `card` is what the request calls the card: an id, a token or a PAN.
        """
        self._take(self._callers, caller)
        if card:
            self._take(self._cards, card)

    def _take(self, buckets: Buckets, name: str) -> None:
        wait = buckets.wait(blake2b(name.encode(), key=self._key, digest_size=16).digest())
        if wait:
            raise Refused(EdgeReason.RATE_EXCEEDED, retry_after_s=wait)

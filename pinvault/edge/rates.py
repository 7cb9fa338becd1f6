"""How often one caller may call, for one card, and how often a stranger may show what is wrong.

Rules:
- A rate is a bucket of tokens that fills evenly; its first fill is the whole.
- Cards, callers and addresses are known by a keyed hash that lives as long as the process: no PAN
  is kept.
- Tables are bounded. When one is full of cards that are still counted, calls are refused. When it
  is full of strangers, who failed longest ago is forgotten: none shall shut out the others.
- All is counted in this process. It spares the server; what guards a PIN (tries, and rates of a
  card) is the server's.
"""

import ipaddress
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
_SITE_BITS: Final = 64


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
            wait = self._until_next(name, now)
            if wait:
                return wait
            if name not in self._full_at and not self._has_room(now):
                return self._step
            self._take(name, now)
            return 0.0

    def look(self, name: bytes) -> float:
        """Give 0.0 while there is a token, or the seconds until then; none is taken."""
        with self._lock:
            return self._until_next(name, self._now())

    def owe(self, name: bytes) -> None:
        """Take a token, or owe one; the bucket that was used longest ago may be forgotten."""
        with self._lock:
            now = self._now()
            if name not in self._full_at and not self._has_room(now):
                self._full_at.popitem(last=False)
            self._take(name, now)

    def _until_next(self, name: bytes, now: float) -> float:
        wait = max(self._full_at.get(name, now), now) + self._step - now - self._rate.period_s
        return wait if wait > self._step * 1e-6 else 0.0

    def _take(self, name: bytes, now: float) -> None:
        self._full_at[name] = max(self._full_at.get(name, now), now) + self._step
        self._full_at.move_to_end(name)

    def _has_room(self, now: float) -> bool:
        """Forget the longest unused buckets that have filled."""
        while self._full_at and next(iter(self._full_at.values())) <= now:
            self._full_at.popitem(last=False)
        return len(self._full_at) < self._slots


class _Names:
    """Names as a process knows them, and nobody else."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def hashed(self, name: str) -> bytes:
        return blake2b(name.encode(), key=self._key, digest_size=16).digest()


class Rates:
    """The rates of one dialect."""

    def __init__(self, *, per_caller: Rate, per_card: Rate, now: Callable[[], float]) -> None:
        self._callers = Buckets(per_caller, now=now)
        self._cards = Buckets(per_card, now=now)
        self._names = _Names()

    def spend(self, caller: str, *, card: str = "") -> None:
        """Count a call of a caller and, where it is known, for a card; refuse one too many."""
        self._take(self._callers, caller)
        if card:
            self.spend_card(card)

    def spend_card(self, card: str) -> None:
        """Count a call for what the request calls the card (an id, a token or a PAN), likewise."""
        self._take(self._cards, card)

    def _take(self, buckets: Buckets, name: str) -> None:
        _let_in(buckets.wait(self._names.hashed(name)))


class Failures:
    """How often strangers may show what is wrong: by who they are to a listener."""

    def __init__(self, rate: Rate, *, now: Callable[[], float], slots: int = SLOTS) -> None:
        self._buckets = Buckets(rate, now=now, slots=slots)
        self._names = _Names()

    def require_few(self, stranger: str) -> None:
        """Refuse who has used the rate up; what was under way together is owed, and waited for."""
        _let_in(self._buckets.look(self._names.hashed(stranger)))

    def count(self, stranger: str) -> None:
        """Count a failure."""
        self._buckets.owe(self._names.hashed(stranger))


def site(address: str) -> str:
    """Give what one household or host has of addresses: of IPv4 one, of IPv6 a /64.

    >>> site("2001:db8::1:2:3:4"), site("192.0.2.1")
    ('2001:db8::/64', '192.0.2.1')
    """
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], _SITE_BITS), strict=False))


def _let_in(wait: float) -> None:
    """Let a call in that has not to wait, or refuse it for so many seconds."""
    if wait:
        raise Refused(EdgeReason.RATE_EXCEEDED, retry_after_s=wait)

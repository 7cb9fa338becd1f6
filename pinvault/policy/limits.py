"""How often a caller may call, and how often for one PAN; and nonces that are spent once.

Rules kept here:
- A rate is words of the reviewed configuration, such as `10/h`; a call never brings one.
- The limit per PAN counts caller and PAN, not the method: two methods that both encipher PINs
  for a PAN draw on the same account.
- The caller's own rate is asked first, so that calls beyond it do not use up a PAN's.
- A PIN block belongs to the account that it is first shown for, as long as that remembers it: most
  formats open under other PANs too, and each of them would have tries of its own.
- Whatever goes wrong with the table is raised as it is (`TableError`), and the call is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pinvault.policy.shared_table import SharedTable

PERIODS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": 86_400.0}
"""The words for periods, in seconds."""
KEPT_S = 86_400.0
"""How long a block that a caller had made stays its PAN's, in seconds."""

_RATE = re.compile(r"([1-9][0-9]{0,5})/(s|min|h|day)(?: burst ([1-9][0-9]{0,5}))?")

Scope = Literal["caller", "pan"]


class RateError(ValueError):
    """A text is no rate; `remedy` says how one is written."""

    def __init__(self) -> None:
        super().__init__("not a rate")
        self.remedy = (
            'write a rate as "10/h", with s, min, h or day, and where fewer or more may come '
            'at once, "10/h burst 3"; numbers from 1 to 999999'
        )


class LimitExceeded(Exception):
    """A rate is used up: `scope` says whose; the next call fits in `retry_after_s` seconds."""

    def __init__(self, *, scope: Scope, retry_after_s: float) -> None:
        super().__init__("a rate is used up")
        self.scope = scope
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` events in `period_s` seconds, evenly spread but for `burst` at once."""

    count: int
    period_s: float
    burst: int

    @property
    def interval_s(self) -> float:
        """Seconds from one event to the next."""
        return self.period_s / self.count


def parse_rate(text: str) -> Rate:
    """Read a rate; without a burst, the whole count may come at once.

    Raises `RateError`.

    >>> parse_rate("10/h burst 3")
    Rate(count=10, period_s=3600.0, burst=3)
    >>> parse_rate("200/s")
    Rate(count=200, period_s=1.0, burst=200)
    """
    match = _RATE.fullmatch(text)
    if match is None:
        raise RateError
    count, period, burst = match.groups()
    return Rate(count=int(count), period_s=PERIODS[period], burst=int(burst or count))


class Limits:
    """The rates of all callers, kept in the host's table."""

    def __init__(self, table: SharedTable) -> None:
        self._table = table

    def check(
        self,
        *,
        caller: str,
        method: str,
        pan_hash: bytes | None,
        per_caller: Rate | None,
        per_pan: Rate | None,
        now: float,
        blocks: Sequence[bytes] = (),
    ) -> None:
        """Count a call, or raise `LimitExceeded` and count nothing in the scope that it names.

        `per_caller` counts the caller's calls of this method; `per_pan` those of the
        caller for the PAN behind `pan_hash`, whatever the method, with the PIN blocks that it
        shows for it. `now` is in Unix seconds. A rate per PAN without a PAN is a fault of the
        program: ValueError.
        """
        if per_caller is not None:
            self._count(
                "caller", _key(b"caller", caller.encode(), method.encode()), per_caller, now
            )
        if per_pan is not None:
            if pan_hash is None:
                raise ValueError("a rate per PAN needs a PAN")
            things = [_key(b"block", caller.encode(), block) for block in blocks]
            self._count("pan", _account(caller, pan_hash), per_pan, now, things)

    def keep(self, block: bytes, *, caller: str, pan_hash: bytes, now: float) -> None:
        """Keep a PIN block that was made for a PAN from being shown for another, for a day."""
        thing = _key(b"block", caller.encode(), block)
        self._table.keep(thing, _account(caller, pan_hash), now=now, until=now + KEPT_S)

    def _count(
        self, scope: Scope, key: bytes, rate: Rate, now: float, things: Sequence[bytes] = ()
    ) -> None:
        wait = self._table.conform(
            key, now=now, interval=rate.interval_s, burst=rate.burst, things=things
        )
        if wait > 0.0:
            raise LimitExceeded(scope=scope, retry_after_s=wait)


class Nonces:
    """Nonces of sealed envelopes and the like, each spent once on this host."""

    def __init__(self, table: SharedTable) -> None:
        self._table = table

    def spend(self, nonce: bytes, *, until: float, now: float) -> bool:
        """Spend a nonce valid until `until`; tell whether it was still unspent and valid."""
        return self._table.claim_once(_key(b"nonce", nonce), now=now, until=until)


def _account(caller: str, pan_hash: bytes) -> bytes:
    return _key(b"pan", caller.encode(), pan_hash)


def _key(*parts: bytes) -> bytes:
    """Join parts so that no two lists of parts give the same key."""
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])

"""Delivers what stands in the outbox: claims a few, sends outside of any transaction, settles.

Rules:
- At least once: a sender that dies leaves its claims to run out, and another sends again. A message
  keeps its id, by which its receiver tells a repeat. Order is not promised.
- A claim that ran out settles nothing: whoever claimed later decides.
- Every endpoint has its share of the places, whatever waits for the others, and who was served is
  passed by until the others were: so neither who fails slowly nor who fails fast holds up anybody.
- A message for an endpoint that is not there is dead after an hour: so long may senders and servers
  differ in their configuration.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Protocol

from pinvault.notify.backoff import LAST_ATTEMPT, Draw, pause_s
from pinvault.notify.delivery import Outcome, Verdict
from pinvault.store import Connection, Store, StoreError, outbox
from pinvault.store.outbox import StoredMessage

SECOND: Final = 1_000_000
POLL_S: Final = 1.0
LEASE_S: Final = 90.0
"""Three times the longest attempt: a claim runs out only when its sender is gone."""
UNKNOWN_S: Final = 3600.0

Send = Callable[[str, str], Awaitable[Outcome]]
"""Makes one attempt with a message's id and body."""


class Watch(Protocol):
    """Who is told how it goes."""

    def polled(self, fault: StoreError | None) -> None:
        """The outbox was asked, or could not be."""

    def settled(self, message: StoredMessage, outcome: Outcome, state: str) -> None:
        """An attempt ended, and the message is `delivered`, `pending`, `dead` or `too-late`."""

    def unsettled(self, message: StoredMessage, fault: StoreError) -> None:
        """What became of a message could not be written; it will be sent again."""

    def broken(self, message: StoredMessage, fault: Exception) -> None:
        """A sender failed as none should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """The use case. `now` gives microseconds; what is delivered is kept for `keep_s` seconds.

    At most `at_once` attempts are under way, if there are no more senders than that.
    """

    store: Store
    senders: Mapping[str, Send]
    watch: Watch
    now: Callable[[], int]
    draw: Draw
    at_once: int = 64
    keep_s: float = 7 * 86_400.0
    poll_s: float = POLL_S
    lease_s: float = LEASE_S
    _under_way: dict[asyncio.Task[None], str] = field(default_factory=dict, init=False, repr=False)

    async def run(self, stopping: asyncio.Event, *, grace_s: float) -> None:
        """Deliver until told to stop; then give what is under way `grace_s` seconds."""
        stop = asyncio.create_task(stopping.wait())
        served = set[str]()
        while not stopping.is_set():
            claimed = await self._claim(served)
            for message in claimed:
                task = asyncio.create_task(self._deliver(message))
                self._under_way[task] = message.endpoint
                task.add_done_callback(self._under_way.pop)
            if claimed:
                served.update(message.endpoint for message in claimed)
            elif served:
                served.clear()  # everybody had a turn
            else:
                await asyncio.wait(
                    {stop, *self._under_way},
                    timeout=self.poll_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
        left = set(self._under_way)
        if left:
            _, late = await asyncio.wait(left, timeout=grace_s)
            for task in late:
                task.cancel()  # its claim runs out, and the message is sent again
            await asyncio.gather(*late, return_exceptions=True)

    async def _claim(self, served: AbstractSet[str]) -> tuple[StoredMessage, ...]:
        """Take what is due first, of endpoints that were not served and have a place left.

        All that is taken may be for one of them, so it is no more than the fullest has places for.
        """
        share = max(1, self.at_once // max(1, len(self.senders)))
        under_way = Counter(self._under_way.values())
        past = served | {endpoint for endpoint, count in under_way.items() if count >= share}
        if self.senders and past >= self.senders.keys():
            return ()  # spares a look at all that waits for them
        fullest = max((under_way[endpoint] for endpoint in under_way.keys() - past), default=0)

        def claim(db: Connection) -> tuple[StoredMessage, ...]:
            now = self.now()
            until = now + round(self.lease_s * SECOND)
            return outbox.claim(db, now=now, until=until, count=share - fullest, past=sorted(past))

        try:
            claimed = await asyncio.to_thread(self.store.transact, claim)
        except StoreError as fault:
            self.watch.polled(fault)
            return ()
        self.watch.polled(None)
        return claimed

    async def _deliver(self, message: StoredMessage) -> None:
        outcome = await self._send(message)
        try:
            state = await asyncio.to_thread(
                self.store.transact, lambda db: self._settle(db, message, outcome)
            )
        except StoreError as fault:
            self.watch.unsettled(message, fault)
        else:
            self.watch.settled(message, outcome, state)

    async def _send(self, message: StoredMessage) -> Outcome:
        send = self.senders.get(message.endpoint)
        if send is None:
            is_old = self.now() - message.created_at >= round(UNKNOWN_S * SECOND)
            verdict = Verdict.GIVEN_UP if is_old else Verdict.FAILED
            return Outcome(verdict, "endpoint-unknown")
        try:
            return await send(message.id, message.body)
        except Exception as fault:  # noqa: BLE001 - a fault of ours, with one message; others go on
            self.watch.broken(message, fault)
            return Outcome(Verdict.FAILED, "fault")

    def _settle(self, db: Connection, message: StoredMessage, outcome: Outcome) -> str:
        """Write what became of the message; say how it stands now."""
        now, attempt = self.now(), message.attempts
        if outcome.verdict is Verdict.DELIVERED:
            keep_until = now + round(self.keep_s * SECOND)
            heard = outbox.delivered(db, message.id, attempt=attempt, keep_until=keep_until)
            return "delivered" if heard else "too-late"
        if outcome.verdict is Verdict.GIVEN_UP or attempt >= LAST_ATTEMPT:
            heard = outbox.give_up(db, message.id, attempt=attempt, now=now)
            return "dead" if heard else "too-late"
        pause = pause_s(attempt, draw=self.draw, asked_s=outcome.retry_after_s)
        next_at = now + round(pause * SECOND)
        heard = outbox.failed(db, message.id, attempt=attempt, next_at=next_at)
        return "pending" if heard else "too-late"

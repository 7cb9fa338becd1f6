"""Messages to be sent, kept in the transaction that they tell of.

Rules:
- A claim lasts until the time it names and counts as an attempt. Whoever claims later begins
  another, and what the former says then is not heard: so no message is settled twice.
- Senders pass each other by and never wait for one another.
- `next_at` is when something is due: a pending message's delivery, a delivered one's removal.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from sqlalchemy import Connection, bindparam, delete, func, insert, select, tuple_, update

from pinvault.store.rows import columns, every, one
from pinvault.store.schema import outbox

State = Literal["pending", "delivered", "dead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message for an endpoint of the configuration; `body` is sent as it stands."""

    id: str
    endpoint: str
    type: str
    card_id: str
    body: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage(Message):
    """A message, how often it was claimed, and how it stands; times in microseconds UTC."""

    created_at: int
    attempts: int
    state: State
    next_at: int


@dataclass(frozen=True, slots=True)
class Queue:
    """How many messages wait, of these are due now, and are dead; since when the oldest is due."""

    pending: int
    due: int
    dead: int
    oldest_due_at: int | None


_MESSAGE = columns(outbox, StoredMessage)
_ADD = insert(outbox)
_DUE = (
    select(outbox.c.id)
    .where(outbox.c.state == "pending", outbox.c.next_at <= bindparam("now"))
    .where(outbox.c.endpoint.not_in(bindparam("past", expanding=True)))
    .order_by(outbox.c.next_at)
    .limit(bindparam("count"))
    .with_for_update(skip_locked=True)  # SQLite has one writer at a time, and leaves this out
    .cte("due")
)
_CLAIM = (
    update(outbox)
    .where(outbox.c.id.in_(select(_DUE.c.id)))
    .values(attempts=outbox.c.attempts + 1, next_at=bindparam("until"))
    .returning(*_MESSAGE)
)
_SETTLE = (
    update(outbox)
    .where(
        outbox.c.id == bindparam("message"),
        outbox.c.attempts == bindparam("attempt"),
        outbox.c.state == "pending",
    )
    .values(state=bindparam("new_state"), next_at=bindparam("new_next_at"))
    .returning(outbox.c.id)
)
_GET = select(*_MESSAGE).where(outbox.c.id == bindparam("message"))
_PAGE = (
    select(*_MESSAGE)
    .where(
        outbox.c.state == bindparam("of_state"),
        tuple_(outbox.c.next_at, outbox.c.id) > tuple_(bindparam("next"), bindparam("last")),
    )
    .order_by(outbox.c.next_at, outbox.c.id)
    .limit(bindparam("count"))
)
_PENDING = outbox.c.state == "pending"
_IS_DUE = (_PENDING, outbox.c.next_at <= bindparam("now"))
_QUEUE = select(
    select(func.count()).where(_PENDING).scalar_subquery(),
    select(func.count()).where(*_IS_DUE).scalar_subquery(),
    select(func.count()).where(outbox.c.state == "dead").scalar_subquery(),
    select(func.min(outbox.c.next_at)).where(*_IS_DUE).scalar_subquery(),
)
_RESEND = (
    update(outbox)
    .where(outbox.c.id == bindparam("message"), outbox.c.state == "dead")
    .values(state="pending", next_at=bindparam("now"))
    .returning(outbox.c.id)
)
_DISCARD = (
    delete(outbox)
    .where(outbox.c.id == bindparam("message"), outbox.c.state == "dead")
    .returning(outbox.c.id)
)


def add(db: Connection, message: Message, *, now: int) -> None:
    """Keep a message, due at once, if the caller's transaction is."""
    states = {"created_at": now, "attempts": 0, "state": "pending", "next_at": now}
    db.execute(_ADD, asdict(message) | states)


def claim(
    db: Connection, *, now: int, until: int, count: int, past: Sequence[str] = ()
) -> tuple[StoredMessage, ...]:
    """Take at most `count` messages that are due, to be settled before `until`.

    Those for the endpoints `past` are passed by.
    """
    values = {"now": now, "until": until, "count": count, "past": list(past)}
    return every(db.execute(_CLAIM, values), StoredMessage)


def delivered(db: Connection, message: str, *, attempt: int, keep_until: int) -> bool:
    """Settle a message for good; here and below False if the claim is not the newest."""
    return _settle(db, message, attempt, "delivered", keep_until)


def failed(db: Connection, message: str, *, attempt: int, next_at: int) -> bool:
    """Let a message be due again at `next_at`."""
    return _settle(db, message, attempt, "pending", next_at)


def give_up(db: Connection, message: str, *, attempt: int, now: int) -> bool:
    """Leave a message dead, until somebody sends it again or discards it."""
    return _settle(db, message, attempt, "dead", now)


def queue(db: Connection, *, now: int) -> Queue:
    """Tell how long the queue is; looks at every message that waits."""
    return Queue(*db.execute(_QUEUE, {"now": now}).one())


def get(db: Connection, message: str) -> StoredMessage | None:
    """Give the message, if it is still there."""
    return one(db.execute(_GET, {"message": message}), StoredMessage)


def page(
    db: Connection, *, state: State, after: StoredMessage | None, count: int
) -> tuple[StoredMessage, ...]:
    """Give the next messages in a state, by `next_at`; begin after None."""
    place = {"next": -1, "last": ""} if after is None else {"next": after.next_at, "last": after.id}
    values = place | {"of_state": state, "count": count}
    return every(db.execute(_PAGE, values), StoredMessage)


def resend(db: Connection, message: str, *, now: int) -> bool:
    """Let a dead message be due at once; False if it is not dead."""
    return db.scalar(_RESEND, {"message": message, "now": now}) is not None


def discard(db: Connection, message: str) -> bool:
    """Remove a dead message for good; False if it is not dead."""
    return db.scalar(_DISCARD, {"message": message}) is not None


def _settle(db: Connection, message: str, attempt: int, state: str, next_at: int) -> bool:
    values = {"message": message, "attempt": attempt, "new_state": state, "new_next_at": next_at}
    return db.scalar(_SETTLE, values) is not None

"""Messages to be sent, kept in the transaction that they tell of.

Rules:
- A claim lasts until the time it names and counts as an attempt. Whoever claims later begins
  another, and what the former says then is not heard: so no message is settled twice.
- Senders pass each other by and never wait for one another.
- `next_at` is when something is due: a pending message's delivery, a delivered one's removal.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, bindparam, insert, select, update

from pinvault.store.rows import columns, every
from pinvault.store.schema import outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message for an endpoint of the configuration; `body` is sent as it stands."""

    id: str
    endpoint: str
    type: str
    card_id: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage(Message):
    """A message and how often it was claimed; time in microseconds UTC."""

    created_at: int
    attempts: int


_MESSAGE = columns(outbox, StoredMessage)
_ADD = insert(outbox)
_DUE = (
    select(outbox.c.id)
    .where(outbox.c.state == "pending", outbox.c.next_at <= bindparam("now"))
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
_DEAD = (
    select(*_MESSAGE)
    .where(outbox.c.state == "dead")
    .order_by(outbox.c.next_at)
    .limit(bindparam("count"))
)
_RESEND = (
    update(outbox)
    .where(outbox.c.id == bindparam("message"), outbox.c.state == "dead")
    .values(state="pending", next_at=bindparam("now"))
    .returning(outbox.c.id)
)


def add(db: Connection, message: Message, *, now: int) -> None:
    """Keep a message, due at once, if the caller's transaction is."""
    states = {"created_at": now, "attempts": 0, "state": "pending", "next_at": now}
    db.execute(_ADD, asdict(message) | states)


def claim(db: Connection, *, now: int, until: int, count: int) -> tuple[StoredMessage, ...]:
    """Take at most `count` messages that are due, to be settled before `until`."""
    return every(db.execute(_CLAIM, {"now": now, "until": until, "count": count}), StoredMessage)


def delivered(db: Connection, message: str, *, attempt: int, keep_until: int) -> bool:
    """Settle a message for good; here and below False if the claim is not the newest."""
    return _settle(db, message, attempt, "delivered", keep_until)


def failed(db: Connection, message: str, *, attempt: int, next_at: int) -> bool:
    """Let a message be due again at `next_at`."""
    return _settle(db, message, attempt, "pending", next_at)


def give_up(db: Connection, message: str, *, attempt: int, now: int) -> bool:
    """Leave a message dead, until somebody sends it again."""
    return _settle(db, message, attempt, "dead", now)


def dead(db: Connection, *, count: int) -> tuple[StoredMessage, ...]:
    """Give the messages that died first."""
    return every(db.execute(_DEAD, {"count": count}), StoredMessage)


def resend(db: Connection, message: str, *, now: int) -> bool:
    """Let a dead message be due at once; False if it is not dead."""
    return db.scalar(_RESEND, {"message": message, "now": now}) is not None


def _settle(db: Connection, message: str, attempt: int, state: str, next_at: int) -> bool:
    values = {"message": message, "attempt": attempt, "new_state": state, "new_next_at": next_at}
    return db.scalar(_SETTLE, values) is not None

"""What time has made meaningless, removed in bites that hold no lock for long."""

from typing import Final

from sqlalchemy import Column, Connection, Delete, and_, bindparam, delete, select, tuple_

from pinvault.store.schema import control_token, idempotency, outbox, pin_session, velocity


def _sweep(column: Column[int], *, state: str = "") -> Delete:
    table = column.table
    over = column <= bindparam("now")
    if state:
        over = and_(table.c.state == state, over)
    bite = select(*table.primary_key).where(over).order_by(column).limit(bindparam("count"))
    # Asked twice, since a row that was chosen may have been renewed before it is deleted.
    return delete(table).where(tuple_(*table.primary_key).in_(bite), over)


_SWEEPS: Final = (
    _sweep(control_token.c.expires_at),
    _sweep(pin_session.c.expires_at),
    _sweep(idempotency.c.expires_at),
    _sweep(velocity.c.ends_at),
    _sweep(outbox.c.next_at, state="delivered"),
)


def sweep(db: Connection, *, now: int, count: int) -> int:
    """Remove at most `count` rows of every kind whose time has passed; give how many there were."""
    return sum(db.execute(one, {"now": now, "count": count}).rowcount for one in _SWEEPS)

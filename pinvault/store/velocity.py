"""Counted uses in a window of time that begins with the first: one row, one statement."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, case, or_, select
from sqlalchemy.dialects.postgresql import insert

from pinvault.store.schema import velocity


@dataclass(frozen=True, slots=True)
class Uses:
    """How many uses were counted in the present window, and when it ends (or ended)."""

    count: int
    ends_at: int


_IS_OVER = velocity.c.ends_at <= bindparam("now")
_INSERT = insert(velocity)
_COUNT = _INSERT.on_conflict_do_update(
    index_elements=[velocity.c.scope, velocity.c.subject],
    set_={
        "uses": case((_IS_OVER, 1), else_=velocity.c.uses + 1),
        "ends_at": case((_IS_OVER, _INSERT.excluded.ends_at), else_=velocity.c.ends_at),
    },
    where=or_(_IS_OVER, velocity.c.uses < bindparam("limit")),
).returning(velocity.c.uses)
_GET = select(velocity.c.uses, velocity.c.ends_at).where(
    velocity.c.scope == bindparam("of_scope"),
    velocity.c.subject == bindparam("of_subject"),
    velocity.c.ends_at > bindparam("now"),
)


def count_use(
    db: Connection, *, scope: str, subject: bytes, limit: int, now: int, ends_at: int
) -> int | None:
    """Count a use and give how many there were in the window; None, uncounted, after `limit`.

    `subject` is a card's id or a hash, at most 64 bytes; a window that begins now ends at
    `ends_at`.
    """
    row = {"scope": scope, "subject": subject, "uses": 1, "ends_at": ends_at}
    uses: int | None = db.scalar(_COUNT, row | {"limit": limit, "now": now})
    return uses


def uses(db: Connection, *, scope: str, subject: bytes, now: int) -> Uses:
    """Tell how the present window stands, and count nothing; without one, it ends `now`."""
    values = {"of_scope": scope, "of_subject": subject, "now": now}
    found = db.execute(_GET, values).one_or_none()
    return Uses(0, now) if found is None else Uses(found.uses, found.ends_at)

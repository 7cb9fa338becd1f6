"""Sessions of the hosted PIN page: found by a public id, opened by a secret, good for one PIN.

The page exchanges the secret of its address once for one of its own, counts every entry before it
is judged, and ends with the first that is accepted. Only hashes of secrets are kept, 32 bytes.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select, update

from pinvault.store.rows import columns, one
from pinvault.store.schema import pin_session


@dataclass(frozen=True, slots=True, kw_only=True)
class PinSession:
    """What a session is for: one action with one card's PIN, embedded by one origin."""

    id: str
    card_id: str
    action: str
    caller: str
    origin: str
    entries: int
    expires_at: int


_SESSION = columns(pin_session, PinSession)
_OPEN = (
    pin_session.c.id == bindparam("session"),
    pin_session.c.expires_at > bindparam("now"),
    pin_session.c.used_at.is_(None),
)
_OF_PAGE = pin_session.c.page_hash == bindparam("hash")

_ADD = insert(pin_session)
_GET = select(*_SESSION).where(*_OPEN)
_IS_PAGES = select(pin_session.c.id).where(*_OPEN, _OF_PAGE)
_EXCHANGE = (
    update(pin_session)
    .where(
        *_OPEN,
        pin_session.c.secret_hash == bindparam("hash"),
        pin_session.c.exchanged_at.is_(None),
    )
    .values(page_hash=bindparam("new_page_hash"), exchanged_at=bindparam("now"))
    .returning(*_SESSION)
)
_COUNT_ENTRY = (
    update(pin_session)
    .where(*_OPEN, _OF_PAGE, pin_session.c.entries < bindparam("limit"))
    .values(entries=pin_session.c.entries + 1)
    .returning(*_SESSION)
)
_USE = (
    update(pin_session)
    .where(*_OPEN, _OF_PAGE)
    .values(used_at=bindparam("now"))
    .returning(*_SESSION)
)


def add_session(db: Connection, new: PinSession, *, secret_hash: bytes) -> None:
    """Keep a new session; StoreRefused for a card that is not there."""
    values = {column.name: getattr(new, column.name) for column in _SESSION}
    db.execute(_ADD, values | {"secret_hash": secret_hash})


def get_session(db: Connection, session: str, *, now: int) -> PinSession | None:
    """Give a session that has neither expired nor been used."""
    return one(db.execute(_GET, {"session": session, "now": now}), PinSession)


def is_pages(db: Connection, session: str, *, page_hash: bytes, now: int) -> bool:
    """Say whether a session is open, and the page's that has this secret."""
    values = {"session": session, "hash": page_hash, "now": now}
    return db.scalar(_IS_PAGES, values) is not None


def exchange(
    db: Connection, session: str, *, secret_hash: bytes, page_hash: bytes, now: int
) -> PinSession | None:
    """Take the page's secret in place of the address's, once; None for whatever is wrong."""
    values = {"session": session, "hash": secret_hash, "new_page_hash": page_hash, "now": now}
    return one(db.execute(_EXCHANGE, values), PinSession)


def count_entry(
    db: Connection, session: str, *, page_hash: bytes, limit: int, now: int
) -> PinSession | None:
    """Use one of `limit` entries; None if there is none left, or for whatever else is wrong."""
    values = {"session": session, "hash": page_hash, "limit": limit, "now": now}
    return one(db.execute(_COUNT_ENTRY, values), PinSession)


def use(db: Connection, session: str, *, page_hash: bytes, now: int) -> PinSession | None:
    """End the session; None if it has ended before, or for whatever else is wrong."""
    values = {"session": session, "hash": page_hash, "now": now}
    return one(db.execute(_USE, values), PinSession)

"""Idempotency keys: a caller's request is done once, and its answer told again.

Rules:
- `begin` is committed before the work; `finish` is committed with it, in one transaction.
- A row whose time has passed counts as none. Until the answer is there, that time is the lease of
  whoever does the work; then it is how long the answer is told again.
- Whoever takes an expired lease over begins another attempt, and the former one's `finish` fails:
  it must then undo its transaction. An attempt is told by when it began, so that the rows that come
  after one which is gone are none of its own.
- `fingerprint` is a keyed hash of the request, 32 bytes: a PIN's plain hash would tell the PIN.
  An answer holds no secret.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from pinvault.store.schema import idempotency


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """A caller's own name for one request to one method."""

    caller: str
    method: str
    key: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The request is new; its work is to be done, and finished under this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Known:
    """The key was used before, for the same request or another; `answer` is None in flight."""

    is_same_request: bool
    answer: bytes | None


_row = idempotency.c
_KEY = (
    _row.caller == bindparam("of_caller"),
    _row.method == bindparam("of_method"),
    _row.key == bindparam("of_key"),
)
_IN_FLIGHT = (*_KEY, _row.attempt == bindparam("of_attempt"), _row.answer.is_(None))

_INSERT = insert(idempotency)
_BEGIN = _INSERT.on_conflict_do_update(
    index_elements=[_row.caller, _row.method, _row.key],
    set_={
        "fingerprint": _INSERT.excluded.fingerprint,
        "attempt": _INSERT.excluded.attempt,
        "answer": None,
        "created_at": _INSERT.excluded.created_at,
        "expires_at": _INSERT.excluded.expires_at,
    },
    where=_row.expires_at <= bindparam("now"),
).returning(_row.attempt)
_GET = select(_row.fingerprint, _row.answer).where(*_KEY)
_RECALL = _GET.where(_row.expires_at > bindparam("now"))
_FINISH = (
    update(idempotency)
    .where(*_IN_FLIGHT)
    .values(answer=bindparam("new_answer"), expires_at=bindparam("until"))
    .returning(_row.attempt)
)
_RELEASE = delete(idempotency).where(*_IN_FLIGHT).returning(_row.attempt)


def begin(
    db: Connection, key: IdempotencyKey, *, fingerprint: bytes, now: int, lease_until: int
) -> Begun | Known:
    """Take the key for one request until `lease_until`, or tell how it stands."""
    values = {"fingerprint": fingerprint, "created_at": now, "expires_at": lease_until, "now": now}
    attempt = db.scalar(_BEGIN, asdict(key) | values | {"attempt": now})
    if attempt is not None:
        return Begun(attempt)
    # The statement above locked the row that it left alone, so it is still there.
    found = db.execute(_GET, _of(key)).one()
    return Known(found.fingerprint == fingerprint, found.answer)


def recall(db: Connection, key: IdempotencyKey, *, fingerprint: bytes, now: int) -> Known | None:
    """Tell how the key stands, and take nothing; None if it was not used."""
    found = db.execute(_RECALL, _of(key) | {"now": now}).one_or_none()
    return None if found is None else Known(found.fingerprint == fingerprint, found.answer)


def finish(
    db: Connection, key: IdempotencyKey, *, attempt: int, answer: bytes, keep_until: int
) -> bool:
    """Keep the answer; False if another attempt took the key over."""
    values = {"of_attempt": attempt, "new_answer": answer, "until": keep_until}
    return db.scalar(_FINISH, _of(key) | values) is not None


def release(db: Connection, key: IdempotencyKey, *, attempt: int) -> bool:
    """Forget a request whose work was not done, so that it may be sent again."""
    return db.scalar(_RELEASE, _of(key) | {"of_attempt": attempt}) is not None


def _of(key: IdempotencyKey) -> dict[str, object]:
    return {f"of_{name}": value for name, value in asdict(key).items()}

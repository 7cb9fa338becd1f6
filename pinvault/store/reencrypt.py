"""Ciphertexts moved from key to key, in chunks that many workers share and none does twice.

Rules:
- A chunk is a range of ids. Work on it happens outside of any transaction; its rows and the mark
  that it is done are written in one, and only by the newest claim: `write_back` then `finish`, and
  undo both if `finish` is False.
- A row is written only if it still holds the very ciphertext that was read. One that changed
  meanwhile was enciphered by somebody who knew the present key, or is found by `rows_left`.
- Chunks are of the rows that were there. Rows that came later are under the present key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    Column,
    Connection,
    LargeBinary,
    Select,
    Text,
    Update,
    bindparam,
    column,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.types import TypeEngine

from pinvault.store.place import POSTGRESQL
from pinvault.store.rows import columns, one
from pinvault.store.schema import card, pin, reencrypt_chunk


@dataclass(frozen=True, slots=True)
class Ciphertext:
    """A column of ciphertexts, the column that names their key, and their rows' id."""

    id: Column[str]
    data: Column[Any]
    key: Column[Any]


CIPHERTEXTS: Final = {
    "card.pan": Ciphertext(card.c.id, card.c.pan_cipher, card.c.pan_key),
    "pin.reference": Ciphertext(pin.c.card_id, pin.c.reference, pin.c.reference_key),
    "pin.reveal": Ciphertext(pin.c.card_id, pin.c.reveal, pin.c.reveal_key),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A claimed range of ids, both ends in it."""

    job: str
    first_id: str
    last_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Row:
    """A ciphertext as it was read, and its key, written name/version."""

    id: str
    data: bytes = field(repr=False)
    key: str


@dataclass(frozen=True, slots=True)
class PanRow(Row):
    """An enciphered PAN as it was read, its keyed hash, and what tells its owner beside the id."""

    pan_index: bytes = field(repr=False)
    program: str
    external_id: str | None


@dataclass(frozen=True, slots=True)
class PinRow(Row):
    """A ciphertext of a PIN, and the PAN of its card: enciphered, its key, and as in `PanRow`."""

    pan_cipher: bytes = field(repr=False)
    pan_key: str
    pan_index: bytes = field(repr=False)
    program: str
    external_id: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: chunks in all, chunks done, and rows changed in these."""

    chunks: int
    done: int
    changed: int


_OF_OWNER: Final = (card.c.pan_index, card.c.program, card.c.external_id)
_chunk = reencrypt_chunk.c
_CHUNK = columns(reencrypt_chunk, Chunk)
# None for a chunk that another planned at the same time.
_ADD = insert(reencrypt_chunk).on_conflict_do_nothing().returning(_chunk.first_id)
_PLANNED = select(func.max(_chunk.last_id)).where(_chunk.job == bindparam("of_job"))
_DUE = (
    select(_chunk.first_id)
    .where(
        _chunk.job == bindparam("of_job"),
        _chunk.done_at.is_(None),
        _chunk.claimed_until <= bindparam("now"),
    )
    .order_by(_chunk.first_id)
    .limit(1)
    .with_for_update(skip_locked=True)
    .cte("due")
)
_CLAIM = (
    update(reencrypt_chunk)
    .where(_chunk.job == bindparam("of_job"), _chunk.first_id.in_(select(_DUE.c.first_id)))
    .values(
        attempt=_chunk.attempt + 1, claimed_by=bindparam("worker"), claimed_until=bindparam("until")
    )
    .returning(*_CHUNK)
)
_FINISH = (
    update(reencrypt_chunk)
    .where(
        _chunk.job == bindparam("of_job"),
        _chunk.first_id == bindparam("first"),
        _chunk.attempt == bindparam("of_attempt"),
        _chunk.done_at.is_(None),
    )
    .values(done_at=bindparam("now"), changed=bindparam("rows"))
    .returning(_chunk.first_id)
)
_PROGRESS = select(
    func.count(), func.count(_chunk.done_at), func.coalesce(func.sum(_chunk.changed), 0)
).where(_chunk.job == bindparam("of_job"))

_GIVEN: Final[dict[str, TypeEngine[Any]]] = {
    "given_id": Text(),
    "given_data": LargeBinary(),
    "given_key": Text(),
    "given_new": LargeBinary(),
}
_UNNESTED: Final = (
    func.unnest(*(bindparam(name, type_=ARRAY(kind)) for name, kind in _GIVEN.items()))
    .table_valued(*(column(name, kind) for name, kind in _GIVEN.items()))
    .render_derived(name="given")
)


def plan(db: Connection, job: str, target: Ciphertext, *, size: int) -> int:
    """Cut the rows that no chunk of the job holds into chunks of `size`; give how many."""
    last: str = db.scalar(_PLANNED, {"of_job": job}) or ""
    added = 0
    while ids := range_after(db, target, last, size=size):
        first, last = ids
        chunk = {"job": job, "first_id": first, "last_id": last, "attempt": 0}
        added += db.scalar(_ADD, chunk | {"claimed_until": 0, "changed": 0}) is not None
    return added


def range_after(
    db: Connection, target: Ciphertext, after: str, *, size: int
) -> tuple[str, str] | None:
    """Give the first and the last id of the next `size` rows; None when there are no more."""
    ids = select(target.id).where(target.id > after).order_by(target.id).limit(size).subquery()
    first, last = db.execute(select(func.min(ids.c[0]), func.max(ids.c[0]))).one()
    return None if first is None else (first, last)


def claim(db: Connection, job: str, *, worker: str, now: int, until: int) -> Chunk | None:
    """Take the first chunk that nobody holds, to be finished before `until`; None if all are."""
    values = {"of_job": job, "worker": worker, "now": now, "until": until}
    return one(db.execute(_CLAIM, values), Chunk)


def rows_of(db: Connection, chunk: Chunk, target: Ciphertext, *, present: str) -> list[Row]:
    """Give the chunk's rows that are not under the present key."""
    return [Row(*row) for row in db.execute(_rows(chunk, target, present))]


def pan_rows_of(db: Connection, chunk: Chunk, *, present: str) -> list[PanRow]:
    """Give the same of the PANs, with their keyed hashes."""
    pans = _rows(chunk, CIPHERTEXTS["card.pan"], present).add_columns(*_OF_OWNER)
    return [PanRow(*row) for row in db.execute(pans)]


def pin_rows_of(db: Connection, chunk: Chunk, target: Ciphertext, *, present: str) -> list[PinRow]:
    """Give the same of a column of `pin`, with the PANs of the cards."""
    with_pans = (
        _rows(chunk, target, present)
        .join(card, card.c.id == pin.c.card_id)
        .add_columns(card.c.pan_cipher, card.c.pan_key, *_OF_OWNER)
    )
    return [PinRow(*row) for row in db.execute(with_pans)]


def _rows(chunk: Chunk, target: Ciphertext, present: str) -> Select[Any]:
    return (
        select(target.id, target.data, target.key)
        .where(target.id >= chunk.first_id, target.id <= chunk.last_id, target.key != present)
        .order_by(target.id)
    )


def write_back(
    db: Connection, target: Ciphertext, rows: Iterable[tuple[Row, bytes]], *, present: str
) -> int:
    """Write new ciphertexts, under the present key, over those that were read; give how many."""
    changes = [(row.id, row.data, row.key, data) for row, data in rows]
    if not changes:
        return 0
    if db.dialect.name == POSTGRESQL:  # in one statement: one a row takes many times as long
        arrays = dict(zip(_GIVEN, map(list, zip(*changes, strict=True)), strict=True))
        return db.execute(_write(target, dict(_UNNESTED.c)), arrays | {"present": present}).rowcount
    each = [dict(zip(_GIVEN, change, strict=True)) | {"present": present} for change in changes]
    return db.execute(_write(target, {name: bindparam(name) for name in _GIVEN}), each).rowcount


def _write(target: Ciphertext, given: Mapping[str, Any]) -> Update:
    return (
        update(target.id.table)
        .where(
            target.id == given["given_id"],
            target.data == given["given_data"],
            target.key == given["given_key"],
        )
        .values({target.data: given["given_new"], target.key: bindparam("present")})
    )


def finish(db: Connection, chunk: Chunk, *, now: int, changed: int) -> bool:
    """Mark a chunk as done; False if another claim was made of it."""
    values = {"of_job": chunk.job, "first": chunk.first_id, "of_attempt": chunk.attempt}
    return db.scalar(_FINISH, values | {"now": now, "rows": changed}) is not None


def progress(db: Connection, job: str) -> Progress:
    """Tell how far a job is."""
    return Progress(*db.execute(_PROGRESS, {"of_job": job}).one())


def rows_left(db: Connection, target: Ciphertext, *, present: str) -> bool:
    """Tell whether any row is not under the present key; looks at all rows to say no."""
    other = select(target.id).where(target.key != present).limit(1)
    return db.scalar(other) is not None


def rows_by_key(db: Connection, target: Ciphertext) -> dict[str, int]:
    """Count the rows under each key; looks at all of them."""
    counted = select(target.key, func.count()).where(target.key.is_not(None)).group_by(target.key)
    return dict(db.execute(counted.order_by(target.key)).all())

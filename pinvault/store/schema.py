"""The tables, as the code of this release expects them.

Rules:
- One schema for SQLite and PostgreSQL: text, bytes and integers, ordered by bytes; SQLite's tables
  are STRICT, so that neither engine takes one for another.
- Times are integers: microseconds since 1970-01-01, UTC.
- No column holds a PIN, a PAN or a secret in the clear: ciphertexts name the key that made them,
  identifiers to be found again are keyed hashes, tokens are hashes.
- Lengths are checked by the database too.
- A change here needs a migration in `migrations/versions`; a test compares the two.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

REVISION: Final = "0001"
"""The newest migration."""

HASH_BYTES: Final = 32

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

_WORD = Text().with_variant(Text(collation="C"), "postgresql")
_BYTES = LargeBinary()
_INT = BigInteger().with_variant(Integer(), "sqlite")
_FORM: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}


def _needed(name: str, kind: Any, *marks: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, *marks, nullable=False, **options)


def _lengths(**bounds: tuple[int, int]) -> list[CheckConstraint]:
    """Bound columns: characters of text, bytes of bytes."""
    return [
        CheckConstraint(f"length({name}) BETWEEN {least} AND {most}", name=f"{name}_length")
        for name, (least, most) in bounds.items()
    ]


_NAME = (1, 128)
_ID = (1, 36)
_HASH = (HASH_BYTES, HASH_BYTES)

card = Table(
    "card",
    metadata,
    Column("id", _WORD, primary_key=True),
    _needed("program", _WORD),
    Column("external_id", _WORD),
    _needed("pan_index", _BYTES),
    _needed("pan_cipher", _BYTES),
    _needed("pan_key", _WORD),
    _needed("last_four", _WORD),
    _needed("sequence_number", _WORD),
    _needed("expiry", _WORD),
    _needed("status", _WORD),
    _needed("created_at", _INT),
    _needed("changed_at", _INT),
    _needed("seal", _BYTES),
    # A PAN may be on several cards, which their sequence numbers tell apart (EMV, tag 5F34).
    UniqueConstraint("pan_index", "sequence_number"),
    UniqueConstraint("program", "external_id"),
    *_lengths(id=_ID, program=_NAME, external_id=(1, 64)),
    *_lengths(pan_index=_HASH, pan_cipher=(1, 1024), pan_key=_NAME, seal=_HASH),
    *_lengths(last_four=(4, 4), sequence_number=(2, 3), expiry=(4, 4), status=(1, 16)),
    **_FORM,
)

pin = Table(
    "pin",
    metadata,
    Column("card_id", _WORD, ForeignKey("card.id"), primary_key=True),
    _needed("method", _WORD),
    Column("value", _WORD),
    Column("reference", _BYTES),
    Column("reference_key", _WORD),
    Column("reveal", _BYTES),
    Column("reveal_key", _WORD),
    _needed("set_at", _INT),
    _needed("tries_used", _INT),
    Column("tried_at", _INT),
    Column("blocked_at", _INT),
    _needed("generation", _INT),
    _needed("try_round", _INT),
    *_lengths(method=_NAME, value=(1, 16), reference=(1, 1024), reference_key=_NAME),
    *_lengths(reveal=(1, 1024), reveal_key=_NAME),
    CheckConstraint("(reference IS NULL) = (reference_key IS NULL)", name="reference_has_key"),
    CheckConstraint("(reveal IS NULL) = (reveal_key IS NULL)", name="reveal_has_key"),
    CheckConstraint(
        "tries_used >= 0 AND generation >= 1 AND try_round >= generation", name="counts"
    ),
    **_FORM,
)

control_token = Table(
    "control_token",
    metadata,
    Column("card_id", _WORD, ForeignKey("card.id"), primary_key=True),
    Column("kind", _WORD, primary_key=True),
    _needed("token_hash", _BYTES, unique=True),
    _needed("seal", _BYTES),
    _needed("caller", _WORD),
    _needed("issued_at", _INT),
    _needed("expires_at", _INT, index=True),
    Column("redeemed_at", _INT),
    *_lengths(kind=_NAME, token_hash=_HASH, seal=_HASH, caller=(1, 256)),
    **_FORM,
)

pin_session = Table(
    "pin_session",
    metadata,
    Column("id", _WORD, primary_key=True),
    _needed("secret_hash", _BYTES),
    Column("page_hash", _BYTES),
    _needed("card_id", _WORD, ForeignKey("card.id"), index=True),
    _needed("action", _WORD),
    _needed("caller", _WORD),
    _needed("origin", _WORD),
    _needed("entries", _INT),
    _needed("expires_at", _INT, index=True),
    Column("exchanged_at", _INT),
    Column("used_at", _INT),
    *_lengths(id=_ID, secret_hash=_HASH, page_hash=_HASH, action=_NAME, caller=(1, 256)),
    *_lengths(origin=(0, 512)),
    **_FORM,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("caller", _WORD, primary_key=True),
    Column("method", _WORD, primary_key=True),
    Column("key", _WORD, primary_key=True),
    _needed("fingerprint", _BYTES),
    _needed("attempt", _INT),
    Column("answer", _BYTES),
    _needed("created_at", _INT),
    _needed("expires_at", _INT, index=True),
    *_lengths(caller=(1, 256), method=_NAME, key=(1, 256), fingerprint=_HASH),
    **_FORM,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _WORD, primary_key=True),
    _needed("endpoint", _WORD),
    _needed("type", _WORD),
    _needed("card_id", _WORD),
    _needed("body", _WORD),
    _needed("created_at", _INT),
    _needed("attempts", _INT),
    _needed("state", _WORD),
    _needed("next_at", _INT),
    Index(None, "state", "next_at", "id"),
    CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="state"),
    *_lengths(id=_ID, endpoint=_NAME, type=_NAME, card_id=_ID),
    **_FORM,
)

velocity = Table(
    "velocity",
    metadata,
    Column("scope", _WORD, primary_key=True),
    Column("subject", _BYTES, primary_key=True),
    _needed("uses", _INT),
    _needed("ends_at", _INT, index=True),
    *_lengths(scope=_NAME, subject=(1, 64)),
    **_FORM,
)

reencrypt_chunk = Table(
    "reencrypt_chunk",
    metadata,
    Column("job", _WORD, primary_key=True),
    Column("first_id", _WORD, primary_key=True),
    _needed("last_id", _WORD),
    _needed("attempt", _INT),
    Column("claimed_by", _WORD),
    _needed("claimed_until", _INT),
    Column("done_at", _INT),
    _needed("changed", _INT),
    *_lengths(job=_NAME, claimed_by=(1, 256)),
    **_FORM,
)
Index(
    "ix_reencrypt_chunk_open",
    *(reencrypt_chunk.c.job, reencrypt_chunk.c.first_id),
    sqlite_where=reencrypt_chunk.c.done_at.is_(None),
    postgresql_where=reencrypt_chunk.c.done_at.is_(None),
)

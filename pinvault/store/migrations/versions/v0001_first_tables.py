"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BYTES = sa.LargeBinary()
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

NAME = (1, 128)
ID = (1, 36)
HASH = (32, 32)
CALLER = (1, 256)


def upgrade() -> None:
    """Make them all."""
    _make_cards()
    _make_pins()
    _make_tokens()
    _make_sessions()
    _make_idempotency()
    _make_outbox()
    _make_velocity()
    _make_chunks()


def _make_cards() -> None:
    _table(
        "card",
        _key("id"),
        _column("program"),
        _column("external_id", null=True),
        _column("pan_index", BYTES),
        _column("pan_cipher", BYTES),
        _column("pan_key"),
        _column("last_four"),
        _column("sequence_number"),
        _column("expiry"),
        _column("status"),
        _column("created_at", INT),
        _column("changed_at", INT),
        _column("seal", BYTES),
        sa.UniqueConstraint(
            "pan_index", "sequence_number", name="uq_card_pan_index_sequence_number"
        ),
        sa.UniqueConstraint("program", "external_id", name="uq_card_program_external_id"),
        *_lengths("card", id=ID, program=NAME, external_id=(1, 64)),
        *_lengths("card", pan_index=HASH, pan_cipher=(1, 1024), pan_key=NAME, seal=HASH),
        *_lengths("card", last_four=(4, 4), sequence_number=(2, 3), expiry=(4, 4), status=(1, 16)),
    )


def _make_pins() -> None:
    _table(
        "pin",
        _key("card_id"),
        _column("method"),
        _column("value", null=True),
        _column("reference", BYTES, null=True),
        _column("reference_key", null=True),
        _column("reveal", BYTES, null=True),
        _column("reveal_key", null=True),
        _column("set_at", INT),
        _column("tries_used", INT),
        _column("tried_at", INT, null=True),
        _column("blocked_at", INT, null=True),
        _column("generation", INT),
        _column("try_round", INT),
        _of_card("pin"),
        _check("pin", "reference_has_key", "(reference IS NULL) = (reference_key IS NULL)"),
        _check("pin", "reveal_has_key", "(reveal IS NULL) = (reveal_key IS NULL)"),
        _check("pin", "counts", "tries_used >= 0 AND generation >= 1 AND try_round >= generation"),
        *_lengths("pin", method=NAME, value=(1, 16)),
        *_lengths("pin", reference=(1, 1024), reference_key=NAME),
        *_lengths("pin", reveal=(1, 1024), reveal_key=NAME),
    )


def _make_tokens() -> None:
    _table(
        "control_token",
        _key("card_id"),
        _key("kind"),
        _column("token_hash", BYTES),
        _column("seal", BYTES),
        _column("caller"),
        _column("issued_at", INT),
        _column("expires_at", INT),
        _column("redeemed_at", INT, null=True),
        _of_card("control_token"),
        sa.UniqueConstraint("token_hash", name="uq_control_token_token_hash"),
        *_lengths("control_token", kind=NAME, token_hash=HASH, seal=HASH, caller=CALLER),
    )
    _index("control_token", "expires_at")


def _make_sessions() -> None:
    _table(
        "pin_session",
        _key("id"),
        _column("secret_hash", BYTES),
        _column("page_hash", BYTES, null=True),
        _column("card_id"),
        _column("action"),
        _column("caller"),
        _column("origin"),
        _column("entries", INT),
        _column("expires_at", INT),
        _column("exchanged_at", INT, null=True),
        _column("used_at", INT, null=True),
        _of_card("pin_session"),
        *_lengths("pin_session", id=ID, secret_hash=HASH, page_hash=HASH, action=NAME),
        *_lengths("pin_session", caller=CALLER, origin=(0, 512)),
    )
    _index("pin_session", "card_id")
    _index("pin_session", "expires_at")


def _make_idempotency() -> None:
    _table(
        "idempotency",
        _key("caller"),
        _key("method"),
        _key("key"),
        _column("fingerprint", BYTES),
        _column("attempt", INT),
        _column("answer", BYTES, null=True),
        _column("created_at", INT),
        _column("expires_at", INT),
        *_lengths("idempotency", caller=CALLER, method=NAME, key=(1, 256), fingerprint=HASH),
    )
    _index("idempotency", "expires_at")


def _make_outbox() -> None:
    _table(
        "outbox",
        _key("id"),
        _column("endpoint"),
        _column("type"),
        _column("card_id"),
        _column("body"),
        _column("created_at", INT),
        _column("attempts", INT),
        _column("state"),
        _column("next_at", INT),
        _check("outbox", "state", "state IN ('pending', 'delivered', 'dead')"),
        *_lengths("outbox", id=ID, endpoint=NAME, type=NAME, card_id=ID),
    )
    _index("outbox", "state", "next_at", "id")


def _make_velocity() -> None:
    _table(
        "velocity",
        _key("scope"),
        _key("subject", BYTES),
        _column("uses", INT),
        _column("ends_at", INT),
        *_lengths("velocity", scope=NAME, subject=(1, 64)),
    )
    _index("velocity", "ends_at")


def _make_chunks() -> None:
    _table(
        "reencrypt_chunk",
        _key("job"),
        _key("first_id"),
        _column("last_id"),
        _column("attempt", INT),
        _column("claimed_by", null=True),
        _column("claimed_until", INT),
        _column("done_at", INT, null=True),
        _column("changed", INT),
        *_lengths("reencrypt_chunk", job=NAME, claimed_by=CALLER),
    )
    is_open = sa.text("done_at IS NULL")
    op.create_index(
        "ix_reencrypt_chunk_open",
        "reencrypt_chunk",
        ["job", "first_id"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )


def _table(name: str, *parts: Any) -> None:
    op.create_table(name, *parts, sqlite_strict=True, sqlite_with_rowid=False)


def _key(name: str, kind: Any = WORD) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, nullable=False)


def _column(name: str, kind: Any = WORD, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


def _lengths(table: str, **bounds: tuple[int, int]) -> list[sa.CheckConstraint]:
    return [
        _check(table, f"{name}_length", f"length({name}) BETWEEN {least} AND {most}")
        for name, (least, most) in bounds.items()
    ]


def _check(table: str, name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}"))


def _of_card(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["card_id"], ["card.id"], name=f"fk_{table}_card_id")


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))

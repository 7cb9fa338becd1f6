"""Control tokens: one of a kind for a card, the newest, good for one use by whom it was issued to.

Only a token's hash is kept, 32 bytes; a token is random, so a plain hash tells nothing of it. The
seal, 32 bytes, is its issuer's: a keyed hash of all that is said of a token.
"""

from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from pinvault.store.rows import columns, one
from pinvault.store.schema import control_token


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is said of a token that could be redeemed; `expires_at` in microseconds UTC."""

    card_id: str
    seal: bytes = field(repr=False)
    expires_at: int


_INSERT = insert(control_token)
_ISSUE = _INSERT.on_conflict_do_update(
    index_elements=[control_token.c.card_id, control_token.c.kind],
    set_={
        "token_hash": _INSERT.excluded.token_hash,
        "seal": _INSERT.excluded.seal,
        "caller": _INSERT.excluded.caller,
        "issued_at": _INSERT.excluded.issued_at,
        "expires_at": _INSERT.excluded.expires_at,
        "redeemed_at": None,
    },
)
_GOOD = (
    control_token.c.token_hash == bindparam("hash"),
    control_token.c.kind == bindparam("of_kind"),
    control_token.c.caller == bindparam("by"),
    control_token.c.expires_at > bindparam("now"),
    control_token.c.redeemed_at.is_(None),
)
_FIND = select(*columns(control_token, Token)).where(*_GOOD)
_REDEEM = (
    update(control_token)
    .where(*_GOOD)
    .values(redeemed_at=bindparam("now"))
    .returning(control_token.c.card_id)
)


def issue(
    db: Connection,
    *,
    card_id: str,
    kind: str,
    token_hash: bytes,
    seal: bytes,
    caller: str,
    now: int,
    expires_at: int,
) -> None:
    """Keep a new token; an earlier one of the kind for the card is dead from now on.

    StoreRefused for a card that is not there.
    """
    values = {"card_id": card_id, "kind": kind, "token_hash": token_hash, "seal": seal}
    db.execute(_ISSUE, values | {"caller": caller, "issued_at": now, "expires_at": expires_at})


def find(db: Connection, *, token_hash: bytes, kind: str, caller: str, now: int) -> Token | None:
    """Give a token that could be redeemed now, and leave it; None as `redeem`."""
    values = {"hash": token_hash, "of_kind": kind, "by": caller, "now": now}
    return one(db.execute(_FIND, values), Token)


def redeem(db: Connection, *, token_hash: bytes, kind: str, caller: str, now: int) -> str | None:
    """Use the token up and give its card; None for whatever is wrong with it."""
    values = {"hash": token_hash, "of_kind": kind, "by": caller, "now": now}
    card_id: str | None = db.scalar(_REDEEM, values)
    return card_id

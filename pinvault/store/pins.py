"""The PINs of cards: what verifies them, and the tries that are left.

Rules:
- A PIN is replaced only by who has seen the one before: every new PIN is a new generation, and
  `put_pin` names the generation that it replaces.
- A try is counted, and committed, before the PIN is compared, in one statement that knows the
  limit: a crash costs a try and never gives one.
- Tries come in rounds: when all of them are given back, for the right PIN, for a new one or by
  hand, another round begins. A try of a round before is neither given back nor blocked for: it
  would be another's try that came back, and a free one for who guesses.
- Only a PIN whose tries are all used is blocked, so that tries which were given back are not lost.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from pinvault.store.rows import columns, one
from pinvault.store.schema import pin


@dataclass(frozen=True, slots=True, kw_only=True)
class PinMaterial:
    """What verifies a PIN, by a `method` that the configuration names, and what may reveal it.

    `value` is a PVV or an offset; `reference` and `reveal` are ciphertexts, each with the key that
    made it, written name/version.
    """

    method: str
    value: str | None = field(default=None, repr=False)
    reference: bytes | None = field(default=None, repr=False)
    reference_key: str | None = None
    reveal: bytes | None = field(default=None, repr=False)
    reveal_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPin(PinMaterial):
    """A card's PIN; times in microseconds UTC, generations counted from 1.

    `tried_at` is when the newest try of this generation was counted; `try_round` numbers the rounds
    of tries from 1, through all generations.
    """

    card_id: str
    set_at: int
    tries_used: int
    tried_at: int | None
    blocked_at: int | None
    generation: int
    try_round: int


NO_PIN = 0
"""The generation of a card that has no PIN yet."""

_PIN = columns(pin, StoredPin)
_MATERIAL = [f.name for f in fields(PinMaterial)]
_OF_CARD = pin.c.card_id == bindparam("of_card")
_OF_GENERATION = pin.c.generation == bindparam("of_generation")
_OF_ROUND = pin.c.try_round == bindparam("of_try_round")
_NEXT_ROUND: dict[str, Any] = {"tries_used": 0, "try_round": pin.c.try_round + 1}

_GET = select(*_PIN).where(_OF_CARD)
_FIRST = insert(pin).on_conflict_do_nothing().returning(*_PIN)
_NEXT = (
    update(pin)
    .where(_OF_CARD, _OF_GENERATION)
    .values(
        **{name: bindparam(name) for name in (*_MATERIAL, "set_at")},
        **_NEXT_ROUND,
        tried_at=None,
        generation=pin.c.generation + 1,
    )
    .returning(*_PIN)
)
_NEXT_UNBLOCKED = _NEXT.values(blocked_at=None)
_COUNT_TRY = (
    update(pin)
    .where(_OF_CARD, pin.c.tries_used < bindparam("limit"), pin.c.blocked_at.is_(None))
    .values(tries_used=pin.c.tries_used + 1, tried_at=bindparam("now"))
    .returning(*_PIN)
)
_GIVE_BACK = (
    update(pin)
    .where(_OF_CARD, _OF_ROUND, pin.c.tries_used > 0)
    .values(tries_used=pin.c.tries_used - 1)
    .returning(pin.c.card_id)
)
_CLEAR_TRIES = update(pin).where(_OF_CARD, _OF_GENERATION).values(**_NEXT_ROUND).returning(*_PIN)
_BLOCK = (
    update(pin)
    .where(
        _OF_CARD,
        _OF_ROUND,
        pin.c.tries_used >= bindparam("limit"),
        pin.c.blocked_at.is_(None),
    )
    .values(blocked_at=bindparam("now"))
    .returning(pin.c.card_id)
)
_UNBLOCK = (
    update(pin)
    .where(_OF_CARD, pin.c.blocked_at.is_not(None))
    .values(**_NEXT_ROUND, blocked_at=None)
    .returning(pin.c.card_id)
)
_FORGET_TRIES = update(pin).where(_OF_CARD, pin.c.blocked_at.is_(None)).values(**_NEXT_ROUND)


def get_pin(db: Connection, card_id: str) -> StoredPin | None:
    """Give the card's PIN, if it has one."""
    return one(db.execute(_GET, {"of_card": card_id}), StoredPin)


def count_verified_by(db: Connection, key_id: str) -> int:
    """Count the PINs whose method ends in @ and a key version; looks at all of them."""
    ours = pin.c.method.endswith(f"@{key_id}", autoescape=True)
    return int(db.execute(select(func.count()).where(ours)).scalar_one())


def put_pin(
    db: Connection,
    card_id: str,
    material: PinMaterial,
    *,
    replaces: int,
    now: int,
    unblocks: bool = False,
) -> StoredPin | None:
    """Set the card's PIN, as the generation after `replaces`; None if that is not the present one.

    `replaces` is NO_PIN for a first PIN. All tries are there again; a block stays unless the new
    PIN `unblocks`.
    """
    values = {name: getattr(material, name) for name in _MATERIAL} | {"set_at": now}
    if replaces == NO_PIN:
        values |= {"card_id": card_id, "tries_used": 0, "generation": 1, "try_round": 1}
        return one(db.execute(_FIRST, values), StoredPin)
    values |= {"of_card": card_id, "of_generation": replaces}
    return one(db.execute(_NEXT_UNBLOCKED if unblocks else _NEXT, values), StoredPin)


def count_try(db: Connection, card_id: str, *, limit: int, now: int) -> StoredPin | None:
    """Use one of `limit` tries and give the PIN to compare; None if there is no try, or no PIN."""
    values = {"of_card": card_id, "limit": limit, "now": now}
    return one(db.execute(_COUNT_TRY, values), StoredPin)


def give_back(db: Connection, card_id: str, *, try_round: int) -> bool:
    """Take back a try that was counted in a round, and nothing was compared in.

    False if it came back with the whole round.
    """
    values = {"of_card": card_id, "of_try_round": try_round}
    return db.scalar(_GIVE_BACK, values) is not None


def clear_tries(db: Connection, card_id: str, *, generation: int) -> StoredPin | None:
    """Give all tries back, after the right PIN, and give the PIN; None if it is another by now."""
    values = {"of_card": card_id, "of_generation": generation}
    return one(db.execute(_CLEAR_TRIES, values), StoredPin)


def block(db: Connection, card_id: str, *, try_round: int, limit: int, now: int) -> bool:
    """Let no more tries count, now that all are used, whatever the limit may become.

    False if a try is left, if it is so already, or if another round has begun.
    """
    values = {"of_card": card_id, "of_try_round": try_round, "limit": limit, "now": now}
    return db.scalar(_BLOCK, values) is not None


def unblock(db: Connection, card_id: str) -> bool:
    """Give all tries back, and lift a block; True if there was one."""
    was_blocked = db.scalar(_UNBLOCK, {"of_card": card_id}) is not None
    if not was_blocked:
        db.execute(_FORGET_TRIES, {"of_card": card_id})
    return was_blocked

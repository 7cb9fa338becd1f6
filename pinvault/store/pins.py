"""The PINs of cards: what verifies them, and the tries that are left.

Rules:
- A PIN is replaced only by who has seen the one before: every new PIN is a new generation, and
  `put_pin` names the generation that it replaces.
- A try is counted, and committed, before the PIN is compared, in one statement that knows the
  limit: a crash costs a try and never gives one.
- What happens to tries of one generation does not touch the next.
"""

from dataclasses import dataclass, field, fields

from sqlalchemy import Connection, bindparam, select, update
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
    """A card's PIN; times in microseconds UTC, generations counted from 1."""

    card_id: str
    set_at: int
    tries_used: int
    blocked_at: int | None
    generation: int


NO_PIN = 0
"""The generation of a card that has no PIN yet."""

_PIN = columns(pin, StoredPin)
_MATERIAL = [f.name for f in fields(PinMaterial)]
_OF_CARD = pin.c.card_id == bindparam("of_card")
_OF_GENERATION = pin.c.generation == bindparam("of_generation")

_GET = select(*_PIN).where(_OF_CARD)
_FIRST = insert(pin).on_conflict_do_nothing().returning(pin.c.card_id)
_NEXT = (
    update(pin)
    .where(_OF_CARD, _OF_GENERATION)
    .values(
        **{name: bindparam(name) for name in (*_MATERIAL, "set_at")},
        tries_used=0,
        generation=pin.c.generation + 1,
    )
    .returning(pin.c.card_id)
)
_COUNT_TRY = (
    update(pin)
    .where(_OF_CARD, pin.c.tries_used < bindparam("limit"), pin.c.blocked_at.is_(None))
    .values(tries_used=pin.c.tries_used + 1)
    .returning(*_PIN)
)
_GIVE_BACK = (
    update(pin)
    .where(_OF_CARD, _OF_GENERATION, pin.c.tries_used > 0)
    .values(tries_used=pin.c.tries_used - 1)
    .returning(pin.c.card_id)
)
_CLEAR_TRIES = (
    update(pin).where(_OF_CARD, _OF_GENERATION).values(tries_used=0).returning(pin.c.card_id)
)
_BLOCK = (
    update(pin)
    .where(_OF_CARD, pin.c.blocked_at.is_(None))
    .values(blocked_at=bindparam("now"))
    .returning(pin.c.card_id)
)
_UNBLOCK = (
    update(pin).where(_OF_CARD).values(tries_used=0, blocked_at=None).returning(pin.c.card_id)
)


def get_pin(db: Connection, card_id: str) -> StoredPin | None:
    """Give the card's PIN, if it has one."""
    return one(db.execute(_GET, {"of_card": card_id}), StoredPin)


def put_pin(
    db: Connection, card_id: str, material: PinMaterial, *, replaces: int, now: int
) -> bool:
    """Set the card's PIN, as the generation after `replaces`; False if that is not the present one.

    `replaces` is NO_PIN for a first PIN. All tries are there again; a block stays.
    """
    values = {name: getattr(material, name) for name in _MATERIAL} | {"set_at": now}
    if replaces == NO_PIN:
        values |= {"card_id": card_id, "tries_used": 0, "generation": 1}
        return db.scalar(_FIRST, values) is not None
    values |= {"of_card": card_id, "of_generation": replaces}
    return db.scalar(_NEXT, values) is not None


def count_try(db: Connection, card_id: str, *, limit: int) -> StoredPin | None:
    """Use one of `limit` tries and give the PIN to compare; None if there is no try, or no PIN."""
    return one(db.execute(_COUNT_TRY, {"of_card": card_id, "limit": limit}), StoredPin)


def give_back(db: Connection, card_id: str, *, generation: int) -> bool:
    """Take back one counted try that nothing was compared in; False if there is none."""
    values = {"of_card": card_id, "of_generation": generation}
    return db.scalar(_GIVE_BACK, values) is not None


def clear_tries(db: Connection, card_id: str, *, generation: int) -> bool:
    """Give all tries back, after the right PIN; False if it is not the present one any more."""
    values = {"of_card": card_id, "of_generation": generation}
    return db.scalar(_CLEAR_TRIES, values) is not None


def block(db: Connection, card_id: str, *, now: int) -> bool:
    """Let no more tries count, whatever is left; False if it is so already, or there is no PIN."""
    return db.scalar(_BLOCK, {"of_card": card_id, "now": now}) is not None


def unblock(db: Connection, card_id: str) -> bool:
    """Lift a block and give all tries back; False if there is no PIN."""
    return db.scalar(_UNBLOCK, {"of_card": card_id}) is not None

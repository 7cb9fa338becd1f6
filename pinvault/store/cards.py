"""Cards: by their id, by what their program calls them, and by a keyed hash of their PAN."""

from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from pinvault.store.rows import columns, every, one
from pinvault.store.schema import card


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card as it is stored.

    `external_id` is what the program's own systems call it, 1 to 64 characters;
    `pan_index` is a keyed hash of the PAN, 32 bytes; `pan_cipher` the PAN under the key `pan_key`,
    written name/version; `sequence_number` 2 or 3 digits; `expiry` YYMM; times in microseconds UTC;
    `seal` a keyed hash of what never changes, 32 bytes.
    """

    id: str
    program: str
    external_id: str | None
    pan_index: bytes = field(repr=False)
    pan_cipher: bytes = field(repr=False)
    pan_key: str
    last_four: str
    sequence_number: str
    expiry: str
    status: str
    created_at: int
    changed_at: int
    seal: bytes = field(repr=False)


_CARD = columns(card, Card)
_INSERT = insert(card).on_conflict_do_nothing().returning(card.c.id)
_GET = select(*_CARD).where(card.c.id == bindparam("card_id"))
_WITH_EXTERNAL_ID = select(*_CARD).where(
    card.c.program == bindparam("of_program"), card.c.external_id == bindparam("external")
)
_WITH_PAN = (
    select(*_CARD)
    .where(card.c.pan_index == bindparam("pan_index"))
    .order_by(card.c.sequence_number)
)
_PAGE = (
    select(*_CARD)
    .where(card.c.id > bindparam("after"))
    .order_by(card.c.id)
    .limit(bindparam("count"))
)
_SET_STATUS = (
    update(card)
    .where(card.c.id == bindparam("card_id"), card.c.status == bindparam("expected"))
    .values(status=bindparam("new_status"), changed_at=bindparam("now"))
    .returning(card.c.id)
)


def insert_card(db: Connection, new: Card) -> bool:
    """Add a card; False, and nothing done, if one like it is there.

    Alike are those of one id, of one PAN and sequence number, or of one program and external id.
    """
    values = {column.name: getattr(new, column.name) for column in _CARD}
    return db.scalar(_INSERT, values) is not None


def get_card(db: Connection, card_id: str) -> Card | None:
    """Give the card, if there is one."""
    return one(db.execute(_GET, {"card_id": card_id}), Card)


def card_with_external_id(db: Connection, program: str, external_id: str) -> Card | None:
    """Give the card that its program's own systems call so, if there is one."""
    values = {"of_program": program, "external": external_id}
    return one(db.execute(_WITH_EXTERNAL_ID, values), Card)


def cards_with_pan(db: Connection, pan_index: bytes) -> tuple[Card, ...]:
    """Give the cards of a PAN, by sequence number."""
    return every(db.execute(_WITH_PAN, {"pan_index": pan_index}), Card)


def cards_after(db: Connection, after: str, *, count: int) -> tuple[Card, ...]:
    """Give the next cards by id; begin with ""."""
    return every(db.execute(_PAGE, {"after": after, "count": count}), Card)


def set_status(db: Connection, card_id: str, *, expected: str, status: str, now: int) -> bool:
    """Change a card's status; False if it is not the expected one, or there is no card."""
    values = {"card_id": card_id, "expected": expected, "new_status": status, "now": now}
    return db.scalar(_SET_STATUS, values) is not None

"""Rows that tests put into a store."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from pinvault.store import Store, cards
from pinvault.store.cards import Card
from pinvault.store.outbox import Message
from pinvault.store.pins import PinMaterial
from pinvault.store.sessions import PinSession

T = TypeVar("T")

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND


def hashed(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()


def card(
    card_id: str,
    *,
    pan: str = "",
    sequence_number: str = "01",
    status: str = "A",
    program: str = "debit",
    external_id: str | None = None,
) -> Card:
    """A card whose PAN is as good as its id, unless one is given."""
    return Card(
        id=card_id,
        program=program,
        external_id=external_id,
        pan_index=hashed(pan or card_id),
        pan_cipher=b"enciphered",
        pan_key="storage/1",
        last_four="1234",
        sequence_number=sequence_number,
        expiry="3012",
        status=status,
        created_at=NOW,
        changed_at=NOW,
        seal=hashed(f"seal of {card_id}"),
    )


def material(number: int = 1) -> PinMaterial:
    return PinMaterial(method="pvv", value=f"{number:04}")


def message(message_id: str) -> Message:
    return Message(id=message_id, endpoint="core", type="pin.set", card_id="card", body="{}")


def session(session_id: str, card_id: str = "card") -> PinSession:
    return PinSession(
        id=session_id,
        card_id=card_id,
        action="set",
        caller="bank",
        origin="https://bank.example",
        entries=0,
        expires_at=NOW + 600 * SECOND,
    )


def add_cards(store: Store, *ids: str) -> None:
    with store.write() as db:
        for card_id in ids:
            assert cards.insert_card(db, card(card_id))


def write(store: Store, function: Callable[..., T], *arguments: object, **named: object) -> T:
    """Do one thing in a transaction of its own."""

    def work(db: Connection) -> T:
        return function(db, *arguments, **named)

    return store.transact(work)


def read(store: Store, function: Callable[..., T], *arguments: object, **named: object) -> T:
    with store.read() as db:
        return function(db, *arguments, **named)

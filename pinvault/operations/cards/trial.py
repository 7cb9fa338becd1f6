"""Tries: counted before anything is compared, and what becomes of them.

Rules:
- A blocked PIN is nothing to the HSM. A try is counted, and committed, before anything is compared,
  and given back only where nothing was: a crash costs a try, and never gives one.
- The right PIN gives all tries back. The wrong one that used the last blocks, unless a try has come
  back since. If who used the last died before it could, the next attempt blocks in its stead.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pinvault.model.cards import EventType
from pinvault.model.errors import Reason, Refusal
from pinvault.operations.cards.answers import MICROSECONDS, PinState, state_of
from pinvault.operations.cards.desk import CardDesk, KnownCard
from pinvault.operations.cards.once import Once
from pinvault.store import Connection, pins
from pinvault.store.pins import StoredPin

CLOCKS_APART_S = 50
"""How far clocks of hosts may be apart, and a commit take, before a call seems to be over."""

Step = Callable[[Connection], None]


def require_tries(desk: CardDesk, known: KnownCard) -> None:
    """Refuse a card whose PIN is blocked by now, before the HSM does anything for it.

    Only `begin` can tell that there is a try.
    """
    pin = desk.read(lambda db: pins.get_pin(db, known.card.id))
    if pin is not None and pin.blocked_at is not None:
        raise Refusal(Reason.PIN_BLOCKED)


def begin(desk: CardDesk, known: KnownCard, once: Once[Any], *before: Step) -> StoredPin:
    """Take the steps before and use a try, in one transaction; give the PIN, or refuse."""

    def work(db: Connection) -> StoredPin | None:
        for step in before:
            step(db)
        once.begin(db)
        card_id, limit = known.card.id, known.program.try_limit
        counted = pins.count_try(db, card_id, limit=limit, now=desk.micros())
        if counted is None:
            _block_for_the_dead(db, desk, known)
            once.release(db)
        return counted

    counted = desk.write(work)
    if counted is None:
        raise Refusal(Reason.PIN_BLOCKED)
    return counted


@contextmanager
def nothing_compared(desk: CardDesk, counted: StoredPin) -> Iterator[None]:
    """Give the try back if what is done within fails, but for a new PIN that is weak.

    A new PIN is judged only after the current one was right.
    """
    try:
        yield
    except Exception as error:
        if not (isinstance(error, Refusal) and error.reason is Reason.PIN_WEAK):
            card_id, try_round = counted.card_id, counted.try_round
            desk.try_to_write(lambda db: pins.give_back(db, card_id, try_round=try_round))
        raise


def right(db: Connection, known: KnownCard, counted: StoredPin) -> PinState:
    """Give all tries back after the right PIN and tell how it stands, or refuse as `state`."""
    present = pins.clear_tries(db, counted.card_id, generation=counted.generation)
    if present is None:
        raise Refusal(Reason.PIN_CHANGED_MEANWHILE)
    return state_of(present, known.program)


def wrong(db: Connection, desk: CardDesk, known: KnownCard, counted: StoredPin) -> PinState:
    """Block after the wrong PIN that used the last try and tell how it stands, or refuse."""
    limit = known.program.try_limit
    if counted.tries_used >= limit:
        _block(db, desk, known, counted)
    return state(db, known, generation=counted.generation)


def state(db: Connection, known: KnownCard, *, generation: int) -> PinState:
    """Tell how the card's PIN stands, or refuse if it is of another generation by now."""
    present = pins.get_pin(db, known.card.id)
    if present is None or present.generation != generation:
        raise Refusal(Reason.PIN_CHANGED_MEANWHILE)
    return state_of(present, known.program)


def _block_for_the_dead(db: Connection, desk: CardDesk, known: KnownCard) -> None:
    """Block a PIN whose tries are used up by calls that have all ended, or refuse without a PIN."""
    pin = pins.get_pin(db, known.card.id)
    if pin is None:
        raise Refusal(Reason.PIN_NOT_SET)
    under_way_us = int((desk.longest_call_s + CLOCKS_APART_S) * MICROSECONDS)
    if pin.blocked_at is None and (pin.tried_at or 0) < desk.micros() - under_way_us:
        _block(db, desk, known, pin)


def _block(db: Connection, desk: CardDesk, known: KnownCard, pin: StoredPin) -> None:
    now, limit = desk.micros(), known.program.try_limit
    if pins.block(db, known.card.id, try_round=pin.try_round, limit=limit, now=now):
        desk.tell(db, EventType.PIN_CHECKED_BLOCKED, known, now=now)

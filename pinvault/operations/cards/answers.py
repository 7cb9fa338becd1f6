"""What the use cases of CardPinService answer with. No answer here holds a secret.

Times are Unix seconds.
"""

from dataclasses import dataclass, field

from pinvault.model.cards import CardStatus, Program
from pinvault.model.keys import Key
from pinvault.model.verification import PinOffset
from pinvault.store.cards import Card
from pinvault.store.pins import StoredPin

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PinState:
    """When a card's PIN was set, how many tries are left, and whether it is blocked."""

    set_at: float
    tries_left: int
    blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CardView:
    """A card as callers see it; `pin` is None as long as it has none."""

    card_id: str
    program: str
    external_id: str | None
    last_four: str
    sequence_number: str
    expiry: str
    status: CardStatus
    pin: PinState | None
    created_at: float

    @classmethod
    def of(cls, card: Card, pin: StoredPin | None, program: Program) -> "CardView":
        """Tell of a card and its PIN."""
        return cls(
            card_id=card.id,
            program=card.program,
            external_id=card.external_id,
            last_four=card.last_four,
            sequence_number=card.sequence_number,
            expiry=card.expiry,
            status=CardStatus(card.status),
            pin=None if pin is None else state_of(pin, program),
            created_at=card.created_at / MICROSECONDS,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PinPlaced:
    """A new PIN is there: when it was set, what opened its source, and what keeps it.

    `blocked` tells of the PIN before that its tries were used up, and that this stays so.
    """

    card_id: str
    set_at: float
    blocked: bool
    source_keys: tuple[Key, ...]
    stored_keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinIssued:
    """A PIN that was drawn here is there: the envelope for a partner, and what keeps it.

    `offset` is what is kept of the PIN where its program verifies by one under `scheme`: a partner
    who verifies too has to know it.
    """

    card_id: str
    set_at: float
    envelope: str = field(repr=False)
    offset: PinOffset | None
    scheme: str
    target_key: Key
    stored_keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinVerdict:
    """Whether a PIN was the right one, and what is left; `set_at` where a new one was set."""

    matches: bool
    tries_left: int
    blocked: bool
    set_at: float | None
    source_keys: tuple[Key, ...]
    stored_keys: tuple[Key, ...]


def state_of(pin: StoredPin, program: Program) -> PinState:
    """Tell how a PIN stands; a blocked one has no try, whatever was counted."""
    blocked = pin.blocked_at is not None
    left = 0 if blocked else max(0, program.try_limit - pin.tries_used)
    return PinState(set_at=pin.set_at / MICROSECONDS, tries_left=left, blocked=blocked)

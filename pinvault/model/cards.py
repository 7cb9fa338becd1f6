"""Cards as the PIN vault keeps them, and the programs that say what may be done with their PINs.

Rules:
- What steers a PIN stands in the program, reviewed configuration: lengths, rules, tries, how it is
  verified, whether it can be revealed, and in which statuses of the card. A call names a card.
- A card's id says nothing of it: 26 letters, drawn, the first of them by the time. No letter is a
  hex digit, so that no id is ever taken for something secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final

from pinvault.model.pan import Pan
from pinvault.model.pin_rules import PinRules
from pinvault.model.profiles import PinLength
from pinvault.model.references import SchemeRef

_LETTERS: Final = "ghijklmnopqrstuvwxyz"
_TIME_LETTERS: Final = 10
_DRAWN_LETTERS: Final = 16
ID_RANDOM_BYTES: Final = 16


@unique
class CardStatus(StrEnum):
    """Where a card is in its life; a closed one stays closed."""

    INACTIVE = "inactive"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


@unique
class PinUse(StrEnum):
    """What a program allows in some statuses of a card and not in others."""

    SET = "set"
    CHECK = "check"
    REVEAL = "reveal"


@unique
class TokenKind(StrEnum):
    """What a control token is good for."""

    SET_PIN = "set-pin"
    REVEAL_PIN = "reveal-pin"


@unique
class SessionAction(StrEnum):
    """What a session of the hosted page is for."""

    SET = "set"
    CHANGE = "change"
    RESET = "reset"


@unique
class EventType(StrEnum):
    """What others are told of a card's PIN."""

    PIN_SET = "pin.set"
    PIN_CHANGED = "pin.changed"
    PIN_RESET = "pin.reset"
    PIN_CHECKED_BLOCKED = "pin.checked.blocked"
    PIN_REVEALED = "pin.revealed"
    CARD_PIN_UNBLOCKED = "card.pin_unblocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardEvent:
    """What happened to the PIN of a card, and what may be told of the card; times in Unix seconds.

    `operation` is the caller's id of the request where that is a UUID, else ours of the call; empty
    where an event has none to be known by.
    """

    type: EventType
    card_id: str
    program: str
    external_id: str | None
    last_four: str
    expiry: str
    status: CardStatus
    registered_at: float
    at: float
    operation: str = ""


@unique
class Verification(StrEnum):
    """How the requester of a reveal has verified the cardholder."""

    BIOMETRIC_FACE = "biometric-face"
    BIOMETRIC_FINGERPRINT = "biometric-fingerprint"
    LOGIN = "login"
    EXP_CVV = "exp-cvv"
    OTP_CVV = "otp-cvv"
    OTP = "otp"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """At most `count` uses in `period_s` seconds, which begin with the first."""

    count: int
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What may be done with the PINs of one card program.

    `scheme` verifies PINs by PVV or offset; without one, a reference block is stored. Only with
    `reveal` is a second block stored that the PIN can be had from. `statuses` says in which a PIN
    may be set, checked and revealed; `token_s` and `session_s` are lifetimes in seconds.
    """

    name: str
    scheme: SchemeRef | None
    pin_length: PinLength
    rules: PinRules | None
    try_limit: int
    reveal: bool
    changes: Window
    reveals: Window
    token_s: Mapping[TokenKind, float]
    statuses: Mapping[PinUse, frozenset[CardStatus]]
    origins: tuple[str, ...] = ()
    session_s: float = 600.0
    session_entries: int = 5


@dataclass(frozen=True, slots=True)
class ById:
    """A card by its id."""

    card_id: str


@dataclass(frozen=True, slots=True)
class ByExternalId:
    """A card by what its program's own systems call it."""

    program: str
    external_id: str


@dataclass(frozen=True, slots=True)
class ByNumber:
    """A card by its PAN, and by its PAN sequence number and program where several share the PAN."""

    pan: Pan = field(repr=False)
    sequence_number: str | None
    program: str | None = None


CardRef = ById | ByExternalId | ByNumber


def card_id(*, now_ms: int, drawn: bytes) -> str:
    """Make a card's id of Unix milliseconds and 16 drawn bytes; ids of later times sort later.

    >>> card_id(now_ms=1_767_225_600_000, drawn=bytes(16))
    'card_jpgsyggggggggggggggggggggg'
    """
    drawn_letters = _letters(int.from_bytes(drawn), _DRAWN_LETTERS)
    return f"card_{_letters(now_ms, _TIME_LETTERS)}{drawn_letters}"


def owner(card_id: str, program: str, external_id: str | None) -> str:
    """Tell whose a stored PAN is, in all that never changes: id, program, and its name there.

    >>> owner("card_jpgsyggggggggggggggggggggg", "debit", "c-1")
    'card_jpgsyggggggggggggggggggggg debit c-1'
    """
    return f"{card_id} {program} {external_id or ''}"


def _letters(number: int, count: int) -> str:
    """Write the lowest digits of a number, base 20."""
    written = ""
    for _ in range(count):
        number, digit = divmod(number, len(_LETTERS))
        written = _LETTERS[digit] + written
    return written

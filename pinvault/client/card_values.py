"""What callers give and get of cards: plain values, as in `values` and `answers`.

Rules:
- No repr shows a PAN, a control token, the secret of a session or a sealed PIN.
- A wrong PIN is an answer that is false, not an error.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pinvault.client.answers import KeyUse
from pinvault.client.values import VerificationValue

CardStatus = Literal["INACTIVE", "ACTIVE", "SUSPENDED", "CLOSED"]
TokenType = Literal["SET_PIN", "REVEAL_PIN"]
SessionAction = Literal["SET", "CHANGE", "RESET"]
VerifiedBy = Literal[
    "BIOMETRIC_FACE", "BIOMETRIC_FINGERPRINT", "LOGIN", "EXP_CVV", "OTP_CVV", "OTP", "OTHER"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalId:
    """A card by what its program's own systems call it."""

    program: str
    external_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardNumber:
    """A card by its PAN, and by its PAN sequence number and program where several share the PAN."""

    pan: str = field(repr=False)
    sequence_number: str | None = None
    program: str | None = None


CardSelector = str | ExternalId | CardNumber
"""Which card; a text is the card's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinState:
    """The state of a card's PIN: how many wrong ones in a row are allowed, or that none is."""

    set_at: datetime
    tries_left: int
    blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A registered card; `expiry` is YYMM, `pin` None while the card has none."""

    card_id: str
    program: str
    external_id: str | None
    last_four: str
    sequence_number: str
    expiry: str
    status: CardStatus
    pin: PinState | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlToken:
    """A token for one use with one card's PIN, good for who asked for it."""

    token: str = field(repr=False)
    card_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlTokenUse:
    """What a control token is good for, of which card, and until when."""

    card_id: str
    kind: TokenType
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedPin:
    """A PIN that was drawn by the server, in the envelope of a partner's profile.

    `value` is the offset, where the card's program verifies by one.
    """

    card_id: str
    set_at: datetime
    envelope: str = field(repr=False)
    value: VerificationValue | None
    target_key: KeyUse
    stored_keys: tuple[KeyUse, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPin:
    """A PIN was set or reset; `stored_keys` are those of what is kept of it.

    `blocked` says that no try is left even so: setting a PIN lifts no block.
    """

    card_id: str
    set_at: datetime
    blocked: bool
    source_keys: tuple[KeyUse, ...]
    stored_keys: tuple[KeyUse, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinVerdict:
    """Whether it is the PIN; true when it is.

    `blocked` says that no try is left; `set_at` is when a new PIN was set, where one was.
    `stored_keys` are those of what was compared with, and of what is kept of a new PIN.
    """

    matches: bool
    tries_left: int
    blocked: bool
    set_at: datetime | None
    source_keys: tuple[KeyUse, ...]
    stored_keys: tuple[KeyUse, ...]

    def __bool__(self) -> bool:
        return self.matches


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealedPin:
    """A sealed PIN, for `RevealKey.open`; `stored_key` is the key that it was kept under."""

    card_id: str
    envelope: str = field(repr=False)
    stored_key: KeyUse


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedSession:
    """A session of the hosted page, and the secret that opens it, once."""

    session_id: str
    secret: str = field(repr=False)
    card_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSession:
    """A session that its page has opened: what it is for, and how many digits a new PIN has."""

    page_secret: str = field(repr=False)
    card_id: str
    last_four: str
    action: SessionAction
    min_pin_length: int
    max_pin_length: int
    origin: str
    expires_at: datetime

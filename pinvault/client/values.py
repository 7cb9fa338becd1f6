"""What a caller gives and gets: sources, targets and answers, as plain values without protobuf."""

from dataclasses import dataclass, field
from typing import Literal

Format = Literal["ISO_0", "ISO_1", "ISO_3", "ISO_4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPin:
    """A PIN sealed for one call: used up by it, whatever its outcome. Made by `seal`."""

    profile: str
    ciphertext: bytes = field(repr=False)
    pan: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinBlock:
    """A PIN block under a key of the server: 8 bytes (TDES) or 16 (AES, ISO_4).

    `pan` is the PAN of 12 to 19 digits for the formats that are bound to one.
    """

    key: str
    format: Format
    ciphertext: bytes = field(repr=False)
    pan: str | None = field(default=None, repr=False)


Source = SealedPin | PinBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class ToPinBlock:
    """Ask for a PIN block under a key of the server."""

    key: str
    format: Format
    pan: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToEnvelope:
    """Ask for an envelope for the partner of a profile."""

    profile: str
    pan: str = field(repr=False)


Target = ToPinBlock | ToEnvelope


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """A key that took part, with its check value in upper-case hex: compare it with yours."""

    name: str
    version: int
    check_value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedPin:
    """`pin_block` (8 or 16 bytes) or `envelope` (text), whichever was asked for."""

    pin_block: bytes | None = field(repr=False)
    envelope: str | None = field(repr=False)
    source_key: KeyUse
    target_key: KeyUse


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedPinChange:
    """The partner's fields for the new PIN and the current one ("" when none was given)."""

    pin_field: str = field(repr=False)
    old_pin_field: str = field(repr=False)
    source_keys: tuple[KeyUse, ...]
    target_key: KeyUse

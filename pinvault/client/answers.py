"""What a caller gets: an answer a verb, each with the keys that took part.

Rules:
- As in `values`, no repr shows a PIN block, an envelope, a PVV or an offset.
- A wrong PIN is an answer that is false, not an error.
"""

from dataclasses import dataclass, field
from enum import IntEnum, unique

from pinvault.client.values import VerificationValue


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedPin:
    """The PIN block, 8 bytes (TDES) or 16 (AES)."""

    pin_block: bytes = field(repr=False)
    source_key: KeyUse
    target_key: KeyUse


@unique
class ItemStatus(IntEnum):
    """What became of one item of a batch; the numbers are those of the contract."""

    DONE = 1
    REFUSED = 2
    """The block could not be opened; nothing more is said."""
    PAN_MALFORMED = 3
    ACCOUNT_REPEATED = 4
    """The account stood in the batch before: put the item into another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedPins:
    """A status an item, and its PIN block or None, both in the order of the request."""

    statuses: tuple[ItemStatus, ...]
    pin_blocks: tuple[bytes | None, ...] = field(repr=False)
    source_key: KeyUse
    target_key: KeyUse


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPin:
    """Whether it is the PIN; true when it is.

    `reference_key` is the PIN verification key, or the key of the block compared with.
    """

    matches: bool
    source_key: KeyUse
    reference_key: KeyUse

    def __bool__(self) -> bool:
        return self.matches


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedValue:
    """The PVV or offset of a PIN."""

    value: VerificationValue
    source_key: KeyUse
    verification_key: KeyUse


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedValue:
    """Whether the current PIN was right; true when it was, with what stands for the new PIN.

    That is `value` where a PVV or offset was given, else `pin_block`. `source_keys` are those
    of current and new PIN; `reference_keys` the PIN verification key, or those of the stored
    block and the new one.
    """

    matches: bool
    value: VerificationValue | None
    pin_block: bytes | None = field(repr=False)
    source_keys: tuple[KeyUse, ...]
    reference_keys: tuple[KeyUse, ...]

    def __bool__(self) -> bool:
        return self.matches


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedPin:
    """A new PIN as `pin_block` or `envelope`; `value` where a scheme was given.

    `verification_keys` are that of the method, then that of the scheme.
    """

    pin_block: bytes | None = field(repr=False)
    envelope: str | None = field(repr=False)
    value: VerificationValue | None
    target_key: KeyUse
    verification_keys: tuple[KeyUse, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinChangeScript:
    """The enciphered PIN data of a card's command, 8 or 16 bytes, and its MAC of 8 bytes.

    `source_keys` are those of new and current PIN; `script_keys` the issuer master keys.
    """

    enciphered_pin: bytes = field(repr=False)
    mac: bytes
    source_keys: tuple[KeyUse, ...]
    script_keys: tuple[KeyUse, ...]

"""Incoming envelope profiles: PINs sealed by others, which a key of the HSM opens.

Rules:
- Each is opened once. The sender's nonce or token tells an envelope from another where it
  has one, else what the ciphertext says; it is remembered until the envelope expires, or for
  `remember_s` seconds where nothing in it says when that is.
"""

from dataclasses import dataclass
from typing import ClassVar

from pinvault.model.keys import Mode, Usage
from pinvault.model.profiles.words import (
    ANY_LENGTH,
    ContentKey,
    Derivation,
    Encoding,
    PinLength,
    Plaintext,
)

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingProfile:
    """What every incoming profile says: its name, our key by name, and the PIN lengths."""

    name: str
    key: str
    pin_length: PinLength = ANY_LENGTH

    incoming: ClassVar[bool] = True
    usage: ClassVar[Usage] = Usage.D1
    mode: ClassVar[Mode] = Mode.D

    @property
    def bound(self) -> bool:
        """Whether what is sealed opens for the PAN, or for the card, of the call only."""
        return False

    @property
    def bind_pan(self) -> bool:
        """Whether the sealed content must name the PAN of the call."""
        return False

    @property
    def bind_card(self) -> bool:
        """Whether the sealed content must name the id of the call's card in the PIN vault."""
        return False

    @property
    def bind_caller(self) -> bool:
        """Whether the sealed content must name the caller."""
        return False

    @property
    def clock_skew_s(self) -> int:
        """What the sender's clock may be off, in seconds; 0 where nothing sealed tells a time."""
        return 0

    @property
    def remember_s(self) -> int:
        """How long an envelope that has just been made may be good, in seconds."""
        return DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedJweProfile(IncomingProfile):
    """A compact JWE (RFC 7516) of our own clients, with nonce and expiry inside.

    `max_age_s` bounds how far in the future the sealed expiry may lie, in seconds;
    `clock_skew_s` is what the sender's clock may be off. With `bind_pan` the sealed
    content must name the PAN of the call, with `bind_card` the id of its card and no PAN, with
    `bind_caller` its caller.
    """

    max_age_s: int = 300
    clock_skew_s: int = 30
    bind_pan: bool = True
    bind_card: bool = False
    bind_caller: bool = False

    def __post_init__(self) -> None:
        if self.bind_pan and self.bind_card:
            raise ValueError(
                "a PIN is sealed for a PAN or for a card: set bind_pan = false with bind_card"
            )

    @property
    def bound(self) -> bool:
        """Whether the content must name the PAN or the card of the call."""
        return self.bind_pan or self.bind_card

    @property
    def remember_s(self) -> int:
        """How long an envelope that has just been made may be good, in seconds."""
        return self.max_age_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedProfile(IncomingProfile):
    """An envelope that does not say when it expires: remembered for `remember_s` seconds."""

    remember_s: int = DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class JweInProfile(RememberedProfile):
    """A compact JWE of a PIN alone, as issuers' JWE libraries make it."""

    plaintext: Plaintext

    @property
    def bound(self) -> bool:
        """Whether the plaintext is a block with a PAN."""
        return self.plaintext.carries_pan


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRsaProfile(RememberedProfile):
    """A PIN under RSA-OAEP."""

    plaintext: Plaintext
    encoding: Encoding

    @property
    def bound(self) -> bool:
        """Whether the plaintext is a block with a PAN."""
        return self.plaintext.carries_pan


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedJsonProfile(RememberedProfile):
    """The JSON object of a nonce and a PIN under RSA-OAEP, in base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedAesBlockProfile(RememberedProfile):
    """A format 4 block under an AES-256 key under RSA-OAEP, bound to a token and not to a PAN."""

    usage: ClassVar[Usage] = Usage.K0


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedAesGcmProfile(RememberedProfile):
    """A PIN in AES-GCM, the AES key under RSA-OAEP."""

    plaintext: Plaintext
    content_key: ContentKey = ContentKey.AES_256

    usage: ClassVar[Usage] = Usage.K0

    @property
    def bound(self) -> bool:
        """Whether the plaintext is a block with a PAN."""
        return self.plaintext.carries_pan


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEcdhBlockProfile(RememberedProfile):
    """A format 4 block under an AES key agreed between our P-256 key and an ephemeral one."""

    derivation: Derivation

    usage: ClassVar[Usage] = Usage.K3
    mode: ClassVar[Mode] = Mode.X

    @property
    def bound(self) -> bool:
        """Always: format 4 carries the PAN."""
        return True

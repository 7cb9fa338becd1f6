"""Incoming envelope profiles: PINs sealed by others, which a key of the HSM opens.

Rules:
- Each is opened once. The sender's nonce or token tells an envelope from another where it
  has one, else what the ciphertext says; it is remembered until the envelope expires, or for
  `remember_s` seconds where nothing in it says when that is.
- PKCS #1 v1.5 comes in where nobody could forge a padding and learn of it: all that is padded is
  fixed but for the digits themselves, so that what was not made by the book never passes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from pinvault.model.keys import Key, Mode, Usage
from pinvault.model.profiles.words import (
    ANY_LENGTH,
    ContentKey,
    Derivation,
    Encoding,
    PinLength,
    Plaintext,
)

DAY_S = 86_400

PKCS1_JWA: Final = "RSA1_5"
"""The algorithm (RFC 7518, 4.2) of a key that opens by PKCS #1 v1.5."""
UNLIKELY_BITS: Final = 60
"""A plaintext drawn at random passes as padding and content with a chance below 2^-60."""
_PADDING_BITS: Final = 15 + 8
"""At least: 00 02 before what is below a modulus with its highest bit set, 00 in its one place."""
_DIGIT_BITS: Final = math.log2(256 / 10)
_BITS_OF_A_DIGIT: Final[Mapping[Plaintext, float]] = MappingProxyType(
    {Plaintext.DIGITS: _DIGIT_BITS, Plaintext.HEX_OF_DIGITS: 8 + _DIGIT_BITS}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingProfile:
    """What every incoming profile says: its name, our key by name, and the PIN lengths."""

    name: str
    key: str
    pin_length: PinLength = ANY_LENGTH

    incoming: ClassVar[bool] = True
    usage: ClassVar[Usage] = Usage.D1
    mode: ClassVar[Mode] = Mode.D

    def opens_by(self, key: Key) -> bool:
        """Whether a version of our key opens by a padding that the profile takes."""
        return key.jwa != PKCS1_JWA

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
    """A PIN under RSA: by OAEP or, with `accept_pkcs1_v1_5`, by PKCS #1 v1.5 and nothing else."""

    plaintext: Plaintext
    encoding: Encoding
    accept_pkcs1_v1_5: bool = False

    def __post_init__(self) -> None:
        if self.accept_pkcs1_v1_5:
            _require_unlikely(self.plaintext, self.pin_length)

    def opens_by(self, key: Key) -> bool:
        """Whether a version of our key opens by the padding that the profile takes."""
        return (key.jwa == PKCS1_JWA) is self.accept_pkcs1_v1_5

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


def _require_unlikely(plaintext: Plaintext, pin_length: PinLength) -> None:
    """ValueError for what bad padding could pass as."""
    digits, bits = pin_length.minimum, _BITS_OF_A_DIGIT.get(plaintext)
    if bits is None or pin_length.maximum != digits:
        raise ValueError(
            "PKCS #1 v1.5 comes in where all of the content is fixed: hex-of-digits, or digits, "
            "of one length: set plaintext, and minimum and maximum of pin_length to the same"
        )
    if _PADDING_BITS + digits * bits < UNLIKELY_BITS:
        raise ValueError(
            "so few bytes are fixed that bad padding could pass for good: use hex-of-digits, or "
            "PINs of 8 digits and more, or OAEP"
        )

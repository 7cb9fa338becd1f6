"""Outgoing envelope profiles: PINs sealed for a partner, under the partner's public key."""

from dataclasses import dataclass
from typing import ClassVar

from pinvault.model.keys import Mode, Usage
from pinvault.model.profiles.words import (
    ANY_LENGTH,
    ContentKey,
    Derivation,
    Encoding,
    JweAlgorithm,
    Padding,
    PinLength,
    Plaintext,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingProfile:
    """What every outgoing profile says: its name, the partner's key, and the PIN lengths.

    `pin_length` defaults to what ISO 9564-1 allows; pin it where the partner does.
    """

    name: str
    key: str
    pin_length: PinLength = ANY_LENGTH

    incoming: ClassVar[bool] = False
    usage: ClassVar[Usage] = Usage.D1
    mode: ClassVar[Mode] = Mode.E

    @property
    def bound(self) -> bool:
        """Whether what is sealed carries the PAN of the call."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaintextProfile(OutgoingProfile):
    """An envelope that can hold a PIN in any form."""

    plaintext: Plaintext

    @property
    def bound(self) -> bool:
        """Whether the plaintext is a block with a PAN."""
        return self.plaintext.carries_pan


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaFieldProfile(PlaintextProfile):
    """A PIN as an RSA-enciphered text field."""

    padding: Padding
    encoding: Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaJsonProfile(OutgoingProfile):
    """The JSON object of a random nonce and a PIN under RSA, in base64."""

    padding: Padding


@dataclass(frozen=True, slots=True, kw_only=True)
class JweProfile(PlaintextProfile):
    """A compact JWE (RFC 7516) in A256GCM; `kid` is what the partner calls the key."""

    algorithm: JweAlgorithm
    kid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaAesBlockProfile(OutgoingProfile):
    """A format 4 block under an AES-256 key under RSA, bound to a random token."""

    padding: Padding


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaAesGcmProfile(PlaintextProfile):
    """A PIN in AES-GCM, the AES key under RSA."""

    padding: Padding
    content_key: ContentKey = ContentKey.AES_256


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaAesCbcProfile(PlaintextProfile):
    """A PIN in AES-CBC with PKCS #7 padding, the AES key under RSA; nothing authenticates it."""

    padding: Padding
    content_key: ContentKey = ContentKey.AES_256


@dataclass(frozen=True, slots=True, kw_only=True)
class EcdhBlockProfile(OutgoingProfile):
    """A format 4 block under an AES key agreed between an ephemeral key and the partner's."""

    derivation: Derivation

    usage: ClassVar[Usage] = Usage.K3

    @property
    def bound(self) -> bool:
        """Always: format 4 carries the PAN."""
        return True

"""Envelope profiles: named, reviewed ways to seal a PIN, chosen by name and never guessed.

Rules:
- A profile fixes everything that steers the computation: key, padding, plaintext
  form, text encoding, lifetimes, PIN length. A call can only name it.
- Raw RSA has no name here, so it cannot be configured: four digits under a
  deterministic cipher are a code book.
"""

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Padding(StrEnum):
    """How RSA pads an outgoing PIN field (RFC 8017)."""

    PKCS1_V1_5 = "PKCS1-v1_5"
    OAEP_SHA1 = "OAEP-SHA1"
    OAEP_SHA256 = "OAEP-SHA256"


@unique
class Plaintext(StrEnum):
    """What is enciphered: the ASCII digits, or the lower-case hex text of those ASCII bytes."""

    DIGITS = "digits"
    HEX_OF_DIGITS = "hex-of-digits"


@unique
class Encoding(StrEnum):
    """How the ciphertext is written."""

    HEX_LOWER = "hex-lower"
    HEX_UPPER = "hex-upper"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True, kw_only=True)
class PinLength:
    """The PIN lengths that a profile lets through, in digits, both ends included."""

    minimum: int = 4
    maximum: int = 12

    def allows(self, digits: int) -> bool:
        """Whether a PIN of so many digits is let through."""
        return self.minimum <= digits <= self.maximum


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaFieldProfile:
    """Outgoing: a PIN as an RSA-enciphered text field under a partner's public key.

    `pin_length` defaults to what ISO 9564-1 allows; pin it where the partner does.
    """

    name: str
    key: str
    padding: Padding
    plaintext: Plaintext
    encoding: Encoding
    pin_length: PinLength = PinLength()


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedJweProfile:
    """Incoming: a compact JWE (RFC 7516) sealed under the sealing key `key` of the HSM.

    `max_age_s` bounds how far in the future the sealed expiry may lie, in seconds;
    `clock_skew_s` is what the sender's clock may be off. With `bind_pan` the sealed
    content must name the PAN of the call.
    """

    name: str
    key: str
    max_age_s: int = 300
    clock_skew_s: int = 30
    bind_pan: bool = True
    pin_length: PinLength = PinLength()


Profile = RsaFieldProfile | SealedJweProfile

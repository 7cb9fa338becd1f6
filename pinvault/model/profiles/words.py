"""The words that envelope profiles are written in."""

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Padding(StrEnum):
    """How RSA pads what goes to a partner (RFC 8017)."""

    PKCS1_V1_5 = "PKCS1-v1_5"
    OAEP_SHA1 = "OAEP-SHA1"
    OAEP_SHA256 = "OAEP-SHA256"


@unique
class Plaintext(StrEnum):
    """What is enciphered: digits in some spelling, or a clear PIN block of 8 bytes.

    HEX_OF_DIGITS is the lower-case hex text of the ASCII digits, PIN_JSON the object
    `{"pin":"1234"}`, and a block one of ISO 9564-1:2017, 9.3.
    """

    DIGITS = "digits"
    HEX_OF_DIGITS = "hex-of-digits"
    PIN_JSON = "pin-json"
    ISO_0_BLOCK = "iso-0-block"
    ISO_1_BLOCK = "iso-1-block"
    ISO_2_BLOCK = "iso-2-block"
    ISO_3_BLOCK = "iso-3-block"

    @property
    def carries_pan(self) -> bool:
        """Whether it is bound to a PAN."""
        return self in {Plaintext.ISO_0_BLOCK, Plaintext.ISO_3_BLOCK}


@unique
class Encoding(StrEnum):
    """How the ciphertext is written."""

    HEX_LOWER = "hex-lower"
    HEX_UPPER = "hex-upper"
    BASE64 = "base64"


@unique
class JweAlgorithm(StrEnum):
    """How a JWE for a partner wraps its content key (RFC 7518, 4.1)."""

    RSA_OAEP = "RSA-OAEP"
    RSA_OAEP_256 = "RSA-OAEP-256"
    RSA1_5 = "RSA1_5"


@unique
class ContentKey(StrEnum):
    """The AES key that lives for one message."""

    AES_128 = "AES_128"
    AES_256 = "AES_256"

    @property
    def key_bytes(self) -> int:
        """The key's length in bytes."""
        return 16 if self is ContentKey.AES_128 else 32


@unique
class DerivationHash(StrEnum):
    """The hash of a key derivation."""

    SHA_256 = "SHA-256"
    SHA_512 = "SHA-512"


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """How both sides get a content key from a shared secret (NIST SP 800-56A, one-step)."""

    hash: DerivationHash
    shared_info: bytes
    content_key: ContentKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PinLength:
    """The PIN lengths that a profile lets through, in digits, both ends included."""

    minimum: int = 4
    maximum: int = 12

    def allows(self, digits: int) -> bool:
        """Whether a PIN of so many digits is let through."""
        return self.minimum <= digits <= self.maximum


ANY_LENGTH = PinLength()

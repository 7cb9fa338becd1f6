"""Check values: short public fingerprints by which a key in a token is told from any other.

Rules:
- TDES: the first 3 bytes of 8 zero bytes enciphered (X9.24-1, the legacy method).
- AES: the first 3 or 5 bytes of the AES-CMAC of 16 zero bytes (X9.24-1:2017), computed
  from two ECB encipherments, because a PIN key's role forbids CMAC. A key that may only derive
  enciphers them by derivation.
- HMAC: the first 3 bytes of the HMAC-SHA256 of the empty message.
- RSA and EC: the SHA-256 of the SubjectPublicKeyInfo.
- A key that may only decipher: the first 3 bytes of zeros *deciphered*, beside its standard value.
- A key that may only derive: the first 3 bytes of zeros enciphered under the key that is derived
  from zeros, beside its standard value.
- The ciphers and MACs run in the token; this module only feeds them and cuts their results.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from hsm import cmac

Cipher = Callable[[bytes], bytes]
"""ECB over whole blocks under the key in question."""

TDES_BLOCK: Final = 8
AES_BLOCK: Final = 16
SHORT: Final = 3
"""Bytes of a symmetric check value."""
LONG: Final = 5
"""Bytes of a long AES check value (X9.24-1:2017 permits up to 5)."""


def tdes(encipher: Cipher) -> bytes:
    """Check value of a TDES key, 3 bytes."""
    return encipher(bytes(TDES_BLOCK))[:SHORT]


def aes(encipher: Cipher) -> bytes:
    """Check value of an AES key, 5 bytes; its first 3 are the short form.

    The CMAC (SP 800-38B) of one whole block is E(block xor K1); for zeros that leaves E(K1).
    """
    whole, _ = cmac.subkeys(encipher(bytes(AES_BLOCK)))
    return encipher(whole)[:LONG]


def deciphering(decipher: Cipher, *, block_size: int) -> bytes:
    """Behavioural check value of a key that may only decipher, 3 bytes."""
    return decipher(bytes(block_size))[:SHORT]


def deriving(encipher: Cipher, *, block_size: int) -> bytes:
    """Behavioural check value of a key that may only derive, 3 bytes: zeros under its child."""
    return encipher(bytes(block_size))[:SHORT]


def hmac_sha256(mac: Callable[[bytes], bytes]) -> bytes:
    """Check value of an HMAC key, 3 bytes."""
    return mac(b"")[:SHORT]


def public_key(spki: bytes) -> bytes:
    """Check value of a key pair or public key, 32 bytes, from its SubjectPublicKeyInfo in DER."""
    return hashlib.sha256(spki).digest()

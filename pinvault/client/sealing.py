"""Seals a PIN for the server as a compact JWE (RFC 7516): RSA-OAEP key wrap, A256GCM content.

Rules:
- The hash of OAEP is the one that the key's `alg` says: `RSA-OAEP` is SHA-1, because some
  HSMs can do no other (it is sound in OAEP), `RSA-OAEP-256` is SHA-256.
- A fresh content key, IV and nonce for every envelope; expiry, PAN or card, and caller are
  inside.
"""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LIFETIME_S = 120
NONCE_BYTES = 16
_HASHES: dict[str, type[hashes.SHA1] | type[hashes.SHA256]] = {
    "RSA-OAEP": hashes.SHA1,
    "RSA-OAEP-256": hashes.SHA256,
}
ALGORITHMS = frozenset(_HASHES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingKey:
    """A public key of the server, from its JWK; `thumbprint` is after RFC 7638."""

    kid: str
    alg: str
    thumbprint: str
    public_key: rsa.RSAPublicKey = field(repr=False)

    @classmethod
    def from_jwk(cls, *, kid: str, alg: str, n: str, e: str) -> "SealingKey":
        """Read the members of a JWK; `n` and `e` are base64url. The thumbprint is computed here."""
        if alg not in _HASHES:
            raise ValueError("the key's alg is not one that this client seals with")
        numbers = rsa.RSAPublicNumbers(e=_uint(e), n=_uint(n))
        digest = hashlib.sha256(_json({"e": e, "kty": "RSA", "n": n})).digest()
        return cls(kid=kid, alg=alg, thumbprint=_text(digest), public_key=numbers.public_key())

    def jwk(self) -> dict[str, str]:
        """Give the JWK (RFC 7517) for whoever seals elsewhere, such as in a browser."""
        numbers = self.public_key.public_numbers()
        public = {"n": _uint_text(numbers.n), "e": _uint_text(numbers.e)}
        return {"kty": "RSA", "use": "enc", "kid": self.kid, "alg": self.alg, **public}


def seal(
    pin: str,
    *,
    key: SealingKey,
    pan: str | None,
    expires: int,
    card: str | None = None,
    caller: str | None = None,
) -> bytes:
    """Give the envelope of a PIN of 4 to 12 digits, good until `expires` (Unix seconds).

    With `pan`, or with `card` (its id in the PIN vault), the envelope is good for that card only,
    with `caller` for the service of that identity. Raises ValueError, which does not repeat the
    PIN, when it is not one, or when PAN and card are both given.
    """
    if not (4 <= len(pin) <= 12 and pin.isascii() and pin.isdigit()):
        raise ValueError("a PIN has 4 to 12 decimal digits")
    if pan is not None and card is not None:
        raise ValueError("a PIN is sealed for a PAN or for a card, not for both")
    bound_to = {"pan": pan, "card": card, "caller": caller}
    content = {
        "pin": pin,
        "nonce": _text(secrets.token_bytes(NONCE_BYTES)),
        "exp": expires,
        **{member: value for member, value in bound_to.items() if value is not None},
    }
    header = _text(_json({"alg": key.alg, "enc": "A256GCM", "kid": key.kid}))
    content_key, iv = secrets.token_bytes(32), secrets.token_bytes(12)
    sealed = AESGCM(content_key).encrypt(iv, _json(content), header.encode())
    parts = (
        header,
        _text(wrap(content_key, key)),
        _text(iv),
        _text(sealed[:-16]),
        _text(sealed[-16:]),
    )
    return ".".join(parts).encode()


def wrap(value: bytes, key: SealingKey) -> bytes:
    """Give a key under RSA-OAEP: the content key of an envelope, or a key for the server's HSM."""
    algorithm = _HASHES[key.alg]
    oaep = padding.OAEP(mgf=padding.MGF1(algorithm()), algorithm=algorithm(), label=None)
    return key.public_key.encrypt(value, oaep)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _uint_text(number: int) -> str:
    return _text(number.to_bytes((number.bit_length() + 7) // 8))


def _uint(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))

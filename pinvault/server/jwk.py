"""RSA public keys as JSON Web Keys (RFC 7517, RFC 7518, 6.3), with thumbprints (RFC 7638)."""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pinvault.v1 import key_pb2


def write_jwk(spki: bytes, *, kid: str, alg: str) -> key_pb2.JsonWebKey:
    """Write a DER SubjectPublicKeyInfo of an RSA key as a JWK for encryption."""
    key = load_der_public_key(spki)
    if not isinstance(key, RSAPublicKey):
        raise TypeError("a sealing key is an RSA key")
    numbers = key.public_numbers()
    return key_pb2.JsonWebKey(
        kty="RSA", use="enc", alg=alg, kid=kid, n=_uint(numbers.n), e=_uint(numbers.e)
    )


def thumbprint(jwk: key_pb2.JsonWebKey) -> str:
    """Give the SHA-256 thumbprint: base64url of 32 bytes, without padding."""
    required = {"e": jwk.e, "kty": jwk.kty, "n": jwk.n}
    return _base64url(hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest())


def _uint(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

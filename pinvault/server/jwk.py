"""Public keys as JSON Web Keys (RFC 7517; RFC 7518, 6.2 and 6.3), with thumbprints (RFC 7638)."""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pinvault.v1 import key_pb2

COORDINATE_BYTES = 32
# The members that a thumbprint covers, by key type, in their order (RFC 7638, 3.2).
REQUIRED = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y")}


def write_jwk(spki: bytes, *, kid: str, alg: str | None) -> key_pb2.JsonWebKey:
    """Write a DER SubjectPublicKeyInfo as a JWK for encryption: RSA with its `alg`, or P-256."""
    key = load_der_public_key(spki)
    if isinstance(key, RSAPublicKey) and alg is not None:
        rsa = key.public_numbers()
        return key_pb2.JsonWebKey(
            kty="RSA", use="enc", alg=alg, kid=kid, n=_uint(rsa.n), e=_uint(rsa.e)
        )
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        point = key.public_numbers()
        x, y = (_base64url(number.to_bytes(COORDINATE_BYTES)) for number in (point.x, point.y))
        return key_pb2.JsonWebKey(
            kty="EC", use="enc", alg="ECDH-ES", kid=kid, crv="P-256", x=x, y=y
        )
    raise TypeError("a sealing key is an RSA key with an algorithm, or a P-256 key")


def thumbprint(jwk: key_pb2.JsonWebKey) -> str:
    """Give the SHA-256 thumbprint: base64url of 32 bytes, without padding."""
    required = {name: getattr(jwk, name) for name in REQUIRED[jwk.kty]}
    return _base64url(hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest())


def _uint(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

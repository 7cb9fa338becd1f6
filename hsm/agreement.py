"""Key agreement: the ECDH shared secret of a private key in the token and a peer's public key.

Rules:
- The peer's key is a point of P-256, proved so before the token is touched: a point of another
  curve draws the private key out bit by bit (Biehl, Meyer, Müller, CRYPTO 2000).
- The secret is the x coordinate alone (SP 800-56A revision 3, 5.7.1.2), and no key: a key
  derivation function above makes keys of it. So it is the one thing here that leaves the token.
"""

from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11 import KDF, Attribute, KeyType, Mechanism

from hsm.passing import NO_DEFAULTS, destroy
from hsm.roles import passing_template

SECRET_BYTES: Final = 32
"""Length of a shared secret."""

_POINT_BYTES: Final = 65
_TEMPLATE: Final = passing_template((), (Mechanism.SHA256_HMAC,), readable=True)


def point(peer: bytes) -> bytes:
    """The uncompressed point (SEC 1, 2.3.3), 65 bytes, of a peer's key.

    `peer` is that point already, or a SubjectPublicKeyInfo (RFC 5480) in DER. ValueError when it is
    no public key on P-256.
    """
    try:
        public = _read(peer)
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
        raise ValueError("the peer's key is no public key on P-256")
    return encode(public)


def encode(public: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as an uncompressed point."""
    return public.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def _read(peer: bytes) -> object:
    if len(peer) == _POINT_BYTES:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes(peer))
    return serialization.load_der_public_key(bytes(peer))


def agree(private: Any, public: bytes) -> bytes:
    """The shared secret of `private`, an object that may derive, and a point of `point`.

    PKCS11Error when the token fails.
    """
    secret = private.derive_key(
        KeyType.GENERIC_SECRET,
        SECRET_BYTES * 8,
        capabilities=NO_DEFAULTS,
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, public),
        template=_TEMPLATE,
    )
    try:
        return bytes(secret[Attribute.VALUE])
    finally:
        destroy(secret)

"""What both sides of a key agreement on P-256 need: points that are looked at, ephemeral keys.

Rules:
- A peer's point is checked to lie on the curve before anything is made of it.
- An ephemeral key is drawn from the HSM and used for one agreement.
"""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pinvault.clearzone.envelope.timed import TimedDevice

CURVE = ec.SECP256R1()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PRIVATE_RANDOM_BYTES = 40
POINT_BYTES = 65
X_COORDINATE = slice(1, 33)
Y_COORDINATE = slice(33, 65)


def ephemeral(hsm: TimedDevice) -> ec.EllipticCurvePrivateKey:
    """Make a key of 64 more random bits of the HSM than it has (FIPS 186-5, A.2.1)."""
    drawn = int.from_bytes(hsm.random(PRIVATE_RANDOM_BYTES))
    return ec.derive_private_key(drawn % (ORDER - 1) + 1, CURVE)


def public_point(private: ec.EllipticCurvePrivateKey) -> bytes:
    """Give the uncompressed point, 65 bytes, of a key's public half (SEC 1, 2.3.3)."""
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def public_key(point: bytes) -> ec.EllipticCurvePublicKey:
    """Read an uncompressed point of 65 bytes; ValueError when it is none of the curve."""
    if len(point) != POINT_BYTES:
        raise ValueError("an uncompressed point of P-256 has 65 bytes")
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVE, point)


def require_point(point: bytes) -> None:
    """Raise ValueError when 65 bytes are no uncompressed point of P-256."""
    public_key(point)

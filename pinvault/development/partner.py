"""Stand-ins for those at the other end: a partner with an RSA key, and a zone with symmetric keys.

They hold what pinvault must never hold, so that a demonstration or a test can say whether
what pinvault handed out is right. They confirm; they do not print.
"""

import hmac
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner who opens the `pin` and `oldPin` fields of Interswitch's kind."""

    key: rsa.RSAPrivateKey

    @classmethod
    def make(cls) -> "Partner":
        """Make a partner with a fresh key."""
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS))

    @classmethod
    def load(cls, path: Path) -> "Partner":
        """Read a partner's key."""
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("a partner's key is an RSA key")
        return cls(key)

    def save(self, path: Path) -> None:
        """Write the key, readable by its owner only."""
        _save(self.key, path)

    def spki(self) -> bytes:
        """Give the public half, as DER SubjectPublicKeyInfo."""
        return _spki(self.key)

    def open_field(self, field: str) -> str:
        """Open a field: hex, PKCS#1 v1.5, hex of the ASCII digits. For tests."""
        hex_of_digits = self.key.decrypt(bytes.fromhex(field), padding.PKCS1v15())
        return bytes.fromhex(hex_of_digits.decode()).decode()

    def confirms(self, field: str, pin: str) -> bool:
        """Say whether a field holds a PIN."""
        return hmac.compare_digest(self.open_field(field), pin)


@dataclass(frozen=True, slots=True)
class Phone:
    """A cardholder's phone with a P-256 key, to which a PIN can be sent."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls) -> "Phone":
        """Make a phone with a fresh key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> "Phone":
        """Read a phone's key."""
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("a phone's key is an EC key")
        return cls(key)

    def save(self, path: Path) -> None:
        """Write the key, readable by its owner only."""
        _save(self.key, path)

    def spki(self) -> bytes:
        """Give the public half, as DER SubjectPublicKeyInfo."""
        return _spki(self.key)


def _save(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, path: Path) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )

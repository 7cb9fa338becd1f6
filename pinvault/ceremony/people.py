"""How custodians prove who they are: by a passphrase, or by a certificate's private key.

Rules:
- A passphrase is kept as its scrypt hash (RFC 7914), in the PHC string format, which alone stands
  in the reviewed file; a certificate is pinned there by its SHA-256.
- Every proof is made over a statement of one purpose, one ceremony and one moment. With a
  certificate it leaves a signature that anybody can check later.
- What was typed is never repeated, and nothing tells how far a wrong proof came.
"""

import base64
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidKey, InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SALT_BYTES: Final = 16
LOG_N: Final = 17
"""Cost of a new hash: 2^17 turns over 128 MiB."""
SHORTEST_PASSPHRASE: Final = 12

_HASH_BYTES: Final = 32
_LOG_N: Final = range(14, 21)
_PHC: Final = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=8,p=1\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})"
)
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)


class NotProved(Exception):
    """Who typed this is not, or not certainly, the custodian whose turn it is."""


class Asks(Protocol):
    """What a proof asks at the terminal."""

    def ask(self, prompt: str) -> str:
        """Give a line that is shown while it is typed."""

    def hidden(self, prompt: str) -> bytearray:
        """Give a line that is shown nowhere, in UTF-8; whoever asks wipes it."""


@dataclass(frozen=True, slots=True)
class Passphrase:
    """A passphrase, known by its hash."""

    phc: str

    def fits(self, passphrase: str) -> bool:
        """Tell whether this is the passphrase."""
        log_n, salt, expected = _parse(self.phc)
        try:
            _scrypt(salt, log_n).verify(_spelt(passphrase), expected)
        except InvalidKey:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate whose private key its holder brings on a medium of their own."""

    leaf: x509.Certificate

    @property
    def sha256(self) -> str:
        """The SHA-256 of the certificate, as 64 lower-case hex digits."""
        return self.leaf.fingerprint(hashes.SHA256()).hex()

    def is_in_its_time(self, now: datetime) -> bool:
        """Tell whether the certificate is valid at this moment."""
        return self.leaf.not_valid_before_utc <= now < self.leaf.not_valid_after_utc


Means = Passphrase | Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Custodian:
    """A person who holds one component, and how they prove that they are this person."""

    name: str
    means: Means


def hash_passphrase(passphrase: str, *, salt: bytes, log_n: int = LOG_N) -> str:
    """Give the PHC string of a passphrase; ValueError for one of less than 12 characters.

    >>> hash_passphrase("correct horse battery", salt=bytes(16), log_n=14)
    '$scrypt$ln=14,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$VOu9yU93MAPRMAyB8afam0JVM+87Myp/+GerZ1YkZZM'
    """
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise ValueError(f"a passphrase has at least {SHORTEST_PASSPHRASE} characters")
    found = _scrypt(salt, log_n).derive(_spelt(passphrase))
    return f"$scrypt$ln={log_n},r=8,p=1${_base64(salt)}${_base64(found)}"


def require_phc(text: str) -> str:
    """Give back a PHC string that `hash_passphrase` could have made; ValueError otherwise."""
    _parse(text)
    return text


def prove(
    custodian: Custodian,
    everyone: tuple[Custodian, ...],
    statement: bytes,
    terminal: Asks,
    *,
    now: Callable[[], datetime],
) -> str:
    """Have a custodian prove who they are; give their signature in hex, "" for a passphrase.

    NotProved for anything wrong, and for a passphrase that is another custodian's too: then two
    of them are one person, or know what only one may.
    """
    if isinstance(custodian.means, Certificate):
        return _sign(custodian.means, statement, terminal, now())
    passphrase = _take_passphrase(terminal, "Your passphrase")
    shared = [
        other
        for other in everyone
        if isinstance(other.means, Passphrase) and other.means.fits(passphrase)
    ]
    if shared != [custodian]:
        raise NotProved
    return ""


def has_signed(leaf: x509.Certificate, statement: bytes, signature: bytes) -> bool:
    """Tell whether the certificate's key made this signature (PSS, ECDSA with SHA-256, Ed25519)."""
    key = leaf.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, statement, _PSS, hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, statement, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, statement)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _sign(means: Certificate, statement: bytes, terminal: Asks, now: datetime) -> str:
    if not means.is_in_its_time(now):
        raise NotProved
    key = _read_private_key(Path(terminal.ask("The file of your private key")), terminal)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(statement, _PSS, hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(statement, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(statement)
    else:
        raise NotProved
    if not has_signed(means.leaf, statement, signature):
        raise NotProved
    return signature.hex()


def _read_private_key(path: Path, terminal: Asks) -> object:
    """Read a PEM file, enciphered under a passphrase or not."""
    try:
        pem = path.read_bytes()
        enciphered = b"ENCRYPTED" in pem
        asked = "The passphrase of that file"
        password = _take_passphrase(terminal, asked).encode() if enciphered else None
        return load_pem_private_key(pem, password=password)
    except (OSError, ValueError, TypeError):
        raise NotProved from None


def _take_passphrase(terminal: Asks, prompt: str) -> str:
    line = terminal.hidden(prompt)
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise NotProved from None
    finally:
        line[:] = bytes(len(line))


def _parse(phc: str) -> tuple[int, bytes, bytes]:
    match = _PHC.fullmatch(phc)
    if match is None or int(match[1]) not in _LOG_N:
        raise ValueError("a passphrase hash is what `pinvault key ceremony-passphrase` prints")
    return int(match[1]), base64.b64decode(match[2] + "=="), base64.b64decode(match[3] + "=")


def _scrypt(salt: bytes, log_n: int) -> Scrypt:
    return Scrypt(salt=salt, length=_HASH_BYTES, n=1 << log_n, r=8, p=1)


def _spelt(passphrase: str) -> bytes:
    """Give the bytes of a passphrase: one spelling for letters that keyboards compose apart."""
    return unicodedata.normalize("NFC", passphrase).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")

"""Envelopes forged part by part, and a clear zone with known keys and a clock that stands."""

import base64
import json
import secrets
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pinvault.clearzone.parcels import SealedEnvelope
from pinvault.clearzone.zone import ClearZone, Terms
from pinvault.client.sealing import SealingKey
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.profiles import SealedJweProfile
from pinvault.policy.limits import Nonces
from pinvault.policy.shared_table import SharedTable
from tests.conftest import OTHER_PAN, PAN
from tests.support.software_device import SoftwareDevice, held, key

NOW = 1_770_000_000
QUANTUM_S = 0.001
HASHES = {"RSA-OAEP": hashes.SHA1, "RSA-OAEP-256": hashes.SHA256}

SEAL = key("pin-seal", "D1", "RSA_2048", "D", version=2, jwa="RSA-OAEP")
OLDER_SEAL = key(
    "pin-seal", "D1", "RSA_2048", "D", version=1, state="decipher-only", jwa="RSA-OAEP"
)
SEAL_256 = key("pin-seal-256", "D1", "RSA_2048", "D", jwa="RSA-OAEP-256")
PARTNER = key("partner", "D1", "RSA_2048", "E")
ZPK = key("zpk", "P0", "TDES_2KEY", "B")
ZPK_AES = key("zpk-aes", "P0", "AES_128", "B")
TDES_VALUE = bytes.fromhex("13345779133457791334577913345779")
AES_VALUE = bytes.fromhex("FA36E44278DB3AB5F298F9F7DA8F1F88")

__all__ = ["OTHER_PAN", "PAN"]


@cache
def private_key(name: str) -> rsa.RSAPrivateKey:
    """One private key a name, made once a run."""
    return rsa.generate_private_key(65537, 2048)


def make_device() -> SoftwareDevice:
    """A device with a sealing key of each kind, a partner's key, and zone keys."""
    return SoftwareDevice(
        [
            *(held(each, private_key(each.id)) for each in (SEAL, OLDER_SEAL, SEAL_256)),
            held(PARTNER, private_key(PARTNER.id).public_key()),
            held(ZPK, TDES_VALUE),
            held(ZPK_AES, AES_VALUE),
        ]
    )


def sealing_key(of: Key) -> SealingKey:
    """The public half as a client has it, read from the members of a JWK."""
    numbers = private_key(of.id).public_key().public_numbers()
    n, e = (number.to_bytes((number.bit_length() + 7) // 8) for number in (numbers.n, numbers.e))
    return SealingKey.from_jwk(kid=of.id, alg=of.jwa or "", n=text(n), e=text(e))


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Parts:
    """The five parts of a compact JWE, decoded."""

    header: bytes
    wrapped: bytes
    iv: bytes
    ciphertext: bytes
    tag: bytes

    def compact(self) -> bytes:
        every = (self.header, self.wrapped, self.iv, self.ciphertext, self.tag)
        return ".".join(map(text, every)).encode()

    def flipped(self, part: str, place: int) -> "Parts":
        """Give the parts with one bit of one byte of one part flipped."""
        changed = bytearray(getattr(self, part))
        changed[place] ^= 1
        return replace(self, **{part: bytes(changed)})


def header(of: Key = SEAL, **changes: Any) -> bytes:
    """A good header, with members added, changed, or (None) left out."""
    members = {"alg": of.jwa, "enc": "A256GCM", "kid": of.id} | changes
    return dump({name: value for name, value in members.items() if value is not None})


def content(**changes: Any) -> bytes:
    """Good content, with members added, changed, or (None) left out."""
    members = {
        "pin": "7392",
        "nonce": text(secrets.token_bytes(16)),
        "exp": NOW + 120,
        "pan": PAN,
    } | changes
    return dump({name: value for name, value in members.items() if value is not None})


def dump(members: Any) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def forge(
    *,
    under: Key = SEAL,
    header_bytes: bytes | None = None,
    content_bytes: bytes | None = None,
    content_key: bytes | None = None,
    wrap: padding.AsymmetricPadding | None = None,
    public: rsa.RSAPublicKey | None = None,
    iv: bytes | None = None,
) -> Parts:
    """Seal whatever one likes as a client could, with `cryptography` alone."""
    protected = header(under) if header_bytes is None else header_bytes
    wrapping_key = secrets.token_bytes(32) if content_key is None else content_key
    algorithm = HASHES[under.jwa or ""]()
    oaep = padding.OAEP(padding.MGF1(algorithm), algorithm, label=None)
    recipient = public or private_key(under.id).public_key()
    nonce = secrets.token_bytes(12) if iv is None else iv
    sealed = AESGCM(wrapping_key).encrypt(
        nonce, content() if content_bytes is None else content_bytes, text(protected).encode()
    )
    return Parts(
        header=protected,
        wrapped=recipient.encrypt(wrapping_key, wrap or oaep),
        iv=nonce,
        ciphertext=sealed[:-16],
        tag=sealed[-16:],
    )


KEYS = {each.id: each for each in (SEAL, OLDER_SEAL, SEAL_256)}
PROFILE = SealedJweProfile(name="sealed", key="pin-seal")


def envelope(
    ciphertext: bytes, *, pan: str | None = PAN, profile: SealedJweProfile = PROFILE
) -> SealedEnvelope:
    """An envelope source as an operation resolves it."""
    return SealedEnvelope(
        profile=profile,
        keys=KEYS,
        pan=Pan(pan) if pan is not None else None,
        caller="switch",
        ciphertext=ciphertext,
    )


@dataclass
class Clock:
    """Unix seconds that move only when a test moves them."""

    now: float = float(NOW)


@dataclass
class World:
    """A clear zone and what it stands on; nonces are spent in a real table."""

    directory: Path
    device: SoftwareDevice = field(default_factory=make_device)
    clock: Clock = field(default_factory=Clock)
    quantum_s: float = QUANTUM_S

    def __post_init__(self) -> None:
        self.table = SharedTable.open(self.directory / "nonces.table", secret=bytes(32), slots=4096)
        self.zone = ClearZone(
            self.device,
            spend=Nonces(self.table).spend,
            now=lambda: self.clock.now,
            quantum_s=self.quantum_s,
        )

    @property
    def deadline(self) -> Deadline:
        return Deadline.after(60)

    @property
    def terms(self) -> Terms:
        return Terms(deadline=self.deadline)

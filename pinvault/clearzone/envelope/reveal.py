"""A PIN disclosed: a compact JWE (RFC 7516) for a one-time P-256 key of whoever shows it.

Rules:
- ECDH-ES in direct key agreement (RFC 7518, 4.6) with A256GCM: the content key is agreed between
  an ephemeral key and the recipient's, and no encrypted key travels. The header holds the
  ephemeral key and, as PartyVInfo, the card's id; PartyUInfo is empty.
- The content is JSON with `pin`, `card` and `exp` (Unix seconds), filled up with spaces so that its
  length does not tell the PIN's.
- Ephemeral key and initialisation vector come from the HSM.
"""

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

from pinvault.clearzone.envelope import p256
from pinvault.clearzone.envelope.text import base64url
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import MAX_DIGITS, Pin

ENCRYPTION = "A256GCM"
CONTENT_KEY_BYTES = 32
IV_BYTES = 12
TAG_BYTES = 16


class _PublicKey(msgspec.Struct, frozen=True):
    kty: str
    crv: str
    x: str
    y: str


class _Header(msgspec.Struct, frozen=True):
    alg: str
    enc: str
    epk: _PublicKey
    apv: str


def make_reveal(pin: Pin, *, recipient: bytes, card_id: str, expires: int, hsm: TimedDevice) -> str:
    """Give the compact JWE; `recipient` is an uncompressed point of 65 bytes, else ValueError."""
    private = p256.ephemeral(hsm)
    shared = private.exchange(ec.ECDH(), p256.public_key(recipient))
    party = card_id.encode()
    content_key = agreed_key(
        shared, algorithm=ENCRYPTION, apu=b"", apv=party, key_bytes=CONTENT_KEY_BYTES
    )
    protected, iv = _header(p256.public_point(private), party), hsm.random(IV_BYTES)
    sealed = AESGCM(content_key).encrypt(iv, _content(pin, card_id, expires), protected)
    parts = (b"", iv, sealed[:-TAG_BYTES], sealed[-TAG_BYTES:])
    return b".".join((protected, *map(base64url, parts))).decode()


def agreed_key(shared: bytes, *, algorithm: str, apu: bytes, apv: bytes, key_bytes: int) -> bytes:
    """Derive a key from a shared secret by the Concat KDF with SHA-256 (RFC 7518, 4.6.2).

    `algorithm` is the header's `enc`; `apu` and `apv` tell the parties.
    """
    told = (algorithm.encode(), apu, apv)
    other = b"".join(len(each).to_bytes(4) + each for each in told) + (8 * key_bytes).to_bytes(4)
    return ConcatKDFHash(algorithm=hashes.SHA256(), length=key_bytes, otherinfo=other).derive(
        shared
    )


def _header(point: bytes, party: bytes) -> bytes:
    """Give the protected header in base64url."""
    x, y = (base64url(point[part]).decode() for part in (p256.X_COORDINATE, p256.Y_COORDINATE))
    header = _Header(
        alg="ECDH-ES",
        enc=ENCRYPTION,
        epk=_PublicKey(kty="EC", crv="P-256", x=x, y=y),
        apv=base64url(party).decode(),
    )
    return base64url(msgspec.json.encode(header))


def _content(pin: Pin, card_id: str, expires: int) -> bytes:
    digits = digits_of(pin)
    content = b'{"pin":"%b","card":"%b","exp":%d}' % (digits, card_id.encode(), expires)
    return content + b" " * (MAX_DIGITS - len(digits))

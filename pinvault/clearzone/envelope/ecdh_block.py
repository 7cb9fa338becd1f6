"""A format 4 block under an AES key that an ephemeral and a static P-256 key agree on.

It is the way in which AWS Payment Cryptography takes and reveals PINs.

Rules:
- The content key is derived from the shared secret in one step (Concat KDF, NIST SP 800-56A
  revision 2, 5.8.1) with the hash and the shared information of the profile.
- The block is bound to the PAN of the call; nothing else authenticates it.
- A peer's point is checked to lie on the curve before the HSM sees it. The point and its
  mirror image give the same key, so the x coordinate and the block, and not the text, tell one
  envelope from another.
- The text is JSON: `ephemeralPublicKey`, the uncompressed point of 65 bytes in base64,
  `encryptedPinBlock` in upper-case hex and, where the sender names our key, `kid`.
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

from hsm.errors import HsmDataRefused
from pinvault.clearzone.envelope import p256
from pinvault.clearzone.envelope.one_message import (
    BLOCK_BYTES,
    decipher_block,
    decipher_of,
    encipher_block,
)
from pinvault.clearzone.envelope.opened import Opened, chosen, nonce_from
from pinvault.clearzone.envelope.plaintext import needed
from pinvault.clearzone.envelope.text import Text, members, read, write
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.iso9564 import format4
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.profiles import (
    Derivation,
    DerivationHash,
    EcdhBlockProfile,
    Encoding,
    SealedEcdhBlockProfile,
)

_HASHES: Mapping[DerivationHash, type[hashes.SHA256 | hashes.SHA512]] = {
    DerivationHash.SHA_256: hashes.SHA256,
    DerivationHash.SHA_512: hashes.SHA512,
}


class _Envelope(Text, frozen=True):
    ephemeral_public_key: str
    encrypted_pin_block: str
    kid: str | None = None


def make_ecdh_block(
    pin: Pin, *, profile: EcdhBlockProfile, key: Key, pan: Pan | None, hsm: TimedDevice
) -> str:
    """Give the JSON text."""
    partner = serialization.load_der_public_key(hsm.device.public_key(key.id))
    if not isinstance(partner, ec.EllipticCurvePublicKey):
        raise TypeError("an EC key is needed")
    private = p256.ephemeral(hsm)
    content_key = _derived(private.exchange(ec.ECDH(), partner), profile.derivation)
    block = encipher_block(pin, content_key=content_key, pan=needed(pan), hsm=hsm)
    return _Envelope(
        ephemeral_public_key=write(p256.public_point(private), Encoding.BASE64),
        encrypted_pin_block=write(block, Encoding.HEX_UPPER),
    ).dumps()


def open_ecdh_block(
    text: bytes,
    *,
    profile: SealedEcdhBlockProfile,
    keys: Mapping[str, Key],
    pan: Pan | None,
    hsm: TimedDevice,
) -> Opened:
    """Open the JSON text, or raise Malformed."""
    envelope = members(text, _Envelope)
    point = _on_the_curve(read(envelope.ephemeral_public_key, Encoding.BASE64))
    block = read(envelope.encrypted_pin_block, Encoding.HEX_UPPER)
    if len(block) != BLOCK_BYTES:
        raise Malformed
    key = chosen(keys, envelope.kid)
    try:
        shared = hsm.agree(point, key=key)
    except HsmDataRefused:
        raise Malformed from None
    content_key = _derived(shared, profile.derivation)
    field = decipher_block(block, decipher=decipher_of(content_key), pan=needed(pan))
    return Opened(
        key_id=key.id,
        nonce=nonce_from(key, point[p256.X_COORDINATE], block),
        read=lambda: format4.read_pin_field(field),
    )


def _on_the_curve(point: bytes) -> bytes:
    """Give an uncompressed point of the curve as it came, or raise Malformed."""
    try:
        p256.require_point(point)
    except ValueError:
        raise Malformed from None
    return point


def _derived(shared: bytes, derivation: Derivation) -> bytes:
    return ConcatKDFHash(
        algorithm=_HASHES[derivation.hash](),
        length=derivation.content_key.key_bytes,
        otherinfo=derivation.shared_info,
    ).derive(shared)

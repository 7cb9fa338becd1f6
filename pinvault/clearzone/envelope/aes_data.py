"""A PIN in AES-GCM or AES-CBC, the AES key under RSA.

Rules:
- GCM has a 12-byte IV and a 16-byte tag behind the ciphertext (SP 800-38D), CBC a 16-byte IV
  and PKCS #7 padding. CBC goes out only: nothing tells whether it was changed on its way.
- What comes in is opened inside the HSM: the content key never leaves it. Bad padding of the
  key and a bad tag look the same.
- The text is JSON: `encryptedKey`, `iv` and `encryptedPin` in base64 and, where the sender
  names our key, `kid`. IV, ciphertext and tag tell one envelope from another.
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

from hsm.device import ContentCipher
from hsm.errors import HsmDataRefused
from pinvault.clearzone.envelope.opened import Opened, chosen, nonce_from
from pinvault.clearzone.envelope.plaintext import read_plaintext, write_plaintext
from pinvault.clearzone.envelope.text import Text, members, read, write
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.profiles import (
    Encoding,
    RsaAesCbcProfile,
    RsaAesGcmProfile,
    SealedAesGcmProfile,
)

GCM_IV_BYTES = 12
TAG_BYTES = 16
BLOCK_BYTES = 16


class _Envelope(Text, frozen=True):
    encrypted_key: str
    iv: str
    encrypted_pin: str
    kid: str | None = None


def make_aes_gcm(
    pin: Pin, *, profile: RsaAesGcmProfile, key: Key, pan: Pan | None, hsm: TimedDevice
) -> str:
    """Give the JSON text."""
    content_key, iv = hsm.random(profile.content_key.key_bytes), hsm.random(GCM_IV_BYTES)
    plain = write_plaintext(pin, profile.plaintext, pan=pan, hsm=hsm)
    sealed = AESGCM(content_key).encrypt(iv, plain, None)
    return _text(hsm.encrypt(content_key, key=key, padding=profile.padding), iv, sealed)


def make_aes_cbc(
    pin: Pin, *, profile: RsaAesCbcProfile, key: Key, pan: Pan | None, hsm: TimedDevice
) -> str:
    """Give the JSON text."""
    content_key, iv = hsm.random(profile.content_key.key_bytes), hsm.random(BLOCK_BYTES)
    plain = write_plaintext(pin, profile.plaintext, pan=pan, hsm=hsm)
    padder = PKCS7(8 * BLOCK_BYTES).padder()
    cipher = Cipher(algorithms.AES(content_key), modes.CBC(iv)).encryptor()
    sealed = cipher.update(padder.update(plain) + padder.finalize())
    return _text(hsm.encrypt(content_key, key=key, padding=profile.padding), iv, sealed)


def open_aes_gcm(
    text: bytes,
    *,
    profile: SealedAesGcmProfile,
    keys: Mapping[str, Key],
    pan: Pan | None,
    hsm: TimedDevice,
) -> Opened:
    """Open the JSON text, or raise Malformed."""
    envelope = members(text, _Envelope)
    wrapped, iv, sealed = (
        read(part, Encoding.BASE64)
        for part in (envelope.encrypted_key, envelope.iv, envelope.encrypted_pin)
    )
    if len(iv) != GCM_IV_BYTES or len(sealed) <= TAG_BYTES:
        raise Malformed
    key = chosen(keys, envelope.kid)

    def work(content_key: ContentCipher) -> bytes:
        return content_key.open_gcm(iv=iv, aad=b"", sealed=sealed)

    try:
        plain = hsm.with_unwrapped(wrapped, work, key=key, content_key=profile.content_key)
    except HsmDataRefused:
        raise Malformed from None
    return Opened(
        key_id=key.id,
        nonce=nonce_from(key, iv, sealed),
        read=lambda: read_plaintext(plain, profile.plaintext, pan),
    )


def _text(wrapped: bytes, iv: bytes, sealed: bytes) -> str:
    return _Envelope(
        encrypted_key=write(wrapped, Encoding.BASE64),
        iv=write(iv, Encoding.BASE64),
        encrypted_pin=write(sealed, Encoding.BASE64),
    ).dumps()

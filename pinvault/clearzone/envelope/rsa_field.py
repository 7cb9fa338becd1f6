"""A PIN as one RSA ciphertext, with nothing around it.

Rules:
- The padding is random (PKCS #1 v1.5 or OAEP, RFC 8017), so two fields of one PIN differ.
- Of what comes in by PKCS #1 v1.5 padding and content are one question with one answer, and only
  a field that is right in both is spent: as a replay it would else tell that its padding was good.
- A field is as long as the modulus and, as a number, below it: else some HSMs would take one
  ciphertext in two spellings, and a field could be used twice.
- Nothing in a field names a key: it opens under the active version.
"""

from collections.abc import Mapping
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsm.errors import HsmDataRefused
from pinvault.clearzone.envelope.opened import Opened, chosen, nonce_from
from pinvault.clearzone.envelope.plaintext import read_plaintext, write_plaintext
from pinvault.clearzone.envelope.text import read, write
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.profiles import RsaFieldProfile, SealedRsaProfile


def make_field(
    pin: Pin, *, profile: RsaFieldProfile, key: Key, pan: Pan | None, hsm: TimedDevice
) -> str:
    """Give the field's text: 512 hex characters for RSA-2048, or 344 of base64."""
    plain = write_plaintext(pin, profile.plaintext, pan=pan, hsm=hsm)
    return write(hsm.encrypt(plain, key=key, padding=profile.padding), profile.encoding)


def open_field(
    text: bytes,
    *,
    profile: SealedRsaProfile,
    keys: Mapping[str, Key],
    pan: Pan | None,
    hsm: TimedDevice,
) -> Opened:
    """Open a field, or raise Malformed."""
    key = chosen(keys)
    ciphertext = read(text, profile.encoding)
    plain = decrypted(ciphertext, key=key, hsm=hsm)
    opened = Opened(
        key_id=key.id,
        nonce=nonce_from(key, ciphertext),
        read=lambda: read_plaintext(plain, profile.plaintext, pan),
    )
    if profile.accept_pkcs1_v1_5:
        opened.pin(profile.pin_length).wipe()
    return opened


def decrypted(ciphertext: bytes, *, key: Key, hsm: TimedDevice) -> bytes:
    """Decrypt a field, or raise Malformed."""
    modulus = _modulus(hsm.device.public_key(key.id))
    if len(ciphertext) * 8 != modulus.bit_length() or int.from_bytes(ciphertext) >= modulus:
        raise Malformed
    try:
        return hsm.decrypt(ciphertext, key=key)
    except HsmDataRefused:
        raise Malformed from None


@lru_cache(maxsize=64)
def _modulus(spki: bytes) -> int:
    """Give the modulus of a SubjectPublicKeyInfo, parsed once."""
    public = load_der_public_key(spki)
    if not isinstance(public, rsa.RSAPublicKey):
        raise TypeError("an RSA key is needed")
    return public.public_numbers().n

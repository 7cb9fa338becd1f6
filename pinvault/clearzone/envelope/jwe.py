"""PINs as compact JWEs (RFC 7516): RSA wraps a content key, A256GCM holds the PIN.

Rules:
- Of what comes in, `alg` is that of the key, `enc` is A256GCM, `kid` names a version of the
  profile's key; every other header member is refused, so nothing can be negotiated.
- The content key is unwrapped in the HSM. When that fails, a random one takes its
  place and the authentication tag fails instead: bad padding looks like any other fault.
- What our clients seal is JSON with `pin`, `nonce`, `exp` and, where bound, `pan` or `card`
  and `caller`, and no other member; their header must name the key. What others seal is a PIN
  alone: its tag and what the tag is of tell one from another.
- Whatever is wrong before the tag has been checked is `Malformed` and nothing else.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hsm.errors import HsmDataRefused
from pinvault.clearzone.envelope.opened import Opened, chosen, nonce_from, nonce_of
from pinvault.clearzone.envelope.plaintext import json_pin, read_plaintext, write_plaintext
from pinvault.clearzone.envelope.text import base64url, members, unbase64url
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.profiles import JweAlgorithm, JweInProfile, JweProfile, Padding

CONTENT_KEY_BYTES = 32
IV_BYTES = 12
TAG_BYTES = 16
PADDINGS: Mapping[JweAlgorithm, Padding] = {
    JweAlgorithm.RSA_OAEP: Padding.OAEP_SHA1,
    JweAlgorithm.RSA_OAEP_256: Padding.OAEP_SHA256,
    JweAlgorithm.RSA1_5: Padding.PKCS1_V1_5,
}
Caller = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9._:/@=-]{0,127}\Z")]
CardId = Annotated[str, msgspec.Meta(pattern=r"^card_[g-z]{26}\Z")]
_COMPACT = re.compile(rb"[A-Za-z0-9_-]{2,1024}(\.[A-Za-z0-9_-]{2,6144}){4}")


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    alg: str
    enc: Literal["A256GCM"]
    kid: str | None = None


class _NamingHeader(_Header, frozen=True):
    kid: str


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pin: msgspec.Raw
    nonce: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{16,64}\Z")]
    exp: Annotated[int, msgspec.Meta(gt=0, lt=1 << 40)]
    pan: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{12,19}\Z")] | None = None
    card: CardId | None = None
    caller: Caller | None = None

    def __repr__(self) -> str:
        return "<sealed content>"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decrypted:
    """A JWE whose tag was right."""

    key: Key
    content: bytes = field(repr=False)
    nonce: bytes


def open_jwe(compact: bytes, *, keys: Mapping[str, Key], hsm: TimedDevice) -> Opened:
    """Open what one of our clients sealed, or raise Malformed."""
    found = _decrypted(compact, _NamingHeader, keys=keys, hsm=hsm)
    sealed = members(found.content, _Content)
    return Opened(
        key_id=found.key.id,
        nonce=nonce_of(found.key, sealed.nonce),
        expires=sealed.exp,
        pan=Pan(sealed.pan) if sealed.pan is not None else None,
        card=sealed.card,
        caller=sealed.caller,
        read=lambda: json_pin(sealed.pin),
    )


def open_plain_jwe(
    compact: bytes,
    *,
    profile: JweInProfile,
    keys: Mapping[str, Key],
    pan: Pan | None,
    hsm: TimedDevice,
) -> Opened:
    """Open a JWE of a PIN alone, or raise Malformed. Its header may name the key."""
    found = _decrypted(compact, _Header, keys=keys, hsm=hsm)
    return Opened(
        key_id=found.key.id,
        nonce=found.nonce,
        read=lambda: read_plaintext(found.content, profile.plaintext, pan),
    )


def make_jwe(pin: Pin, *, profile: JweProfile, key: Key, pan: Pan | None, hsm: TimedDevice) -> str:
    """Give the compact JWE of a PIN alone."""
    header = _Header(alg=profile.algorithm.value, enc="A256GCM", kid=profile.kid)
    protected = base64url(msgspec.json.encode(header))
    content_key, iv = hsm.random(CONTENT_KEY_BYTES), hsm.random(IV_BYTES)
    wrapped = hsm.encrypt(content_key, key=key, padding=PADDINGS[profile.algorithm])
    plain = write_plaintext(pin, profile.plaintext, pan=pan, hsm=hsm)
    sealed = AESGCM(content_key).encrypt(iv, plain, protected)
    parts = (wrapped, iv, sealed[:-TAG_BYTES], sealed[-TAG_BYTES:])
    return b".".join((protected, *map(base64url, parts))).decode()


def _decrypted(
    compact: bytes, header: type[_Header], *, keys: Mapping[str, Key], hsm: TimedDevice
) -> _Decrypted:
    if _COMPACT.fullmatch(compact) is None:
        raise Malformed
    protected, *parts = compact.split(b".")
    key = _key_of(members(unbase64url(protected), header), keys)
    wrapped, iv, ciphertext, tag = map(unbase64url, parts)
    content_key = _unwrapped(wrapped, key=key, hsm=hsm)
    if len(iv) != IV_BYTES or len(tag) != TAG_BYTES:
        raise Malformed
    try:
        content = AESGCM(content_key).decrypt(iv, ciphertext + tag, protected)
    except InvalidTag:
        raise Malformed from None
    return _Decrypted(key=key, content=content, nonce=nonce_from(key, iv, tag, ciphertext))


def _key_of(header: _Header, keys: Mapping[str, Key]) -> Key:
    key = chosen(keys, header.kid)
    if header.alg != key.jwa:
        raise Malformed
    return key


def _unwrapped(wrapped: bytes, *, key: Key, hsm: TimedDevice) -> bytes:
    stand_in = secrets.token_bytes(CONTENT_KEY_BYTES)
    try:
        found = hsm.decrypt(wrapped, key=key)
    except HsmDataRefused:
        return stand_in
    return found if len(found) == CONTENT_KEY_BYTES else stand_in

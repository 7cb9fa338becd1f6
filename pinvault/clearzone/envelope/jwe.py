"""Opens a PIN that was sealed as a compact JWE (RFC 7516) under an RSA key of the HSM.

Rules:
- `alg` is that of the key, `enc` is A256GCM, `kid` names a version of the profile's
  key; every other header member is refused, so nothing can be negotiated.
- The content key is unwrapped in the HSM. When that fails, a random one takes its
  place and the authentication tag fails instead: bad padding looks like any other fault.
- What is sealed is JSON with `pin`, `nonce`, `exp` and, where bound, `pan`, and no other member.
- There is one way to write an envelope: bits of base64 that carry nothing must be zero.
- Whatever is wrong before the tag has been checked is `Malformed` and nothing else.
"""

import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hsm.device import Device, RsaPadding
from hsm.errors import HsmDataRefused
from pinvault.clearzone.pin import MAX_DIGITS, MIN_DIGITS, Malformed, Pin
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.profiles import PinLength

CONTENT_KEY_BYTES = 32
ANY_LENGTH = PinLength()
IV_BYTES = 12
TAG_BYTES = 16
PADDINGS: Mapping[str, RsaPadding] = {
    "RSA-OAEP": RsaPadding.OAEP_SHA1,
    "RSA-OAEP-256": RsaPadding.OAEP_SHA256,
}
# What reading JSON can raise: wrong types and values, text that is no UTF-8, nesting without end.
_UNREADABLE = (ValueError, RecursionError)
_COMPACT = re.compile(rb"[A-Za-z0-9_-]{2,1024}(\.[A-Za-z0-9_-]{2,6144}){4}")
_PIN = re.compile(rb'"([0-9]{%d,%d})"' % (MIN_DIGITS, MAX_DIGITS))


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    enc: Literal["A256GCM"]
    kid: str


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pin: msgspec.Raw
    nonce: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{16,64}\Z")]
    exp: Annotated[int, msgspec.Meta(gt=0, lt=1 << 40)]
    pan: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{12,19}\Z")] | None = None

    def __repr__(self) -> str:
        return "<sealed content>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An authenticated envelope; its PIN is not looked at yet.

    `key_id` is the version that opened it, `nonce` is unique to the envelope under that
    key, `expires` is in Unix seconds, `pan` is what it was bound to.
    """

    key_id: str
    nonce: bytes
    expires: int
    pan: Pan | None
    _pin: msgspec.Raw = field(repr=False)

    def pin(self, allowed: PinLength = ANY_LENGTH) -> Pin:
        """Give the PIN, or raise Malformed when it is not digits of an allowed number."""
        match = _PIN.fullmatch(bytes(self._pin))
        if match is None or not allowed.allows(len(match[1])):
            raise Malformed
        return Pin(match[1])


def open_jwe(
    compact: bytes, *, keys: Mapping[str, Key], device: Device, deadline: Deadline
) -> Opened:
    """Open a compact JWE of at most 8,192 bytes under one of `keys`, or raise Malformed."""
    if _COMPACT.fullmatch(compact) is None:
        raise Malformed
    protected, wrapped, iv, ciphertext, tag = compact.split(b".")
    key, padding = _chosen(_unbase64(protected), keys)
    content_key = _unwrap(
        _unbase64(wrapped), key_id=key.id, padding=padding, device=device, deadline=deadline
    )
    return _read(_decrypt(content_key, iv=iv, sealed=(ciphertext, tag), aad=protected), key.id)


def _chosen(protected: bytes, keys: Mapping[str, Key]) -> tuple[Key, RsaPadding]:
    try:
        header = msgspec.json.decode(protected, type=_Header)
    except _UNREADABLE:
        raise Malformed from None
    key = keys.get(header.kid)
    if key is None or header.alg != key.jwa:
        raise Malformed
    return key, PADDINGS[header.alg]


def _unwrap(
    wrapped: bytes, *, key_id: str, padding: RsaPadding, device: Device, deadline: Deadline
) -> bytes:
    stand_in = secrets.token_bytes(CONTENT_KEY_BYTES)
    try:
        found = device.rsa_decrypt(key_id, wrapped, padding=padding, timeout=deadline.remaining())
    except HsmDataRefused:
        return stand_in
    return found if len(found) == CONTENT_KEY_BYTES else stand_in


def _decrypt(content_key: bytes, *, iv: bytes, sealed: tuple[bytes, bytes], aad: bytes) -> bytes:
    nonce, ciphertext, tag = (_unbase64(part) for part in (iv, *sealed))
    if len(nonce) != IV_BYTES or len(tag) != TAG_BYTES:
        raise Malformed
    try:
        return AESGCM(content_key).decrypt(nonce, ciphertext + tag, aad)
    except InvalidTag:
        raise Malformed from None


def _read(content: bytes, key_id: str) -> Opened:
    try:
        sealed = msgspec.json.decode(content, type=_Content)
        return Opened(
            key_id=key_id,
            nonce=f"{key_id} {sealed.nonce}".encode(),
            expires=sealed.exp,
            pan=Pan(sealed.pan) if sealed.pan is not None else None,
            _pin=sealed.pin,
        )
    except _UNREADABLE:
        raise Malformed from None


def _unbase64(text: bytes) -> bytes:
    """Decode base64url without padding, whose alphabet has been checked."""
    if len(text) % 4 == 1:
        raise Malformed
    data = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text:
        raise Malformed
    return data

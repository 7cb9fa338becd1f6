"""The one-time key of a reveal, made where the PIN is shown: nobody else can open the answer.

Rules:
- A key lives for one reveal and in one process; its private half is never given out.
- The PIN comes from `RevealKey.open` and from nowhere else: show it and drop it.
- The envelope is ECDH-ES over P-256 with A256GCM (RFC 7518, 4.6 and 5.3). It opens for its card
  and in its time alone, and what is wrong with it is not told.
"""

import base64
import json
import time
from collections.abc import Callable
from typing import Any, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

from pinvault.client.card_values import RevealedPin

_COORDINATE_BYTES: Final = 32
_KEY_BYTES: Final = 32


class NotRevealed(Exception):
    """The envelope does not open: it is another key's or card's, or its time has passed."""

    def __init__(self) -> None:
        super().__init__("the sealed PIN does not open for this key and card, or not any more")


class RevealKey:
    """A P-256 key for one reveal; use `with`. `x` and `y` are the public half, base64url."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._private: ec.EllipticCurvePrivateKey | None = ec.generate_private_key(ec.SECP256R1())
        public = self._private.public_key().public_numbers()
        self.x, self.y = (
            _text(number.to_bytes(_COORDINATE_BYTES)) for number in (public.x, public.y)
        )
        self._now = now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._private = None

    def __repr__(self) -> str:
        return "<reveal key>"

    def open(self, revealed: RevealedPin) -> str:
        """Give the PIN, or raise NotRevealed."""
        if self._private is None:
            raise NotRevealed
        try:
            content = json.loads(_opened(revealed, self._private))
            is_good = content["card"] == revealed.card_id and content["exp"] > self._now()
            pin: str = content["pin"]
        except (InvalidTag, KeyError, TypeError, ValueError):
            raise NotRevealed from None
        if not is_good:
            raise NotRevealed
        return pin


def _opened(revealed: RevealedPin, private: ec.EllipticCurvePrivateKey) -> bytes:
    header, no_key, iv, ciphertext, tag = revealed.envelope.split(".")
    said: dict[str, Any] = json.loads(_bytes(header))
    apv = revealed.card_id.encode()
    if no_key or (said["alg"], said["enc"], _bytes(said["apv"])) != ("ECDH-ES", "A256GCM", apv):
        raise ValueError
    shared = private.exchange(ec.ECDH(), _point(said["epk"]))
    key = ConcatKDFHash(
        algorithm=SHA256(),
        length=_KEY_BYTES,
        otherinfo=_other_info(said["enc"].encode(), _bytes(said.get("apu", "")), apv),
    ).derive(shared)
    return AESGCM(key).decrypt(_bytes(iv), _bytes(ciphertext) + _bytes(tag), header.encode())


def _point(jwk: dict[str, str]) -> ec.EllipticCurvePublicKey:
    if (jwk["kty"], jwk["crv"]) != ("EC", "P-256"):
        raise ValueError
    x, y = (int.from_bytes(_bytes(jwk[name])) for name in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _other_info(algorithm: bytes, apu: bytes, apv: bytes) -> bytes:
    """Give what the key is derived over (RFC 7518, 4.6.2): three texts with lengths, and 256."""
    parts = b"".join(len(part).to_bytes(4) + part for part in (algorithm, apu, apv))
    return parts + (_KEY_BYTES * 8).to_bytes(4)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

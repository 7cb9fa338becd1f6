"""A JSON object of a nonce and a PIN as one RSA-OAEP ciphertext, in base64, as Lithic takes it.

Rules:
- `nonce` is an integer of 8 to 18 digits and the sender's to make unique; ours is random and
  has 16.
- No other member, and each once. Nothing outside names a key: it opens under the active version.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from pinvault.clearzone.envelope.opened import Opened, chosen, nonce_of
from pinvault.clearzone.envelope.plaintext import json_pin
from pinvault.clearzone.envelope.rsa_field import decrypted
from pinvault.clearzone.envelope.text import members, read, write
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.model.keys import Key
from pinvault.model.profiles import Encoding, RsaJsonProfile

NONCE_DIGITS = 16


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    nonce: Annotated[int, msgspec.Meta(ge=10**7, lt=10**18)]
    pin: msgspec.Raw

    def __repr__(self) -> str:
        return "<sealed content>"


def make_json(pin: Pin, *, profile: RsaJsonProfile, key: Key, hsm: TimedDevice) -> str:
    """Give the ciphertext's text: 344 characters for RSA-2048."""
    content = b'{"nonce":%b,"pin":"%b"}' % (_nonce(hsm).encode(), digits_of(pin))
    return write(hsm.encrypt(content, key=key, padding=profile.padding), Encoding.BASE64)


def open_json(text: bytes, *, keys: Mapping[str, Key], hsm: TimedDevice) -> Opened:
    """Open a ciphertext, or raise Malformed."""
    key = chosen(keys)
    content = members(decrypted(read(text, Encoding.BASE64), key=key, hsm=hsm), _Content)
    return Opened(
        key_id=key.id,
        nonce=nonce_of(key, str(content.nonce)),
        read=lambda: json_pin(content.pin),
    )


def _nonce(hsm: TimedDevice) -> str:
    """Draw an integer of 16 digits, each equally likely: one that begins with 0 is none."""
    while (digits := hsm.digits(NONCE_DIGITS)).startswith("0"):
        pass
    return digits

"""A format 4 block under an AES-256 key under RSA, bound to a token, as Adyen does.

Rules:
- The token is 16 random digits in place of the PAN (ISO 9564-1:2017, 9.3.6). It is what
  tells one envelope from another: under another token the block opens to nothing.
- What comes in is opened inside the HSM: the content key never leaves it. When it cannot be
  unwrapped, a field that holds no PIN stands in for what the block would have opened to.
- The text is JSON: `encryptedKey` and `encryptedPinBlock` in upper-case hex, `token` and, where
  the sender names our key, `kid`.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from hsm.device import ContentCipher
from hsm.errors import HsmDataRefused
from pinvault.clearzone.envelope.one_message import BLOCK_BYTES, decipher_block, encipher_block
from pinvault.clearzone.envelope.opened import Opened, chosen, nonce_of
from pinvault.clearzone.envelope.text import Text, members, read, write
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.iso9564 import format4
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.profiles import ContentKey, Encoding, RsaAesBlockProfile

CONTENT_KEY = ContentKey.AES_256
TOKEN_DIGITS = 16


class _Envelope(Text, frozen=True):
    encrypted_key: str
    encrypted_pin_block: str
    token: Annotated[str, Meta(pattern=rf"^[0-9]{{{TOKEN_DIGITS}}}\Z")]
    kid: str | None = None


def make_aes_block(pin: Pin, *, profile: RsaAesBlockProfile, key: Key, hsm: TimedDevice) -> str:
    """Give the JSON text."""
    content_key, token = hsm.random(CONTENT_KEY.key_bytes), hsm.digits(TOKEN_DIGITS)
    block = encipher_block(pin, content_key=content_key, pan=Pan(token), hsm=hsm)
    wrapped = hsm.encrypt(content_key, key=key, padding=profile.padding)
    return _Envelope(
        encrypted_key=write(wrapped, Encoding.HEX_UPPER),
        encrypted_pin_block=write(block, Encoding.HEX_UPPER),
        token=token,
    ).dumps()


def open_aes_block(text: bytes, *, keys: Mapping[str, Key], hsm: TimedDevice) -> Opened:
    """Open the JSON text, or raise Malformed."""
    envelope = members(text, _Envelope)
    wrapped, block = (
        read(part, Encoding.HEX_UPPER)
        for part in (envelope.encrypted_key, envelope.encrypted_pin_block)
    )
    if len(block) != BLOCK_BYTES:
        raise Malformed
    key, token = chosen(keys, envelope.kid), Pan(envelope.token)

    def work(content_key: ContentCipher) -> bytes:
        return decipher_block(block, decipher=content_key.decipher, pan=token)

    try:
        field = hsm.with_unwrapped(wrapped, work, key=key, content_key=CONTENT_KEY)
    except HsmDataRefused:
        field = bytes(BLOCK_BYTES)
    return Opened(
        key_id=key.id,
        nonce=nonce_of(key, envelope.token),
        read=lambda: format4.read_pin_field(field),
    )

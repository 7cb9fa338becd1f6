"""Opening and making key blocks (X9.143:2022; version E also ISO 20038:2017).

Rules:
- The keys that protect a block are in the HSM; only the key inside comes to this process.
- The MAC is compared, in constant time, before a bit of the payload is looked at; and whatever
  there is to be asked of the HSM has been asked by then.
- Versions B, D and E are made; a made block hides the length of its key.
- Versions A and C are legacy and are only opened: their MAC covers the ciphertext, and the two
  keys are variants of one.
"""

import hmac
from typing import Final, Protocol

from pinvault.clearzone.clear_key import ClearKey, bytes_of
from pinvault.clearzone.key_block.header import KeyBlockHeader, split, write_header
from pinvault.clearzone.key_block.malformed import Refused

LEGACY: Final = frozenset("AC")
"""Versions of the Key Variant Binding Method."""

RANDOM_BYTES: Final = 45
"""Random bytes that `make_block` takes: as many as could ever fill up a payload."""

_HIDDEN_BYTES: Final = {"D": 24, "T": 24, "A": 32}
"""Bytes that a key of each algorithm seems to have: X9.143 asks for the most that there are."""
_LENGTH_FIELD_BYTES: Final = 2


class OpeningKeys(Protocol):
    """The two keys that open a block, in the HSM; `hsm.key_blocks.KeyBlockKeys` has them."""

    def mac(self, data: bytes) -> bytes:
        """Give the MAC of the version, under the authentication key."""

    def decipher(self, data: bytes, *, iv: bytes) -> bytes:
        """Decipher in the version's mode, under the encryption key; as many bytes out as in."""


class MakingKeys(Protocol):
    """The two keys that make a block, in the HSM."""

    def mac(self, data: bytes) -> bytes:
        """Give the MAC of the version, under the authentication key."""

    def encipher(self, data: bytes, *, iv: bytes) -> bytes:
        """Encipher in the version's mode, under the encryption key; as many bytes out as in."""


def open_block(block: str, keys: OpeningKeys) -> tuple[KeyBlockHeader, ClearKey]:
    """Give the header of a key block, now authentic, and the key inside.

    MalformedBlock before the keys are asked; Refused for everything that is found after.
    """
    parts = split(block)
    legacy = parts.header.version in LEGACY
    payload = bytearray(keys.decipher(parts.payload, iv=parts.text[:8] if legacy else parts.mac))
    try:
        mac = keys.mac(parts.text + (parts.payload if legacy else payload))
        if not hmac.compare_digest(mac, parts.mac):
            raise Refused
        return parts.header, _key_in(payload)
    finally:
        payload[:] = bytes(len(payload))


def _key_in(payload: bytearray) -> ClearKey:
    """Give the key of an authentic payload: its length in bits (2 bytes), itself, random bytes."""
    bits = int.from_bytes(payload[:_LENGTH_FIELD_BYTES])
    end = _LENGTH_FIELD_BYTES + bits // 8
    if bits == 0 or bits % 8 or end > len(payload):
        raise Refused(cause="payload")
    return ClearKey(payload[_LENGTH_FIELD_BYTES:end])


def make_block(header: KeyBlockHeader, key: ClearKey, keys: MakingKeys, *, random: bytes) -> str:
    """Give the key block of a key. `random` is `RANDOM_BYTES` fresh random bytes."""
    if header.version in LEGACY or len(random) != RANDOM_BYTES:
        raise ValueError("a key block of versions B, D or E takes all its random bytes")
    payload = _payload(header, bytes_of(key), random)
    try:
        text = write_header(header, payload_bytes=len(payload))
        mac = keys.mac(text.encode() + payload)
        sealed = keys.encipher(bytes(payload), iv=mac)
    finally:
        payload[:] = bytes(len(payload))
    return text + (sealed + mac).hex().upper()


def _payload(header: KeyBlockHeader, key: bytes, random: bytes) -> bytearray:
    length = _LENGTH_FIELD_BYTES + max(len(key), _HIDDEN_BYTES.get(header.algorithm, len(key)))
    if header.form.whole_blocks:
        length += -length % header.form.block
    fill = length - _LENGTH_FIELD_BYTES - len(key)
    return bytearray((8 * len(key)).to_bytes(_LENGTH_FIELD_BYTES) + key + random[:fill])

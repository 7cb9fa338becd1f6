"""Format 4 blocks under an AES key that lives for one message (ISO 9564-1:2017, 9.3.6).

Rules:
- The key is used for the two encipherments of one block and for nothing else.
"""

from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.iso9564 import format4
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.pin import Pin
from pinvault.model.pan import Pan

BLOCK_BYTES = 16


def encipher_block(pin: Pin, *, content_key: bytes, pan: Pan, hsm: TimedDevice) -> bytes:
    """Give the 16-byte block under a content key of 16 or 32 bytes."""
    ecb = Cipher(algorithms.AES(content_key), modes.ECB()).encryptor()  # noqa: S305 - single blocks
    inner = ecb.update(format4.pin_field(pin, hsm.random(format4.RANDOM_BYTES)))
    return ecb.update(xor(inner, format4.pan_field(pan)))


def decipher_block(block: bytes, *, decipher: Callable[[bytes], bytes], pan: Pan) -> bytes:
    """Give the 16-byte PIN field; `decipher` is AES-ECB of one block under the content key."""
    return decipher(xor(decipher(block), format4.pan_field(pan)))


def decipher_of(content_key: bytes) -> Callable[[bytes], bytes]:
    """Give AES-ECB deciphering under a content key of this process."""
    return Cipher(algorithms.AES(content_key), modes.ECB()).decryptor().update  # noqa: S305 - single blocks

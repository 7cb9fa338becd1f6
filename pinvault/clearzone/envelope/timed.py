"""The HSM for the time of one call: every operation ends before the call's deadline.

Rules:
- What is enciphered for a partner is padded as the profile says; what is opened, as the key
  ring says of our key.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from hsm.device import Algorithm, ContentCipher, Device, RsaPadding
from hsm.mechanisms import JWA_PADDING
from pinvault.clearzone import drawing
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.profiles import ContentKey, Padding

PADDINGS: Mapping[Padding, RsaPadding] = MappingProxyType(
    {
        Padding.PKCS1_V1_5: RsaPadding.PKCS1_V1_5,
        Padding.OAEP_SHA1: RsaPadding.OAEP_SHA1,
        Padding.OAEP_SHA256: RsaPadding.OAEP_SHA256,
    }
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TimedDevice:
    """A device, and the moment by which it must have answered."""

    device: Device
    deadline: Deadline

    def random(self, length: int) -> bytes:
        """Give random bytes."""
        return self.device.random(length, timeout=self.deadline.remaining())

    def digits(self, count: int) -> str:
        """Give random decimal digits, each equally likely."""
        return drawing.digits(count, self.random).decode()

    def encrypt(self, plaintext: bytes, *, key: Key, padding: Padding) -> bytes:
        """Encrypt for the partner that holds the private half of `key`."""
        return self.device.rsa_encrypt(
            key.id, plaintext, padding=PADDINGS[padding], timeout=self.deadline.remaining()
        )

    def decrypt(self, ciphertext: bytes, *, key: Key) -> bytes:
        """Decrypt under our RSA key; HsmDataRefused when the ciphertext is no good one."""
        return self.device.rsa_decrypt(
            key.id, ciphertext, padding=_padding_of(key), timeout=self.deadline.remaining()
        )

    def with_unwrapped(
        self,
        wrapped: bytes,
        work: Callable[[ContentCipher], T],
        *,
        key: Key,
        content_key: ContentKey,
    ) -> T:
        """Give what `work` makes of a content key in the HSM; HsmDataRefused as `decrypt`."""
        return self.device.with_unwrapped(
            key.id,
            wrapped,
            work,
            padding=_padding_of(key),
            algorithm=Algorithm(content_key.value),
            timeout=self.deadline.remaining(),
        )

    def agree(self, peer: bytes, *, key: Key) -> bytes:
        """Give the 32-byte secret shared with a peer's uncompressed point of 65 bytes."""
        return self.device.agree(key.id, peer, timeout=self.deadline.remaining())


def _padding_of(key: Key) -> RsaPadding:
    if key.jwa is None:
        raise ValueError("the key has no padding in the key ring")
    return JWA_PADDING[key.jwa]

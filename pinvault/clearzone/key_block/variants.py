"""The protecting keys of versions A and C (legacy, TR-31:2005), by two keys of the HSM.

Rules:
- The HSM has the two variants of the protecting key, each a key of its own: all bytes with 45 added
  to encipher, with 4D added to authenticate. It enciphers and deciphers in ECB only, so the
  chaining is done here, on ciphertext and on what the variant lets this process see.
- How often the HSM is asked depends on the length of the block alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pinvault.clearzone.iso9564.fields import xor

Ecb = Callable[[bytes], bytes]
"""Whole blocks of 8 bytes in ECB under one variant in the HSM."""

MAC_BYTES: Final = 4
_BLOCK: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantKeys:
    """The two variants, as `open_block` asks for them."""

    encipher_mac: Ecb
    decipher_key: Ecb

    def mac(self, data: bytes) -> bytes:
        """Give the first 4 bytes of the CBC-MAC (ISO 9797-1 algorithm 1) of whole blocks."""
        state = bytes(_BLOCK)
        for start in range(0, len(data), _BLOCK):
            state = self.encipher_mac(xor(state, data[start : start + _BLOCK]))
        return state[:MAC_BYTES]

    def decipher(self, data: bytes, *, iv: bytes) -> bytes:
        """Decipher whole blocks in CBC."""
        return xor(self.decipher_key(data), iv + data[:-_BLOCK])

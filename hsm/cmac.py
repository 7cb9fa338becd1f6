"""The subkeys of CMAC (SP 800-38B, 6.1), for those keys that may do no CMAC themselves.

Rules:
- Only for a message of one block, whose CMAC is one encipherment of the block xor a subkey: K1 for
  a whole block, K2 for one that is padded (SP 800-38B, 6.2).
- They are secret, and kept nowhere.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_CONSTANTS: Final[Mapping[int, int]] = MappingProxyType({8: 0x1B, 16: 0x87})
"""What the doubling of a block of 8 or 16 bytes is reduced by (SP 800-38B, 5.3)."""


def subkeys(zeros: bytes) -> tuple[bytes, bytes]:
    """K1 and K2 of the key under which a block of zeros is enciphered as `zeros`, 8 or 16 bytes.

    >>> k1, k2 = subkeys(bytes.fromhex("7DF76B0C1AB899B33E42F047B91B546F"))
    >>> k1.hex().upper(), k2.hex().upper()
    ('FBEED618357133667C85E08F7236A8DE', 'F7DDAC306AE266CCF90BC11EE46D513B')
    """
    first = _doubled(zeros)
    return first, _doubled(first)


def xor(block: bytes, subkey: bytes) -> bytes:
    """The block that is enciphered: as long as the subkey, padded with a one and zeros to that.

    >>> xor(bytes(2), bytes(8)).hex()
    '0000800000000000'
    """
    whole = block if len(block) == len(subkey) else (block + b"\x80").ljust(len(subkey), b"\0")
    return bytes(a ^ b for a, b in zip(whole, subkey, strict=True))


def _doubled(block: bytes) -> bytes:
    """Multiplied by x in GF(2^64) or GF(2^128)."""
    bits = len(block) * 8
    number = int.from_bytes(block, "big") << 1
    if number >> bits:
        number ^= 1 << bits | _CONSTANTS[len(block)]
    return number.to_bytes(len(block), "big")

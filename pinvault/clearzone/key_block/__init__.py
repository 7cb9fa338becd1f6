"""Key blocks as of X9.143:2022 (before: TR-31:2018) and ISO 20038:2017.

Rules:
- Versions B, D and E are opened and made; A and C are legacy and only opened.
- What is wrong with a block's shape is told (`MalformedBlock`), before the HSM is touched; what is
  wrong inside is not (`Refused`).
"""

from pinvault.clearzone.key_block.header import KeyBlockHeader, parse_header
from pinvault.clearzone.key_block.malformed import MalformedBlock, Refused
from pinvault.clearzone.key_block.optional import OptionalBlock
from pinvault.clearzone.key_block.variants import VariantKeys
from pinvault.clearzone.key_block.wrap import LEGACY, RANDOM_BYTES, make_block, open_block

__all__ = [
    "LEGACY",
    "RANDOM_BYTES",
    "KeyBlockHeader",
    "MalformedBlock",
    "OptionalBlock",
    "Refused",
    "VariantKeys",
    "make_block",
    "open_block",
    "parse_header",
]

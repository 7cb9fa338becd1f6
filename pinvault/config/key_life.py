"""The section about the end of keys: by day, and by blocks that a TDES key enciphered."""

from typing import Annotated

from msgspec import Meta

from pinvault.config.section import Section

Days = Annotated[int, Meta(ge=0, le=3650)]
Blocks = Annotated[int, Meta(ge=0, lt=2**53)]


class KeyLife(Section, frozen=True):
    """`warn_days` before its last day a key is warned of.

    PIN blocks enciphered under one TDES key are counted over all workers of the host and over
    restarts, since blocks of 8 bytes repeat themselves after some 2^32 of them. 0 is never.
    """

    warn_days: Days = 30
    tdes_warn_blocks: Blocks = 65_536
    tdes_refuse_blocks: Blocks = 0

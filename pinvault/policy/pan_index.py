"""A keyed hash that stands for a PAN wherever one must be recognised but not read.

Rules:
- HMAC-SHA256 under a key that only the HSM can give (derived at start from a key of
  usage M7), so that neither the audit log nor a table of limits can be searched for a PAN.
"""

import hmac

from pinvault.model.pan import Pan

KEY_BYTES = 32


class PanIndex:
    """Gives the index of PANs under one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("the index key has 32 bytes")
        self._key = key

    def of(self, pan: Pan) -> bytes:
        """Give the 32-byte index of a PAN."""
        return hmac.digest(self._key, pan.digits().encode(), "sha256")

    def account_of(self, pan: Pan) -> bytes:
        """Give the 32-byte index of the account by which limits are kept: eight digits of the PAN.

        Kept by the whole PAN, a limit could be passed by. Another prefix or check digit gives
        the very same format 0 block; and where PAN digits overlay PIN digits (the first two of
        the twelve for a PIN of four digits, the first four for one of six), another PAN with
        another PIN does. The last eight of the twelve are what no such trick can change.
        """
        return hmac.digest(self._key, b"account " + pan.account()[4:].encode(), "sha256")

    def __repr__(self) -> str:
        return "<PAN index>"

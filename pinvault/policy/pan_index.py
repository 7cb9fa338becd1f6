"""A keyed hash that stands for a PAN wherever one must be recognised but not read.

Rules:
- The key is one that only the HSM can give (derived at start from a key of usage M7), so that
  neither the audit log nor a table of limits can be searched for a PAN.
- What the audit log keeps is an HMAC-SHA256; what stays in the process and its table, a keyed
  BLAKE2b under a key of its own.
"""

import hashlib
import hmac

from pinvault.model.pan import Pan

KEY_BYTES = 32


class PanIndex:
    """Gives the index of PANs under one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("the index key has 32 bytes")
        self._key = key
        self._account_key = hmac.digest(key, b"account", "sha256")

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
        last_eight = pan.account()[4:].encode()
        return hashlib.blake2b(last_eight, digest_size=32, key=self._account_key).digest()

    def natural_of(self, parameters: bytes) -> bytes:
        """Give the 32-byte index of what a natural PIN is made of, which cards may share."""
        return hashlib.blake2b(
            b"natural " + parameters, key=self._account_key, digest_size=32
        ).digest()

    def __repr__(self) -> str:
        return "<PAN index>"

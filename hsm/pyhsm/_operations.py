"""Signatures, ciphers, digests and random numbers: what is done with keys that are there.

Rules:
- Mechanisms are the caller's choice, as in py-hsm; some of them are broken. Keys that must not be
  used so say so themselves, by CKA_ALLOWED_MECHANISMS.
- The parameter of a mechanism is made by `_raw`, and nowhere else.
"""

from typing import Any, Final

from hsm.pyhsm import _raw
from hsm.pyhsm._border import guarded
from hsm.pyhsm._objects import Objects
from hsm.pyhsm.hsmenums import HsmMech
from hsm.pyhsm.hsmerror import HsmError

_MOST_RANDOM_BYTES: Final = 1000
_LEAST_ENTROPY_BYTES: Final = 32


class Operations(Objects):
    """What can be done with data."""

    @guarded
    def sign(
        self, handle: int, data: bytes, mechanism: HsmMech | int, pss_salt_length: int = 0
    ) -> bytes:
        """A signature or MAC. `pss_salt_length`, in bytes, is for the PSS mechanisms."""
        chosen = _raw.mechanism(mechanism)
        parameter = _raw.plain(chosen, salt_length=pss_salt_length)
        return bytes(self._key(handle).sign(data, mechanism=chosen, mechanism_param=parameter))

    @guarded
    def verify(
        self,
        handle: int,
        data: bytes,
        signature: bytes,
        mechanism: HsmMech | int,
        pss_salt_length: int = 0,
    ) -> bool:
        """Whether the signature or MAC is right. One of a wrong length is not."""
        chosen = _raw.mechanism(mechanism)
        parameter = _raw.plain(chosen, salt_length=pss_salt_length)
        return bool(
            self._key(handle).verify(data, signature, mechanism=chosen, mechanism_param=parameter)
        )

    @guarded
    def encrypt(
        self, handle: int, data: bytes, mechanism: HsmMech | int, iv: bytes = b"\x00"
    ) -> bytes:
        """The ciphertext. `iv` is for the mechanisms that chain; OAEP is with SHA-1."""
        chosen = _raw.mechanism(mechanism)
        parameter = _raw.vector(chosen, iv)
        return bytes(self._key(handle).encrypt(data, mechanism=chosen, mechanism_param=parameter))

    @guarded
    def decrypt(
        self, handle: int, data: bytes, mechanism: HsmMech | int, iv: bytes = b"\x00"
    ) -> bytes:
        """The plaintext. `iv` is for the mechanisms that chain; OAEP is with SHA-1."""
        chosen = _raw.mechanism(mechanism)
        parameter = _raw.vector(chosen, iv)
        return bytes(self._key(handle).decrypt(data, mechanism=chosen, mechanism_param=parameter))

    @guarded
    def digest(self, data: bytes, mechanism: HsmMech | int) -> bytes:
        """The hash of `data`."""
        chosen = _raw.mechanism(mechanism)
        parameter = _raw.plain(chosen)
        session = self._active().session
        return bytes(session.digest(data, mechanism=chosen, mechanism_param=parameter))

    @guarded
    def wrap_key(
        self,
        key_handle: int,
        wrap_key_handle: int,
        wrap_key_mech: HsmMech | int,
        wrap_key_iv: bytes,
    ) -> bytes:
        """A key enciphered under another. `wrap_key_iv` is the label for OAEP; b"" is none."""
        chosen = _raw.mechanism(wrap_key_mech)
        parameter = _raw.vector(chosen, wrap_key_iv, label=wrap_key_iv)
        wrapping, wrapped = self._key(wrap_key_handle), self._key(key_handle)
        return bytes(wrapping.wrap_key(wrapped, mechanism=chosen, mechanism_param=parameter))

    @guarded
    def generate_random(self, size: int = 16) -> bytes:
        """`size` random bytes, at most 1,000."""
        if not 0 < size <= _MOST_RANDOM_BYTES:
            raise HsmError("size must be from 1 to 1000")
        return self._active().session.generate_random(8 * size)

    @guarded
    def seed_random(self, seed: bytes) -> None:
        """Mix `seed` into the token's random number generator."""
        self._active().session.seed_random(seed)

    @guarded
    def seed_random_hashfold(self, entropy: bytes) -> None:
        """Mix in `entropy`, at least 32 bytes, its own SHA-256 XORed over the first 32 of them."""
        if len(entropy) < _LEAST_ENTROPY_BYTES:
            raise HsmError("entropy must have at least 32 bytes")
        digest = self.digest(entropy, HsmMech.SHA256)
        folded = bytes(a ^ b for a, b in zip(entropy, digest, strict=False))
        self.seed_random(folded + entropy[len(digest) :])

    def _key(self, handle: int) -> Any:
        return _raw.key(self._active().session, handle)

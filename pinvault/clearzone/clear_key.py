"""A secret key in the clear: a value that cannot be printed, compared, hashed, pickled or copied.

Rules:
- It exists only where a key comes or goes in a key block or in components, for the length of one
  function, and only when the configuration turns that on.
- Its bytes can be read only through `bytes_of`, the one door; check values and judgements are
  computed here.
- It lives inside a `with` block that overwrites and empties it on the way out. Python may have made
  copies by then; SECURITY.md says what closes that gap.
"""

import hmac
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Final, Self, final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from hsm import check_values
from hsm.vocabulary import Algorithm, Family
from pinvault.model.unprintable import Unprintable

DES_BYTES: Final = 8

_SIDES: Final = ((0x01, 0x01), (0x1F, 0x0E), (0xE0, 0xF1), (0xFE, 0xFE))
WEAK: Final = frozenset(bytes((a, b) * 2 + (c, d) * 2) for a, c in _SIDES for b, d in _SIDES)
"""The 4 weak and 12 semi-weak keys of DES (SP 800-67), each with odd parity."""


@final
class ClearKey(Unprintable):
    """The bytes of a secret key.

    >>> with ClearKey(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")) as key:
    ...     print(key, [key], f"{key:>12}")
    <clear key> [<clear key>] <clear key>
    """

    __slots__ = ("_value",)

    NAME = "clear key"

    def __init__(self, value: bytes | bytearray) -> None:
        """Take a copy of the key's bytes."""
        self._value = bytearray(value)

    @classmethod
    def combined(cls, parts: Iterable[bytes]) -> Self:
        """Give the sum modulo 2 of parts of one length; ValueError for lengths that differ.

        >>> with ClearKey.combined([bytes.fromhex("F00F"), bytes.fromhex("FF00")]) as key:
        ...     bytes_of(key).hex().upper()
        '0F0F'
        """
        first, *others = parts
        key = cls(first)
        for other in others:
            for at, (mine, its) in enumerate(zip(key._value, other, strict=True)):
                key._value[at] = mine ^ its
        return key

    def set_odd_parity(self) -> None:
        """Give every byte the odd parity of DES, which changes no ciphertext.

        >>> with ClearKey(bytes.fromhex("0001FEFF")) as key:
        ...     key.set_odd_parity()
        ...     bytes_of(key).hex().upper()
        '0101FEFE'
        """
        self._value[:] = bytes(byte ^ (byte.bit_count() & 1 ^ 1) for byte in self._value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wipe()

    def wipe(self) -> None:
        """Overwrite the bytes with zeros, and drop them: a key of zeros would still encipher."""
        self._value[:] = bytes(len(self._value))
        self._value.clear()


def bytes_of(key: ClearKey) -> bytes:
    """Give the key's bytes; ValueError when it has been wiped. This is the one door."""
    if not key._value:  # noqa: SLF001 - this is the door
        raise ValueError("the clear key has been wiped")
    return bytes(key._value)  # noqa: SLF001 - this is the door


def check_value_of(key: ClearKey, algorithm: Algorithm) -> str:
    """Give the check value that the HSM computes for the same key, in upper-case hex.

    TDES: 3 bytes of zeros enciphered; AES: 5 bytes of the CMAC of zeros; HMAC: 3 bytes of the MAC
    of nothing (`hsm.check_values`). ValueError for a key of another length.

    >>> with ClearKey(bytes.fromhex("5DB50B454F8389ADCE573BE50861F2BF")) as key:
    ...     check_value_of(key, Algorithm.TDES_2KEY), check_value_of(key, Algorithm.AES_128)
    ('5C9405', '5BA8320A9D')
    """
    value = bytes_of(key)
    if len(value) * 8 != algorithm.bits:
        raise ValueError("the key has not the length of its algorithm")
    return _measured(value, algorithm.family).hex().upper()


def _measured(value: bytes, family: Family) -> bytes:
    match family:
        case Family.TDES:
            three = value if len(value) == 3 * DES_BYTES else value + value[:DES_BYTES]
            return check_values.tdes(lambda block: _ecb(TripleDES(three), block))
        case Family.AES:
            return check_values.aes(lambda block: _ecb(AES(value), block))
        case Family.HMAC:
            return check_values.hmac_sha256(partial(hmac.digest, value, digest="sha256"))
        case _:
            raise ValueError("a key pair has no value to check")


def is_sound(key: ClearKey, algorithm: Algorithm) -> bool:
    """Tell whether a key of the algorithm's length may be used at all.

    A TDES key has odd parity here; its single keys differ, and none is weak (SP 800-67).
    """
    value = bytes_of(key)
    if algorithm.family is not Family.TDES:
        return any(value)
    singles = {value[at : at + DES_BYTES] for at in range(0, len(value), DES_BYTES)}
    return len(singles) * DES_BYTES == len(value) and not singles & WEAK


def _ecb(algorithm: BlockCipherAlgorithm, block: bytes) -> bytes:
    return Cipher(algorithm, modes.ECB()).encryptor().update(block)  # noqa: S305 - one block

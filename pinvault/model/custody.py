"""Keys that are still to be: what a new key shall be, what was made, and a custodian's component.

Rules:
- The words are those of ANSI X9.143 (TR-31), as for the keys of the ring.
- Nothing here is a key's value, but for `KeyComponent`: it cannot be printed, compared, hashed,
  pickled or copied, and only the clear zone reveals it; a test looks for who else would.
"""

import hmac
from binascii import unhexlify
from dataclasses import dataclass
from datetime import date
from enum import StrEnum, unique
from typing import Final, Self, final

from pinvault.model.keys import Algorithm, Key, Mode, Origin, Usage
from pinvault.model.unprintable import Unprintable

COMPONENT_BYTES: Final = (16, 24, 32)
"""Lengths of the secret keys that come in components: TDES of two or three keys, and AES."""


@unique
class Exportability(StrEnum):
    """X9.143 exportability: whether a key may leave again in a key block."""

    E = "E"  # exportable under a KBPK, in a trusted form
    S = "S"  # sensitive: treated as E
    N = "N"  # not exportable


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """What a key version shall be, before it exists. `valid_until` is its last day.

    `jwa` is the algorithm (RFC 7518) of a key pair that has one.
    """

    name: str
    version: int
    usage: Usage
    algorithm: Algorithm
    mode: Mode
    valid_from: date
    valid_until: date | None = None
    destroyable: bool = False
    jwa: str | None = None

    @property
    def id(self) -> str:
        """`name/version`, the key's label in the token."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedKey:
    """What the next version of a name shall be, whichever number it gets."""

    name: str
    usage: Usage
    algorithm: Algorithm
    mode: Mode
    valid_until: date | None = None
    destroyable: bool = False
    jwa: str | None = None

    @classmethod
    def like(cls, key: Key, *, valid_until: date | None) -> Self:
        """Want another version of a key."""
        return cls(
            name=key.name,
            usage=key.usage,
            algorithm=key.algorithm,
            mode=key.mode,
            valid_until=valid_until,
            jwa=key.jwa,
        )

    def as_version(self, version: int, *, valid_from: date) -> NewKey:
        """Give the version that this becomes."""
        return NewKey(
            name=self.name,
            version=version,
            usage=self.usage,
            algorithm=self.algorithm,
            mode=self.mode,
            valid_from=valid_from,
            valid_until=self.valid_until,
            destroyable=self.destroyable,
            jwa=self.jwa,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKey:
    """A key that is in the token and in no key ring yet, with what the token measured of it.

    `check_value` is upper-case hex; the other two stand for the keys that need them in the ring.
    """

    key: NewKey
    origin: Origin
    check_value: str
    decipher_check_value: str | None = None
    derivation_check_value: str | None = None


@final
class KeyComponent(Unprintable):
    """One custodian's component of a key: 16, 24 or 32 bytes.

    >>> component = KeyComponent.from_hex("0123456789ABCDEF FEDCBA9876543210")
    >>> print(component, [component], f"{component:>20}")
    <key component> [<key component>] <key component>
    >>> KeyComponent.from_hex("01234")
    Traceback (most recent call last):
    ValueError: a key component is 32, 48 or 64 hex digits
    """

    __slots__ = ("_value",)

    NAME = "key component"

    def __init__(self, value: bytes | bytearray) -> None:
        """Take 16, 24 or 32 bytes; ValueError otherwise."""
        if len(value) not in COMPONENT_BYTES:
            raise ValueError("a key component is 16, 24 or 32 bytes")
        self._value = bytearray(value)

    @classmethod
    def from_hex(cls, text: str | bytes | bytearray) -> Self:
        """Take 32, 48 or 64 hex digits, with spaces where they help the eye; ValueError else."""
        digits = text.replace(" ", "") if isinstance(text, str) else text.replace(b" ", b"")
        try:
            return cls(unhexlify(digits))
        except ValueError:
            # Not chained: an error of the decoder may tell which digit is wrong.
            raise ValueError("a key component is 32, 48 or 64 hex digits") from None

    @property
    def length(self) -> int:
        """The component's length in bytes."""
        return len(self._value)

    @property
    def is_zero(self) -> bool:
        """Whether every byte is zero, which adds nothing to the key."""
        return not any(self._value)

    @property
    def has_odd_parity(self) -> bool:
        """Whether every byte has an odd number of ones, as those of a TDES key (ANSI X3.92)."""
        return all(byte.bit_count() % 2 for byte in self._value)

    def same_as(self, other: "KeyComponent") -> bool:
        """Tell whether two components are one value, in constant time."""
        return hmac.compare_digest(self._value, other._value)  # noqa: SLF001 - of this class

    def in_the_clear(self) -> bytes:
        """Give the bytes, for the length of one function of the clear zone. Nothing else asks."""
        return bytes(self._value)

    def wipe(self) -> None:
        """Overwrite the bytes with zeros; the component is of no use afterwards."""
        self._value[:] = bytes(len(self._value))

"""Keys as the floors above the HSM know them: names, attributes and check values, never values.

Rules:
- The words are those of ANSI X9.143 (TR-31): usage, algorithm, mode of use.
- A name without a version means the active version; `name/version` means that one.
- What a key may be used for is decided here, before the HSM is touched.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum, unique

from pinvault.model.errors import Reason, Refusal


@unique
class Usage(StrEnum):
    """X9.143 key usage."""

    B0 = "B0"
    D0 = "D0"
    D1 = "D1"
    E0 = "E0"
    E1 = "E1"
    E2 = "E2"
    K0 = "K0"
    K1 = "K1"
    K2 = "K2"
    K3 = "K3"
    M1 = "M1"
    M7 = "M7"
    P0 = "P0"
    S0 = "S0"
    V1 = "V1"
    V2 = "V2"


@unique
class Algorithm(StrEnum):
    """Algorithm and size."""

    TDES_2KEY = "TDES_2KEY"
    TDES_3KEY = "TDES_3KEY"
    AES_128 = "AES_128"
    AES_192 = "AES_192"
    AES_256 = "AES_256"
    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    EC_P256 = "EC_P256"
    HMAC_SHA256 = "HMAC_SHA256"

    @property
    def family(self) -> str:
        """The first word of the name."""
        return self.partition("_")[0]

    @property
    def block_bytes(self) -> int:
        """The cipher's block size in bytes; 0 for what is no block cipher."""
        if self.startswith("TDES"):
            return 8
        return 16 if self.startswith("AES") else 0


@unique
class Mode(StrEnum):
    """X9.143 mode of use."""

    B = "B"
    C = "C"
    D = "D"
    E = "E"
    G = "G"
    S = "S"
    V = "V"
    X = "X"


@unique
class State(StrEnum):
    """Whether a key version may be used."""

    ACTIVE = "active"
    DECIPHER_ONLY = "decipher-only"
    RETIRED = "retired"


@unique
class Origin(StrEnum):
    """How a key came into the HSM."""

    GENERATED = "generated"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One version of a key. `check_value` is upper-case hex; dates are UTC days.

    `valid_until` is the last day on which the key is valid.
    """

    name: str
    version: int
    usage: Usage
    algorithm: Algorithm
    mode: Mode
    check_value: str
    state: State
    origin: Origin
    valid_from: date
    valid_until: date | None = None
    jwa: str | None = None

    @property
    def id(self) -> str:
        """`name/version`, the key's label in the token."""
        return f"{self.name}/{self.version}"

    def within_cryptoperiod(self, today: date) -> bool:
        """Tell whether `today` lies in the key's cryptoperiod."""
        return self.valid_from <= today and (self.valid_until is None or today <= self.valid_until)

    def deciphers(self, today: date) -> bool:
        """Tell whether the key may still decipher: when active for good, else to its last day."""
        if self.state is State.ACTIVE:
            return self.valid_from <= today
        return self.state is State.DECIPHER_ONLY and self.within_cryptoperiod(today)


class KeyDirectory:
    """All keys of the key ring, found by `name` or `name/version`."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._by_id = {key.id: key for key in sorted(keys, key=lambda key: (key.name, key.version))}
        self._active = {key.name: key for key in self._by_id.values() if key.state is State.ACTIVE}

    def __iter__(self) -> Iterator[Key]:
        """Give the keys by name, then version."""
        return iter(self._by_id.values())

    def get(self, reference: str) -> Key | None:
        """Give the key that `name` (its active version) or `name/version` means, if there is."""
        return (self._by_id if "/" in reference else self._active).get(reference)

    def find(self, reference: str, *, field: str) -> Key:
        """Give the key that `name` or `name/version` means, or refuse."""
        key = self.get(reference)
        if key is None:
            raise Refusal(Reason.KEY_UNKNOWN, field=field)
        return key

    def newest(self, name: str) -> Key | None:
        """Give the highest version of a name, whatever its state, if there is one."""
        return next((key for key in reversed(self._by_id.values()) if key.name == name), None)

    def versions(self, name: str) -> tuple[Key, ...]:
        """Give every version of a name that is not retired, newest first."""
        found = [k for k in self if k.name == name and k.state is not State.RETIRED]
        return tuple(reversed(found))


def require(
    key: Key, *, usage: Usage, modes: frozenset[Mode], enciphers: bool, today: date, field: str
) -> None:
    """Refuse a key whose usage, mode, state or cryptoperiod does not fit the place it is named in.

    An active key past its cryptoperiod still deciphers: what was made under it in time stays
    readable until another version takes over. From then on the last day is the last.
    """
    if key.usage is not usage or key.mode not in modes:
        raise Refusal(Reason.KEY_USAGE_MISMATCH, field=field)
    if not key.deciphers(today):
        raise Refusal(Reason.KEY_STATE, field=field)
    if enciphers and not (key.state is State.ACTIVE and key.within_cryptoperiod(today)):
        raise Refusal(Reason.KEY_STATE, field=field)

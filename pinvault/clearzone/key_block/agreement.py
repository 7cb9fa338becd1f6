"""What a key block says of its key, beside what the service knows of keys.

Rules:
- A header and a new key agree in usage, algorithm and mode of use, word for word; a mode without
  restriction (N) agrees with none.
- The key that protects is at least as strong as the key inside (X9.143; PCI PIN 18), and of the
  cipher that the version asks for.
- A made header tells the key's check value, and of an HMAC key its hash.
"""

from collections.abc import Mapping
from itertools import dropwhile
from types import MappingProxyType
from typing import Final

from hsm.vocabulary import Algorithm, Family
from pinvault.clearzone.clear_key import ClearKey, bytes_of, check_value_of
from pinvault.clearzone.key_block import optional
from pinvault.clearzone.key_block.header import KeyBlockHeader
from pinvault.clearzone.key_block.optional import OptionalBlock
from pinvault.model.custody import NewKey
from pinvault.model.errors import Reason, Refusal

_LETTERS: Final[Mapping[Family, str]] = MappingProxyType(
    {Family.TDES: "T", Family.AES: "A", Family.HMAC: "H"}
)
_SIZED: Final[Mapping[tuple[str, int], Algorithm]] = MappingProxyType(
    {
        (_LETTERS[algorithm.family], algorithm.bits): algorithm
        for algorithm in Algorithm
        if algorithm.family in _LETTERS
    }
)
_ASCENDING: Final = (
    Algorithm.TDES_2KEY,
    Algorithm.TDES_3KEY,
    Algorithm.AES_128,
    Algorithm.AES_192,
    Algorithm.AES_256,
)
"""Protecting keys, the weakest first (SP 800-57 part 1)."""
_FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    dict.fromkeys("ABC", Family.TDES) | dict.fromkeys("DE", Family.AES)
)
"""The cipher of the key that protects each version."""
_KINDS: Final[Mapping[Family, str]] = MappingProxyType({Family.TDES: "00", Family.AES: "01"})
"""How a check value begins in an optional block: the legacy kind, and the CMAC."""
_SHA_256: Final = "21"
_STORAGE: Final = "1"

KEPT: Final = "D"
"""Version of the key blocks that are kept."""


def require_agreement(header: KeyBlockHeader, new: NewKey, *, at: str) -> None:
    """Refuse a header that is not that of the key that is wanted, or of one kept in storage."""
    family = Algorithm(new.algorithm.value).family
    hash_of = header.optional(optional.HASH)
    agreed = {
        "usage": header.usage == new.usage.value,
        "algorithm": header.algorithm == _LETTERS.get(family),
        "mode": header.mode == new.mode.value,
        "context": header.context != _STORAGE,
        f"{optional.PART}.{optional.HASH}": (hash_of == _SHA_256) == (family is Family.HMAC),
        "key_version": not header.key_version.startswith("c"),
    }
    for part, agrees in agreed.items():
        if not agrees:
            raise Refusal(Reason.KEY_USAGE_MISMATCH, field=f"{at}.{part}")


def is_kept(header: KeyBlockHeader, new: NewKey) -> bool:
    """Tell whether a header is one under which this key would be kept."""
    letter = _LETTERS.get(Algorithm(new.algorithm.value).family)
    wanted = (KEPT, _STORAGE, new.usage.value, letter, new.mode.value)
    return wanted == (
        header.version,
        header.context,
        header.usage,
        header.algorithm,
        header.mode,
    )


def require_strength(kbpk: Algorithm, key: Algorithm, *, version: str, at: str) -> None:
    """Refuse a protecting key of another cipher than the version's, or weaker than the key.

    Nothing protects a key pair here.
    """
    needed = Algorithm.AES_256 if key is Algorithm.HMAC_SHA256 else key
    strong = dropwhile(lambda each: each is not needed, _ASCENDING)
    if kbpk.family is not _FAMILIES.get(version) or kbpk not in strong:
        raise Refusal(Reason.KEY_USAGE_MISMATCH, field=at)


def algorithm_in(header: KeyBlockHeader, key: ClearKey) -> Algorithm | None:
    """Give the algorithm of a key by its header and length; None when the service has none."""
    return _SIZED.get((header.algorithm, len(bytes_of(key)) * 8))


def tells_check_value(header: KeyBlockHeader, key: ClearKey, algorithm: Algorithm) -> bool:
    """Tell whether the header's check value, where it has one of the usual kind, is the key's."""
    told = header.optional(optional.CHECK_VALUE)
    kind = _KINDS.get(algorithm.family)
    if told is None or kind is None or not told.startswith(kind):
        return True
    return check_value_of(key, algorithm).startswith(told[len(kind) :])


def kept_header(new: NewKey, key: ClearKey, *, exportability: str) -> KeyBlockHeader:
    """Give the header under which a key is kept: version D, in the storage context."""
    algorithm = Algorithm(new.algorithm.value)
    return KeyBlockHeader(
        version=KEPT,
        usage=new.usage.value,
        algorithm=_LETTERS[algorithm.family],
        mode=new.mode.value,
        exportability=exportability,
        context=_STORAGE,
        blocks=(_told(key, algorithm),),
    )


def _told(key: ClearKey, algorithm: Algorithm) -> OptionalBlock:
    if algorithm.family is Family.HMAC:
        return OptionalBlock(optional.HASH, _SHA_256)
    told = _KINDS[algorithm.family] + check_value_of(key, algorithm)
    return OptionalBlock(optional.CHECK_VALUE, told)

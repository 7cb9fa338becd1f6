"""The mechanism and parameter of every operation: the only place where they are chosen.

Rules:
- The mechanism follows from the key's family and the operation, never from a caller.
- Raw RSA has no name here. What opens by PKCS #1 v1.5 tells nothing of the padding by how long it
  keeps the token (Bleichenbacher, 1998): see `hsm.keys.open_pkcs1`.
- ECB is used on whole blocks only: chaining is done above, block by block, where it is needed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from types import MappingProxyType
from typing import Final

from pkcs11 import MGF, Attribute, Mechanism

from hsm.keyring import KeyEntry
from hsm.vocabulary import Algorithm, Family, Mode, State, Usage

OaepParameter = tuple[Mechanism, MGF, None]


class RsaPadding(StrEnum):
    """The paddings of RSA encryption that this package can name."""

    PKCS1_V1_5 = "PKCS1_V1_5"
    """RSAES-PKCS1-v1_5 (RFC 8017, 7.2; JWA RSA1_5): for a partner who knows nothing else."""
    OAEP_SHA1 = "OAEP_SHA1"
    """RSAES-OAEP with SHA-1 and MGF1-SHA1, empty label (RFC 8017, 7.1; JWA RSA-OAEP)."""
    OAEP_SHA256 = "OAEP_SHA256"
    """RSAES-OAEP with SHA-256 and MGF1-SHA256, empty label (JWA RSA-OAEP-256)."""


JWA_PADDING: Final[Mapping[str, RsaPadding]] = MappingProxyType(
    {
        "RSA-OAEP": RsaPadding.OAEP_SHA1,
        "RSA-OAEP-256": RsaPadding.OAEP_SHA256,
        "RSA1_5": RsaPadding.PKCS1_V1_5,
    }
)
"""The padding of a sealing key, by the JWA name in its key ring entry."""


class Operation(Enum):
    """What can be done with a key; the value is the capability it takes."""

    ENCIPHER = (Attribute.ENCRYPT, "encipher")
    DECIPHER = (Attribute.DECRYPT, "decipher")
    RSA_ENCRYPT = (Attribute.ENCRYPT, "rsa_encrypt")
    RSA_DECRYPT = (Attribute.DECRYPT, "rsa_decrypt")
    MAC = (Attribute.SIGN, "mac")
    SIGN = (Attribute.SIGN, "sign")
    DERIVE = (Attribute.DERIVE, "derive")
    AGREE = (Attribute.DERIVE, "agree")
    UNWRAP = (Attribute.UNWRAP, "unwrap")
    LOAD = (Attribute.UNWRAP, "unwrap_secret")
    OPEN_BLOCK = (Attribute.DERIVE, "open_key_block")
    MAKE_BLOCK = (Attribute.DERIVE, "make_key_block")

    @property
    def capability(self) -> Attribute:
        """The capability that the key's role must grant."""
        return self.value[0]


FAMILIES: Final[Mapping[Operation, frozenset[Family]]] = MappingProxyType(
    {
        Operation.ENCIPHER: frozenset({Family.TDES, Family.AES}),
        Operation.DECIPHER: frozenset({Family.TDES, Family.AES}),
        Operation.RSA_ENCRYPT: frozenset({Family.RSA}),
        Operation.RSA_DECRYPT: frozenset({Family.RSA}),
        Operation.MAC: frozenset({Family.HMAC}),
        Operation.SIGN: frozenset({Family.EC}),
        Operation.DERIVE: frozenset({Family.TDES, Family.AES}),
        Operation.AGREE: frozenset({Family.EC}),
        Operation.UNWRAP: frozenset({Family.RSA}),
        Operation.LOAD: frozenset({Family.RSA}),
        Operation.OPEN_BLOCK: frozenset({Family.TDES, Family.AES}),
        Operation.MAKE_BLOCK: frozenset({Family.TDES, Family.AES}),
    }
)
"""The families of key each operation is for."""

_RESERVED: Final[Mapping[Usage, frozenset[Operation]]] = MappingProxyType(
    {
        Usage.K1: frozenset({Operation.OPEN_BLOCK, Operation.MAKE_BLOCK}),
        Usage.K2: frozenset({Operation.LOAD}),
    }
)
"""Keys whose capability is for these operations alone, which no other key performs."""
_OF_ALL_OTHERS: Final = frozenset(Operation) - frozenset().union(*_RESERVED.values())
_MODES: Final[Mapping[Operation, frozenset[Mode]]] = MappingProxyType(
    {
        Operation.OPEN_BLOCK: frozenset({Mode.B, Mode.D}),
        Operation.MAKE_BLOCK: frozenset({Mode.B, Mode.E}),
    }
)
"""The modes of use that tell two operations of one capability apart."""

_OPENING: Final = frozenset(
    {
        Operation.DECIPHER,
        Operation.RSA_DECRYPT,
        Operation.DERIVE,
        Operation.AGREE,
        Operation.UNWRAP,
        Operation.LOAD,
        Operation.OPEN_BLOCK,
    }
)
_OPENING_BY_ENCIPHERING: Final = frozenset({Mode.C, Mode.V, Mode.X})
"""Keys that verify, or from which others are derived: enciphering is how they do it."""

ECB: Final[Mapping[Family, Mechanism]] = MappingProxyType(
    {Family.TDES: Mechanism.DES3_ECB, Family.AES: Mechanism.AES_ECB}
)

CBC: Final[Mapping[Family, Mechanism]] = MappingProxyType(
    {Family.TDES: Mechanism.DES3_CBC, Family.AES: Mechanism.AES_CBC}
)
CMAC: Final[Mapping[Family, Mechanism]] = MappingProxyType(
    {Family.TDES: Mechanism.DES3_CMAC, Family.AES: Mechanism.AES_CMAC}
)

CONTENT: Final = frozenset({Mechanism.AES_ECB, Mechanism.AES_GCM})
"""What an unwrapped content key may decrypt by."""

ENCRYPT_DATA: Final[Mapping[Family, Mechanism]] = MappingProxyType(
    {
        Family.TDES: Mechanism.DES3_ECB_ENCRYPT_DATA,
        Family.AES: Mechanism.AES_ECB_ENCRYPT_DATA,
    }
)
"""Derivation of a child by enciphering data under the parent, by the parent's family."""

_OAEP: Final[Mapping[RsaPadding, OaepParameter]] = MappingProxyType(
    {
        RsaPadding.OAEP_SHA1: (Mechanism.SHA_1, MGF.SHA1, None),
        RsaPadding.OAEP_SHA256: (Mechanism.SHA256, MGF.SHA256, None),
    }
)

DIGEST_BYTES: Final = 32
"""Length of the SHA-256 digest that `sign` takes."""

_PADDING_BYTES: Final[Mapping[RsaPadding, int]] = MappingProxyType(
    {
        RsaPadding.PKCS1_V1_5: 11,
        RsaPadding.OAEP_SHA1: 2 * 20 + 2,
        RsaPadding.OAEP_SHA256: 2 * 32 + 2,
    }
)
"""Bytes of the modulus that each padding takes (RFC 8017, 7.1.1 and 7.2.1)."""


def longest_message(algorithm: Algorithm, padding: RsaPadding) -> int:
    """Bytes of the longest message that fits under an RSA key with this padding."""
    return algorithm.bits // 8 - _PADDING_BYTES[padding]


@dataclass(frozen=True, slots=True)
class Invocation:
    """A mechanism with its parameter, as python-pkcs11 takes them."""

    mechanism: Mechanism
    parameter: OaepParameter | None = None


@cache
def invocation(
    operation: Operation, family: Family, padding: RsaPadding | None = None
) -> Invocation:
    """How `operation` is invoked on a key of `family`; `padding` is for RSA alone."""
    match operation:
        case Operation.ENCIPHER | Operation.DECIPHER:
            return Invocation(ECB[family])
        case Operation.MAC:
            return Invocation(Mechanism.SHA256_HMAC)
        case Operation.SIGN:
            return Invocation(Mechanism.ECDSA)
        case Operation.RSA_ENCRYPT | Operation.RSA_DECRYPT if padding is RsaPadding.PKCS1_V1_5:
            return Invocation(Mechanism.RSA_PKCS)
        case _:
            if padding is None or padding not in _OAEP:
                raise ValueError("no mechanism for this operation and padding")
            return Invocation(Mechanism.RSA_PKCS_OAEP, _OAEP[padding])


def permits(entry: KeyEntry, operation: Operation) -> bool:
    """Whether the role and the state of a key permit this. It is asked before the token is.

    A key in the state decipher-only still opens, derives, and verifies; what it must not be used
    for beyond that, such as to generate under mode C, the floors above know.
    """
    if entry.algorithm.family not in FAMILIES[operation]:
        return False
    if not entry.role.permits(operation.capability):
        return False
    if operation not in _RESERVED.get(entry.usage, _OF_ALL_OTHERS):
        return False
    if entry.mode not in _MODES.get(operation, (entry.mode,)):
        return False
    opens = operation in _OPENING or entry.mode in _OPENING_BY_ENCIPHERING
    return opens or entry.state is not State.DECIPHER_ONLY


def needed(keys: Iterable[KeyEntry]) -> frozenset[int]:
    """The mechanisms that a token must offer for these keys: all that their roles allow, and those
    of the keys that are derived or unwrapped by them. AES-CTR is not among them: a token without it
    lacks no more than version E of key blocks.
    """
    mechanisms: set[int] = set()
    for key in keys:
        for grant in key.role.grants.values():
            mechanisms |= grant.mechanisms
        if key.role.only_derives:
            mechanisms.add(ECB[key.algorithm.family])
        if key.usage is Usage.K1:
            mechanisms |= {CBC[key.algorithm.family], CMAC[key.algorithm.family]}
        if key.role.permits(Attribute.UNWRAP):
            mechanisms |= CONTENT
    return frozenset(mechanisms)

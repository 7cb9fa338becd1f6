"""The words in which keys are described: those of X9.143 (TR-31), with the algorithms we accept.

Rules:
- A value of an enumeration is the standard's own code, as it stands in the key ring file.
- A word that has no role in `hsm.roles` may be read here, but no key with it will be accepted.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Usage(StrEnum):
    """Key usage (X9.143, table of key usages)."""

    B0 = "B0"  # base derivation key
    B1 = "B1"  # initial DUKPT key
    C0 = "C0"  # card verification key
    D0 = "D0"  # symmetric key for data
    D1 = "D1"  # asymmetric key for data
    E0 = "E0"  # EMV issuer master key: application cryptograms
    E1 = "E1"  # EMV issuer master key: secure messaging for confidentiality
    E2 = "E2"  # EMV issuer master key: secure messaging for integrity
    K0 = "K0"  # key encryption or wrapping
    K1 = "K1"  # key block protection key
    K2 = "K2"  # asymmetric key for the transport of keys
    K3 = "K3"  # asymmetric key for key agreement or key wrapping
    M1 = "M1"  # ISO 9797-1 MAC algorithm 1
    M3 = "M3"  # ISO 9797-1 MAC algorithm 3
    M6 = "M6"  # ISO 9797-1:2011 MAC algorithm 5, CMAC
    M7 = "M7"  # HMAC
    P0 = "P0"  # PIN encryption
    S0 = "S0"  # asymmetric key pair for digital signature
    V0 = "V0"  # PIN verification, other algorithm
    V1 = "V1"  # PIN verification, IBM 3624
    V2 = "V2"  # PIN verification, Visa PVV


class Family(StrEnum):
    """What algorithms have in common as far as roles, mechanisms and check values go."""

    TDES = "TDES"
    AES = "AES"
    RSA = "RSA"
    EC = "EC"
    HMAC = "HMAC"

    @property
    def block_size(self) -> int:
        """Bytes in a block of the cipher; 0 for what is not a block cipher."""
        return _BLOCK_SIZES.get(self, 0)


class Algorithm(StrEnum):
    """Algorithm and length of a key."""

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
    def family(self) -> Family:
        """The family, which is the first word of the name."""
        return _FAMILIES[self]

    @property
    def bits(self) -> int:
        """Length of the key in bits, TDES with its parity bits; the modulus for RSA."""
        match self:
            case Algorithm.TDES_2KEY:
                return 128
            case Algorithm.TDES_3KEY:
                return 192
            case Algorithm.EC_P256 | Algorithm.HMAC_SHA256:
                return 256
            case _:
                return int(self.value.partition("_")[2])

    @property
    def block_size(self) -> int:
        """Bytes in a block of the cipher; 0 for what is not a block cipher."""
        return _FAMILIES[self].block_size


_FAMILIES: Final = MappingProxyType(
    {algorithm: Family(algorithm.value.partition("_")[0]) for algorithm in Algorithm}
)
_BLOCK_SIZES: Final = MappingProxyType({Family.TDES: 8, Family.AES: 16})


class Mode(StrEnum):
    """Mode of use (X9.143, table of modes of use)."""

    B = "B"  # encipher and decipher
    C = "C"  # generate and verify
    D = "D"  # decipher only
    E = "E"  # encipher only
    G = "G"  # generate only
    N = "N"  # no restriction; never accepted
    S = "S"  # sign only
    V = "V"  # verify only
    X = "X"  # derive keys


class State(StrEnum):
    """Where a key stands in its life: a retired key is never used and may be gone."""

    ACTIVE = "active"
    DECIPHER_ONLY = "decipher-only"
    RETIRED = "retired"


class Origin(StrEnum):
    """Whether the token made the key itself. The token's own flags must say the same."""

    GENERATED = "generated"
    IMPORTED = "imported"

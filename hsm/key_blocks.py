"""The two keys of a key block, derived inside the token from its protection key, for one turn.

X9.143 (TR-31:2018, 5.3.2): KBEK enciphers the payload, KBAK authenticates the block.
Both are CMACs in counter mode under the KBPK. A CMAC of one block is one encipherment, so a key is
one derivation of the whole (see `hsm.derivation`) and never leaves the token.

Rules:
- KBEK goes one way, the one that was asked for; KBAK makes MACs and does nothing else.
- The KBPK has the algorithm of the version, and its keys have the KBPK's algorithm and length.
- Nothing of a key block is known here: no header, no payload, no comparison.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Protocol

from pkcs11 import Attribute, Mechanism

from hsm import cmac, derivation
from hsm.derivation import Step
from hsm.mechanisms import CBC, CMAC
from hsm.passing import PassingObject
from hsm.roles import Template, passing_template
from hsm.vocabulary import Algorithm, Family


class KeyBlockVersion(StrEnum):
    """Versions of key blocks whose keys are derived (X9.143, table of versions)."""

    B = "B"  # TDES KBPK; CBC
    D = "D"  # AES KBPK; CBC
    E = "E"  # AES KBPK; CTR

    @property
    def family(self) -> Family:
        """The family of the KBPK, and so of the keys derived from it."""
        return Family.TDES if self is KeyBlockVersion.B else Family.AES


class KeyBlockKeys(Protocol):
    """KBEK and KBAK for this one turn.

    OperationNotPermitted for the direction that the turn is not for, and after its end.
    """

    def mac(self, data: bytes) -> bytes:
        """The CMAC (SP 800-38B) under KBAK: a whole block, 8 (B) or 16 bytes."""

    def encipher(self, data: bytes, *, iv: bytes) -> bytes:
        """Data under KBEK, as many bytes out as in: whole blocks in CBC (B, D), any length in CTR
        (E). `iv` is one block. ValueError for other lengths.
        """

    def decipher(self, data: bytes, *, iv: bytes) -> bytes:
        """The inverse of `encipher`. HsmDataRefused for a vector in CTR from which the token cannot
        count so far: SoftHSM stops at all ones.
        """


_ENCRYPTION: Final[Mapping[KeyBlockVersion, bytes]] = MappingProxyType(
    {
        KeyBlockVersion.B: b"\x00\x00",
        KeyBlockVersion.D: b"\x00\x00",
        KeyBlockVersion.E: b"\x00\x02",
    }
)
"""Key usage indicators of KBEK."""
_AUTHENTICATION: Final = b"\x00\x01"
"""Key usage indicator of KBAK."""
_ALGORITHMS: Final[Mapping[Algorithm, bytes]] = MappingProxyType(
    {
        Algorithm.TDES_2KEY: b"\x00\x00",
        Algorithm.TDES_3KEY: b"\x00\x01",
        Algorithm.AES_128: b"\x00\x02",
        Algorithm.AES_192: b"\x00\x03",
        Algorithm.AES_256: b"\x00\x04",
    }
)
"""Algorithm indicators of the derived keys."""


class _Keys:
    """The two session objects, and how each version uses them."""

    __slots__ = ("_kbak", "_kbek", "_version")

    def __init__(
        self, version: KeyBlockVersion, *, kbek: PassingObject, kbak: PassingObject
    ) -> None:
        self._version = version
        self._kbek = kbek
        self._kbak = kbak

    def mac(self, data: bytes) -> bytes:
        return self._kbak.use("sign", bytes(data), CMAC[self._version.family])

    def encipher(self, data: bytes, *, iv: bytes) -> bytes:
        return self._run("encrypt", data, iv)

    def decipher(self, data: bytes, *, iv: bytes) -> bytes:
        return self._run("decrypt", data, iv)

    def _run(self, method: str, data: bytes, iv: bytes) -> bytes:
        size = self._version.family.block_size
        counts = self._version is KeyBlockVersion.E
        if not data or len(iv) != size or (len(data) % size and not counts):
            raise ValueError("the data are not whole blocks, or the vector is not one")
        # CK_AES_CTR_PARAMS: the whole block counts. python-pkcs11 would begin at one.
        parameter = struct.pack("L16s", size * 8, iv) if counts else bytes(iv)
        return self._kbek.use(method, bytes(data), _enciphers_by(self._version), parameter)


def check(version: KeyBlockVersion, kbpk: Algorithm) -> None:
    """ValueError when no key block of this version is protected by a key of this algorithm."""
    if kbpk.family is not version.family:
        raise ValueError("the protection key is of another algorithm than the version's")


@contextmanager
def derived(
    kbpk: Any, algorithm: Algorithm, version: KeyBlockVersion, *, opens: bool
) -> Iterator[KeyBlockKeys]:
    """KBEK and KBAK from `kbpk`, an object that may derive; `check` has passed.

    With `opens` KBEK only deciphers, without it only enciphers. PKCS11Error when the token fails.
    """
    family = algorithm.family
    zeros = derivation.enciphered(kbpk, family, bytes(family.block_size))
    encryption = _step(algorithm, _ENCRYPTION[version], zeros)
    authentication = _step(algorithm, _AUTHENTICATION, zeros)
    with ExitStack() as turn:
        kbek = PassingObject(derivation.derive(kbpk, family, encryption, _kbek(version, opens)))
        turn.callback(kbek.destroy)
        kbak = PassingObject(derivation.derive(kbpk, family, authentication, _kbak(family)))
        turn.callback(kbak.destroy)
        yield _Keys(version, kbek=kbek, kbak=kbak)


def _step(algorithm: Algorithm, usage: bytes, zeros: bytes) -> Step:
    """The derivation of a key of `algorithm`: block by block counter, usage, a zero byte, algorithm
    and length in bits, each made ready for CMAC: whole under TDES, padded under AES.
    """
    whole, padded = cmac.subkeys(zeros)
    subkey = whole if algorithm.family is Family.TDES else padded
    kind = usage + b"\x00" + _ALGORITHMS[algorithm] + algorithm.bits.to_bytes(2, "big")
    count = -(-algorithm.bits // (len(subkey) * 8))
    counters = (number.to_bytes(1, "big") for number in range(1, count + 1))
    return Step(algorithm, b"".join(cmac.xor(counter + kind, subkey) for counter in counters))


def _enciphers_by(version: KeyBlockVersion) -> Mechanism:
    return Mechanism.AES_CTR if version is KeyBlockVersion.E else CBC[version.family]


@cache
def _kbek(version: KeyBlockVersion, opens: bool) -> Template:
    may = Attribute.DECRYPT if opens else Attribute.ENCRYPT
    return passing_template((may,), (_enciphers_by(version),))


@cache
def _kbak(family: Family) -> Template:
    return passing_template((Attribute.SIGN,), (CMAC[family],))

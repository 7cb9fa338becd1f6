"""The HSM's part of key blocks, and of keys that come and go, in software."""

import hmac
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from hsm.device import KeyBlockKeys, KeyBlockVersion, KeySpec
from hsm.keyring import KeyEntry
from hsm.vocabulary import Algorithm, Family
from pinvault.clearzone.key_block import VariantKeys
from pinvault.model import keys as model
from tests.support.software_device import Held, SoftwareDevice

T = TypeVar("T")

KIND = {16: b"\0\2", 24: b"\0\3", 32: b"\0\4"}
TDES_KIND = {16: b"\0\0", 24: b"\0\1"}


def cipher(key: bytes, *, tdes: bool) -> BlockCipherAlgorithm:
    if not tdes:
        return AES(key)
    return TripleDES(key + key[:8] if len(key) == 16 else key * 3 if len(key) == 8 else key)


def cmac(key: bytes, data: bytes, *, tdes: bool) -> bytes:
    mac = CMAC(cipher(key, tdes=tdes))
    mac.update(data)
    return mac.finalize()


def derive(kbpk: bytes, version: str) -> tuple[bytes, bytes]:
    """Give the encryption and the authentication key of a version (TR-31:2018, 5.3.2)."""
    tdes = version == "B"
    kind = (TDES_KIND if tdes else KIND)[len(kbpk)] + (len(kbpk) * 8).to_bytes(2)
    counters = range(1, 1 + -(-len(kbpk) // (8 if tdes else 16)))
    keys = []
    for usage in (b"\0\2" if version == "E" else b"\0\0"), b"\0\1":
        parts = [cmac(kbpk, bytes([n]) + usage + b"\0" + kind, tdes=tdes) for n in counters]
        keys.append(b"".join(parts)[: len(kbpk)])
    return keys[0], keys[1]


@dataclass(frozen=True, kw_only=True)
class SoftwareKeys:
    """The keys of a block of version B, D or E."""

    version: str
    kbek: bytes
    kbak: bytes

    def mac(self, data: bytes) -> bytes:
        return cmac(self.kbak, data, tdes=self.version == "B")

    def encipher(self, data: bytes, *, iv: bytes) -> bytes:
        return self._cipher(iv).encryptor().update(data)

    def decipher(self, data: bytes, *, iv: bytes) -> bytes:
        return self._cipher(iv).decryptor().update(data)

    def _cipher(self, iv: bytes) -> Cipher:
        mode = modes.CTR(iv) if self.version == "E" else modes.CBC(iv)
        return Cipher(cipher(self.kbek, tdes=self.version == "B"), mode)


def keys_of(kbpk: bytes, version: str) -> SoftwareKeys:
    kbek, kbak = derive(kbpk, version)
    return SoftwareKeys(version=version, kbek=kbek, kbak=kbak)


def variants_of(kbpk: bytes) -> tuple[bytes, bytes]:
    """Give the encryption and the authentication variant of a protecting key (A and C)."""
    return bytes(byte ^ 0x45 for byte in kbpk), bytes(byte ^ 0x4D for byte in kbpk)


def variant_keys(kbpk: bytes) -> VariantKeys:
    kbek, kbak = variants_of(kbpk)
    mac = Cipher(cipher(kbak, tdes=True), modes.ECB())
    key = Cipher(cipher(kbek, tdes=True), modes.ECB())
    return VariantKeys(
        encipher_mac=lambda data: mac.encryptor().update(data),
        decipher_key=lambda data: key.decryptor().update(data),
    )


def opening(kbpk: bytes, version: str) -> SoftwareKeys | VariantKeys:
    return variant_keys(kbpk) if version in "AC" else keys_of(kbpk, version)


class KeyRoom(SoftwareDevice):
    """A device that counts what is asked of the keys of blocks, and tells what was loaded."""

    def __init__(self, keys: Iterable[Held]) -> None:
        super().__init__(keys)
        self.loaded: dict[str, bytes] = {}

    def algorithms(self) -> Mapping[str, model.Algorithm]:
        return {key_id: model.Algorithm(h.entry.algorithm) for key_id, h in self._held.items()}

    def with_key_block_keys(
        self,
        key_id: str,
        version: KeyBlockVersion,
        work: Callable[[KeyBlockKeys], T],
        *,
        opens: bool,
        timeout: float,
    ) -> T:
        return super().with_key_block_keys(
            key_id,
            version,
            lambda keys: work(Counted(keys, self.calls)),
            opens=opens,
            timeout=timeout,
        )

    def load_secret(
        self, spec: KeySpec, value: bytes, *, check_value: str | None, timeout: float
    ) -> KeyEntry:
        entry = super().load_secret(spec, value, check_value=check_value, timeout=timeout)
        self.loaded[entry.id] = value
        return entry


@dataclass(frozen=True)
class Counted:
    """The keys of a block, and how often each is asked."""

    keys: KeyBlockKeys
    calls: Counter[str]

    def mac(self, data: bytes) -> bytes:
        self.calls["block mac"] += 1
        return self.keys.mac(data)

    def encipher(self, data: bytes, *, iv: bytes) -> bytes:
        self.calls["block enciphered"] += 1
        return self.keys.encipher(data, iv=iv)

    def decipher(self, data: bytes, *, iv: bytes) -> bytes:
        self.calls["block deciphered"] += 1
        return self.keys.decipher(data, iv=iv)


def measured(value: bytes, algorithm: Algorithm) -> str:
    """Give a check value as the HSM would, by other means than the clear zone has."""
    if algorithm.family is Family.TDES:
        ecb = Cipher(cipher(value, tdes=True), modes.ECB()).encryptor()
        return ecb.update(bytes(8))[:3].hex().upper()
    if algorithm.family is Family.AES:
        return cmac(value, bytes(16), tdes=False)[:5].hex().upper()
    return hmac.digest(value, b"", "sha256")[:3].hex().upper()

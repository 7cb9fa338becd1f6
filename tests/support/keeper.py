"""A keeper of keys with a valid certificate before the whole gate, and the partner it serves.

Rules:
- The keeper may import the keys of one partner and export them to that partner, and knows the
  partner's KBPKs; another partner's have a row of their own.
- The partner makes and opens key blocks with psec, and cryptograms with `cryptography`.
"""

import io
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from google.protobuf.message import Message
from psec import des, tr31

from pinvault.model.custody import WantedKey
from pinvault.model.keys import Algorithm, Key, Mode, Usage
from pinvault.v1 import key_pb2 as pb
from pinvault.v1 import resources_pb2 as rs
from tests.support import core
from tests.support.attack import Told, face_of
from tests.support.core import Core, FakeContext, KeyBlocks, Setting
from tests.support.software_device import Secret, key

OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
KBPK, OTHER_KBPK, STORAGE = (secrets.token_bytes(32) for _ in range(3))
WEAK_KBPK, TDES_KBPK = secrets.token_bytes(16), des.adjust_key_parity(secrets.token_bytes(24))
INDEX = secrets.token_bytes(32)


def kept(name: str, usage: str, algorithm: str, mode: str, value: bytes) -> tuple[Key, Secret]:
    return key(name, usage, algorithm, mode), value


def awaited(name: str, algorithm: Algorithm, mode: Mode = Mode.B) -> WantedKey:
    return WantedKey(name=name, usage=Usage.P0, algorithm=algorithm, mode=mode)


KEYS = (
    kept("kbpk-acme", "K1", "AES_256", "B", KBPK),
    kept("kbpk-acme-128", "K1", "AES_128", "B", WEAK_KBPK),
    kept("kbpk-acme-tdes", "K1", "TDES_3KEY", "B", TDES_KBPK),
    kept("kbpk-other", "K1", "AES_256", "B", OTHER_KBPK),
    kept("storage", "K1", "AES_256", "B", STORAGE),
    kept("index", "M7", "HMAC_SHA256", "G", INDEX),
    (key("transport", "K2", "RSA_2048", "D", jwa="RSA-OAEP"), core.private_key("transport")),
)
ACME = ("zpk-acme", "zpk-acme-2", "zpk-acme-aes", "kbpk-acme", "kbpk-acme-128", "kbpk-acme-tdes")
BLOCKS = KeyBlocks(
    storage="storage",
    awaited=(
        awaited("zpk-acme", Algorithm.TDES_3KEY),
        awaited("zpk-acme-2", Algorithm.TDES_3KEY),
        awaited("zpk-acme-aes", Algorithm.AES_256),
        awaited("zpk-other", Algorithm.TDES_3KEY),
    ),
    own=("index",),
    rows=(
        frozenset({*ACME, "transport", "index", "storage"}),
        frozenset({"zpk-other", "kbpk-other"}),
    ),
)


@dataclass
class Keeper:
    """The attacker before the whole gate."""

    core: Core
    log: io.StringIO

    def ask(self, request: Message) -> Told:
        method = request.DESCRIPTOR.name.removesuffix("Request")
        context = FakeContext()
        self.core.device.calls.clear()
        answer = self.core.call(f"KeyService.{method}", request.SerializeToString(), context)
        hsm = tuple(sorted(self.core.device.calls.items()))
        if context.code is None:
            return Told("OK", ("OK",), hsm, answer)
        reason, face = face_of(context)
        return Told(reason, (*face, answer), hsm, answer)

    def brings(self, block: str, name: str = "zpk-acme", kbpk: str = "kbpk-acme") -> Told:
        return self.ask(pb.ImportKeyBlockRequest(name=name, key_block=block, kbpk=kbpk))

    def wraps(self, value: bytes, name: str = "zpk-acme", **changes: object) -> Told:
        wrapped = core.private_key("transport").public_key().encrypt(value, OAEP)
        told = {
            "name": name,
            "usage": pb.KEY_USAGE_P0_PIN_ENCRYPTION,
            "algorithm": rs.KEY_ALGORITHM_TDES_3KEY,
            "mode_of_use": pb.KEY_MODE_OF_USE_B_BOTH,
            "wrapping_key": "transport",
            "wrapped_key": wrapped,
            "check_value": des.generate_kcv(value, 3).hex().upper() if len(value) == 24 else "",
        }
        return self.ask(pb.ImportKeyCryptogramRequest(**{**told, **changes}))

    def takes(self, name: str, kbpk: str = "kbpk-acme", version: str = "D") -> Told:
        number = pb.KeyBlockVersion.Value(f"KEY_BLOCK_VERSION_{version}")
        return self.ask(pb.ExportKeyBlockRequest(key=name, kbpk=kbpk, version=number))

    def keys(self) -> set[str]:
        return {each.id for each in self.core.book.directory()}


def keeper(folder: Path, blocks: KeyBlocks = BLOCKS) -> Keeper:
    log = io.StringIO()
    built = core.build(folder, log, now=time.time, setting=Setting(keys=KEYS, key_blocks=blocks))
    return Keeper(built, log)


def tdes_key() -> bytes:
    return des.adjust_key_parity(secrets.token_bytes(24))


def block_of(
    value: bytes,
    *,
    kbpk: bytes = KBPK,
    version: str = "D",
    usage: str = "P0",
    algorithm: str = "T",
    mode: str = "B",
    exportability: str = "E",
) -> str:
    header = tr31.Header(version, usage, algorithm, mode, "00", exportability)
    return tr31.wrap(kbpk, header, value)

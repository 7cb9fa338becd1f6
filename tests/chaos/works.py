"""What a device does for its callers, each with its right answer: one piece of work an operation.

Rules:
- The right answer is computed in software. What is random is drawn, and must be new.
- A piece of work is repeatable, and ends in the right answer or in the error of the device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hmac import HMAC

from hsm import provisioning
from hsm.derivation import Step
from hsm.device import Device, RsaPadding
from hsm.token import TokenLocation
from hsm.vocabulary import Algorithm
from tests.integration.hsm.support import AES_VALUE, HMAC_VALUE, TDES_VALUE, spec

TIMEOUT: Final = 5.0
# A PIN block of format 0 and its PIN field exclusive-ored with the PAN's (jPOS's test vector).
BLOCK, FIELD = bytes.fromhex("ABE38E29B58EA392"), bytes.fromhex("0412719876FEDCBA")
DATA: Final = bytes(range(32))
GARBAGE: Final = bytes(256)
PEER: Final = ec.derive_private_key(7, ec.SECP256R1())
OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)


def keys(at: TokenLocation):
    """A key for every piece of work, made in the token."""
    tdes, aes = spec("tdes", "P0", "TDES_2KEY", "D"), spec("aes", "P0", "AES_128", "E")
    base, mac = spec("base", "B0", "AES_128", "X"), spec("mac", "M7", "HMAC_SHA256", "G")
    yield provisioning.import_secret(at, tdes, TDES_VALUE, check_value="6FB1C8")
    yield provisioning.import_secret(at, aes, AES_VALUE, check_value=None)
    yield provisioning.import_secret(at, base, AES_VALUE, check_value=None)
    yield provisioning.import_secret(at, mac, HMAC_VALUE, check_value=None)
    yield provisioning.generate(at, spec("seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP"))
    yield provisioning.generate(at, spec("wrap", "K0", "RSA_2048", "D", jwa="RSA-OAEP"))
    yield provisioning.generate(at, spec("agree", "K3", "EC_P256", "X"))
    yield provisioning.generate(at, spec("sign", "S0", "EC_P256", "S"))


@dataclass(frozen=True)
class Work:
    """One operation of a device. `do` raises what the device raises, and is wrong for any other
    answer than the right one.
    """

    name: str
    key: str | None
    opens_data: bool
    do: Callable[[], None]


def works(device: Device) -> dict[str, Work]:
    """Every piece of work on this device, by name."""
    drawn = {bytes(8)}

    def public(key: str):
        return serialization.load_der_public_key(device.public_key(key))

    sealed = public("seal/1").encrypt(DATA, OAEP)
    wrapped = public("wrap/1").encrypt(AES_VALUE, OAEP)
    peer = PEER.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def draw() -> None:
        random = device.random(8, timeout=TIMEOUT)
        assert len(random) == 8
        assert random not in drawn
        drawn.add(random)

    def open_sealed() -> bytes:
        oaep = RsaPadding.OAEP_SHA1
        return device.rsa_decrypt("seal/1", sealed, padding=oaep, timeout=TIMEOUT)

    def open_wrapped() -> bytes:
        return device.with_unwrapped(
            "wrap/1",
            wrapped,
            lambda cipher: cipher.decipher(DATA),
            padding=RsaPadding.OAEP_SHA1,
            algorithm=Algorithm.AES_128,
            timeout=TIMEOUT,
        )

    def derive() -> bytes:
        path = (Step(Algorithm.AES_128, DATA[:16]),)
        return device.with_derived(
            "base/1", path, lambda cipher: cipher.encipher(DATA), timeout=TIMEOUT
        )

    def sign() -> None:
        raw = device.sign("sign/1", DATA, timeout=TIMEOUT)
        signature = utils.encode_dss_signature(*(int.from_bytes(raw[i : i + 32]) for i in (0, 32)))
        public("sign/1").verify(signature, DATA, ec.ECDSA(utils.Prehashed(hashes.SHA256())))

    def same(ask: Callable[[], bytes], answer: bytes) -> None:
        assert ask() == answer, "a wrong answer"

    hmac = HMAC(HMAC_VALUE, hashes.SHA256())
    hmac.update(DATA)
    secret = PEER.exchange(ec.ECDH(), public("agree/1"))
    child = _aes(AES_VALUE).encryptor().update(DATA[:16])
    encipher = partial(device.encipher, "aes/1", DATA, timeout=TIMEOUT)
    decipher = partial(device.decipher, "tdes/1", BLOCK, timeout=TIMEOUT)
    agree = partial(device.agree, "agree/1", peer, timeout=TIMEOUT)
    mac = partial(device.mac, "mac/1", DATA, timeout=TIMEOUT)
    every = (
        Work("encipher", "aes/1", False, partial(same, encipher, _enciphered(AES_VALUE))),
        Work("decipher", "tdes/1", False, partial(same, decipher, FIELD)),
        Work("rsa_decrypt", "seal/1", True, partial(same, open_sealed, DATA)),
        Work("with_derived", "base/1", False, partial(same, derive, _enciphered(child))),
        Work("with_unwrapped", "wrap/1", True, partial(same, open_wrapped, _opened())),
        Work("agree", "agree/1", False, partial(same, agree, secret)),
        Work("mac", "mac/1", False, partial(same, mac, hmac.finalize())),
        Work("sign", "sign/1", False, sign),
        Work("random", None, False, draw),
        Work("probe", None, False, device.probe),
    )
    return {work.name: work for work in every}


def _aes(key: bytes) -> Cipher:
    return Cipher(AES(key), ECB())


def _enciphered(key: bytes) -> bytes:
    return _aes(key).encryptor().update(DATA)


def _opened() -> bytes:
    return _aes(AES_VALUE).decryptor().update(DATA)


def open_garbage(device: Device, name: str) -> None:
    """Open what is sealed for no key of the device."""
    oaep = RsaPadding.OAEP_SHA1
    if name == "rsa_decrypt":
        device.rsa_decrypt("seal/1", GARBAGE, padding=oaep, timeout=TIMEOUT)
        return
    device.with_unwrapped(
        "wrap/1",
        GARBAGE,
        lambda cipher: cipher.decipher(DATA),
        padding=oaep,
        algorithm=Algorithm.AES_128,
        timeout=TIMEOUT,
    )

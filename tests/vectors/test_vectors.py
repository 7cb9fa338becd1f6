"""Every published vector of `vectors.json`, run through the code that it is about."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hsm import check_values
from pinvault.clearzone.encipher import BlockCipher
from pinvault.clearzone.envelope import jwe, rsa_field
from pinvault.clearzone.iso9564 import format0, format1, format3, format4
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.call import Deadline
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import Padding
from tests.support import software_device
from tests.support.software_device import SoftwareDevice, held, key

Fields = Mapping[str, str]
Runner = Callable[[Fields, Fields], None]

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))[
    "vectors"
]
PUBLISHED_CATEGORIES = {
    *("iso0", "iso0_neg", "iso1", "iso3", "iso3_neg", "iso4", "iso4_neg"),
    *("kcv", "rsa", "pin_encrypted"),
}
RUNNERS: dict[str, Runner] = {}


def runs(operation: str) -> Callable[[Runner], Runner]:
    def register(runner: Runner) -> Runner:
        RUNNERS[operation] = runner
        return runner

    return register


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_the_vector_holds(vector: Mapping[str, Any]) -> None:
    RUNNERS[vector["operation"]](vector["input"], vector["expect"])


def test_every_category_has_vectors_and_each_names_its_source() -> None:
    assert {vector["category"] for vector in VECTORS} == PUBLISHED_CATEGORIES
    assert all(vector["source"] for vector in VECTORS)
    assert len({vector["id"] for vector in VECTORS}) == len(VECTORS)


def test_no_runner_waits_for_vectors_that_are_gone() -> None:
    assert set(RUNNERS) == {vector["operation"] for vector in VECTORS}


def read(pin: Pin) -> str:
    with pin:
        return digits_of(pin).decode()


@runs("format0_clear")
def _(given: Fields, expect: Fields) -> None:
    pan, block = Pan(given["pan"]), bytes.fromhex(expect["pin_block"])
    assert format0.encode(Pin(given["pin"].encode()), pan) == block
    assert read(format0.decode(block, pan)) == given["pin"]


@runs("format0_decode_must_fail")
def _(given: Fields, expect: Fields) -> None:
    pan = given["pan"] if "pan" in given else given["account12"] + "0"
    with pytest.raises(Malformed):
        format0.decode(bytes.fromhex(given["pin_block"]), Pan(pan))


@runs("format1_decode")
def _(given: Fields, expect: Fields) -> None:
    block = bytes.fromhex(given["pin_block"])
    assert read(format1.decode(block)) == expect["pin"]
    transaction_field = block[-format1.RANDOM_BYTES :]
    assert format1.encode(Pin(expect["pin"].encode()), transaction_field) == block


@runs("format3_decode")
def _(given: Fields, expect: Fields) -> None:
    pan, block = Pan(given["pan"]), bytes.fromhex(given["pin_block"])
    assert read(format3.decode(block, pan)) == expect["pin"]
    field = xor(block, format3.pan_field(pan)).hex()
    fill = field[2 + len(expect["pin"]) :].ljust(10, "a").encode()
    assert format3.encode(Pin(expect["pin"].encode()), pan, fill) == block


@runs("format3_decode_must_fail")
def _(given: Fields, expect: Fields) -> None:
    with pytest.raises(Malformed):
        format3.decode(bytes.fromhex(given["pin_block"]), Pan(given["pan"]))


@runs("format4_pan_field")
def _(given: Fields, expect: Fields) -> None:
    assert format4.pan_field(Pan(given["pan"])) == bytes.fromhex(expect["pan_field"])


@runs("format4_pin_xor_pan_prefix")
def _(given: Fields, expect: Fields) -> None:
    prefix = bytes.fromhex(expect["prefix"])
    field = format4.pin_field(Pin(given["pin"].encode()), bytes(8))
    assert xor(field, format4.pan_field(Pan(given["pan"])))[: len(prefix)] == prefix


@runs("format4_field_decode_must_fail")
def _(given: Fields, expect: Fields) -> None:
    with pytest.raises(Malformed):
        format4.read_pin_field(bytes.fromhex(given["pin_field"]))


@runs("kcv")
def _(given: Fields, expect: Fields) -> None:
    value = bytes.fromhex(given["key"])
    if given["method"] == "TDES-ECB zeros":
        cipher = Cipher(TripleDES(value + value[:8]), modes.ECB())
        found = check_values.tdes(lambda data: cipher.encryptor().update(data))
    else:
        assert given["method"] == "AES-CMAC of 16 x 00"
        aes = Cipher(algorithms.AES(value), modes.ECB())
        found = check_values.aes(lambda data: aes.encryptor().update(data))
    assert found.hex().upper() == expect["kcv"]


@runs("tdes3_ecb_format0")
def _(given: Fields, expect: Fields) -> None:
    pan, block = Pan(given["pan"]), bytes.fromhex(expect["encrypted_pin_block"])
    pin = Pin(given["pin"].encode())
    assert format0.encode(pin, pan).hex().upper() == given["clear_pin_block"]
    zpk = block_cipher(given["key"])
    assert zpk.encipher(pin, pan=pan, **format_0()) == block
    assert read(zpk.decipher(block, pan=pan, **format_0())) == given["pin"]


@runs("import_format01")
def _(given: Fields, expect: Fields) -> None:
    pan, block = Pan(given["pan"]), bytes.fromhex(given["encrypted_pin_block"])
    assert read(block_cipher(given["key"]).decipher(block, pan=pan, **format_0())) == expect["pin"]


@runs("oaep_sha1_mgf1sha1_decrypt")
def _(given: Fields, expect: Fields) -> None:
    opens_under_jwa_name("RSA-OAEP", given, expect)


@runs("oaep_sha256_mgf1sha256_decrypt")
def _(given: Fields, expect: Fields) -> None:
    opens_under_jwa_name("RSA-OAEP-256", given, expect)


@runs("pkcs1v15_decrypt")
def _(given: Fields, expect: Fields) -> None:
    """What this service only encrypts with: the partner's side, as the tests play it."""
    chosen = software_device.rsa_padding(rsa_field.PADDINGS[Padding.PKCS1_V1_5])
    opened = private_key(given).decrypt(bytes.fromhex(given["ciphertext"]), chosen)
    assert opened == bytes.fromhex(expect["plaintext"])


def block_cipher(value: str) -> BlockCipher:
    secret = bytes.fromhex(value)
    algorithm = "TDES_3KEY" if len(secret) == 24 else "TDES_2KEY"
    return BlockCipher(SoftwareDevice([held(key("zpk", "P0", algorithm, "B"), secret)]))


def format_0() -> dict[str, Any]:
    return {"key_id": "zpk/1", "block_format": Format.ISO_0, "deadline": Deadline.after(5)}


def opens_under_jwa_name(name: str, given: Fields, expect: Fields) -> None:
    """Open with the padding that the envelope code chooses for a key of this `alg`."""
    seal = key("seal", "D1", "RSA_2048", "D", jwa=name)
    device = SoftwareDevice([held(seal, private_key(given))])
    ciphertext = bytes.fromhex(given["ciphertext"])
    opened = device.rsa_decrypt(seal.id, ciphertext, padding=jwe.PADDINGS[name], timeout=5)
    assert opened == bytes.fromhex(expect["plaintext"])


def private_key(given: Fields) -> rsa.RSAPrivateKey:
    n, e, d, p, q = (int(given[name], 16) for name in ("n", "e", "d", "p", "q"))
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(e=e, n=n),
    ).private_key()

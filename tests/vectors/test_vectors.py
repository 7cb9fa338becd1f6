"""Every published vector of `vectors.json`, run through the code that it is about."""

from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hsm import check_values
from pinvault.clearzone.envelope.timed import PADDINGS, TimedDevice
from pinvault.clearzone.iso9564 import format0, format1, format2, format3, format4
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.legacy import (
    eci3,
    mastercard35,
    oem1,
    visa2,
    visa3,
    visa4,
    visa_pin_change,
)
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.call import Deadline
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import Padding
from tests.support import blocks, software_device
from tests.support.published import Fields, Published
from tests.support.software_device import SoftwareDevice, held, key

PUBLISHED = Published("vectors.json")
VECTORS, RUNNERS, runs = PUBLISHED.vectors, PUBLISHED.runners, PUBLISHED.runs
PUBLISHED_CATEGORIES = {
    *("iso0", "iso0_neg", "iso1", "iso2", "iso2_neg", "iso3", "iso3_neg", "iso4", "iso4_neg"),
    *("legacy", "kcv", "rsa", "pin_encrypted"),
}


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_the_vector_holds(vector: Mapping[str, Any]) -> None:
    PUBLISHED.run(vector)


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


@runs("format2_clear")
def _(given: Fields, expect: Fields) -> None:
    block = bytes.fromhex(expect["pin_block"])
    assert format2.encode(Pin(given["pin"].encode())) == block
    assert read(format2.decode(block)) == given["pin"]


@runs("format2_decode_must_fail")
def _(given: Fields, expect: Fields) -> None:
    with pytest.raises(Malformed):
        format2.decode(bytes.fromhex(given["pin_block"]))


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


@runs("ECI-3/VISA-2_decode")
def _(given: Fields, expect: Fields) -> None:
    """Eurocheque's block has any fill, Visa's has decimal fill only."""
    block, fill = bytes.fromhex(given["pin_block"]), given["pin_block"][-9:]
    pin = Pin(expect["pin"].encode())
    assert read(eci3.decode(block)) == expect["pin"]
    assert eci3.encode(pin, bytes.fromhex(fill + "0")) == block
    if fill.isdigit():
        assert read(visa2.decode(block)) == expect["pin"]
    else:
        with pytest.raises(Malformed):
            visa2.decode(block)


@runs("OEM-1_clear")
def _(given: Fields, expect: Fields) -> None:
    block = bytes.fromhex(expect["pin_block"])
    assert oem1.encode(Pin(given["pin"].encode())) == block
    assert read(oem1.decode(block)) == given["pin"]


@runs("VISA-2_clear")
def _(given: Fields, expect: Fields) -> None:
    block = bytes.fromhex(expect["pin_block"])
    assert visa2.encode(Pin(given["pin"].encode()), given["fill"].encode()) == block
    assert read(visa2.decode(block)) == given["pin"]


@runs("VISA-3_clear")
def _(given: Fields, expect: Fields) -> None:
    block = bytes.fromhex(expect["pin_block"])
    assert visa3.encode(Pin(given["pin"].encode()), given["pad"].encode()) == block
    assert read(visa3.decode(block)) == given["pin"]


@runs("VISA-4_clear")
def _(given: Fields, expect: Fields) -> None:
    pan, block = Pan(given["pan"]), bytes.fromhex(expect["pin_block"])
    assert visa4.encode(Pin(given["pin"].encode()), pan) == block
    assert read(visa4.decode(block, pan)) == given["pin"]


@runs("payShield-35_clear")
def _(given: Fields, expect: Fields) -> None:
    pan, block = Pan(given["pan"]), bytes.fromhex(expect["pin_block"])
    assert mastercard35.encode(Pin(given["pin"].encode()), pan) == block
    assert read(mastercard35.decode(block, pan)) == given["pin"]


@runs("payShield-41_clear")
def _(given: Fields, expect: Fields) -> None:
    half, block = bytes.fromhex(given["udk_a"])[4:], bytes.fromhex(expect["pin_block"])
    assert visa_pin_change.encode(Pin(given["pin"].encode()), udk_half=half) == block
    assert read(visa_pin_change.decode(block, udk_half=half)) == given["pin"]


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
    how = format_0(given["key"])
    assert blocks.encipher(pin=given["pin"], pan=pan, **how) == block
    assert read(blocks.decipher(block=block, pan=pan, **how)) == given["pin"]


@runs("import_format01")
def _(given: Fields, expect: Fields) -> None:
    pan, block = Pan(given["pan"]), bytes.fromhex(given["encrypted_pin_block"])
    opened = blocks.decipher(block=block, pan=pan, **format_0(given["key"]))
    assert read(opened) == expect["pin"]


@runs("oaep_sha1_mgf1sha1_decrypt")
def _(given: Fields, expect: Fields) -> None:
    opens_under_jwa_name("RSA-OAEP", given, expect)


@runs("oaep_sha256_mgf1sha256_decrypt")
def _(given: Fields, expect: Fields) -> None:
    opens_under_jwa_name("RSA-OAEP-256", given, expect)


@runs("pkcs1v15_decrypt")
def _(given: Fields, expect: Fields) -> None:
    """What this service only encrypts with: the partner's side, as the tests play it."""
    chosen = software_device.rsa_padding(PADDINGS[Padding.PKCS1_V1_5])
    opened = private_key(given).decrypt(bytes.fromhex(given["ciphertext"]), chosen)
    assert opened == bytes.fromhex(expect["plaintext"])


def format_0(value: str) -> dict[str, Any]:
    secret = bytes.fromhex(value)
    zpk = key("zpk", "P0", "TDES_3KEY" if len(secret) == 24 else "TDES_2KEY", "B")
    return {"device": SoftwareDevice([held(zpk, secret)]), "under": zpk, "form": Format.ISO_0}


def opens_under_jwa_name(name: str, given: Fields, expect: Fields) -> None:
    """Open with the padding that the envelope code chooses for a key of this `alg`."""
    seal = key("seal", "D1", "RSA_2048", "D", jwa=name)
    device = SoftwareDevice([held(seal, private_key(given))])
    ciphertext = bytes.fromhex(given["ciphertext"])
    opened = TimedDevice(device, Deadline.after(60)).decrypt(ciphertext, key=seal)
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

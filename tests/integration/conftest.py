"""The two devices of the contract: one on a SoftHSM token of its own, one in memory."""

import os

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hsm import keyring, provisioning, softhsm
from hsm.device import Device
from hsm.module import Library
from tests.integration.hsm.support import (
    AES_VALUE,
    BDK_VALUE,
    HMAC_VALUE,
    TDES_3KEY_VALUE,
    TDES_VALUE,
    spec,
    use,
)
from tests.support.memory import folder_in_memory
from tests.support.software_device import Held, SoftwareDevice

AES_256_VALUE = bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6")
DECIPHER_ONLY = keyring.State.DECIPHER_ONLY
KBPKS = (
    ("kbpk-tdes", "TDES_2KEY", "B", bytes.fromhex("DD7515F2BFC17F85CE48F3CA25CB21F6")),
    ("kbpk-tdes-2", "TDES_2KEY", "D", bytes.fromhex("1D22BF32387C600AD97F9B97A51311AC")),
    ("kbpk-tdes-3", "TDES_3KEY", "B", TDES_3KEY_VALUE),
    ("kbpk", "AES_256", "B", AES_256_VALUE),
    ("kbpk-in", "AES_256", "D", b"256-bit AES wrapping (ISO 20038)"),
    ("kbpk-out", "AES_256", "E", b"256-bit AES wrapping (ISO 20038)"),
    ("kbpk-128", "AES_128", "B", AES_VALUE),
    ("kbpk-192", "AES_192", "B", TDES_3KEY_VALUE),
)
"""Key block protection keys: those of published vectors, and one of each other length."""

IMPORTED = (
    (spec("tdes-e", "P0", "TDES_2KEY", "E"), TDES_VALUE, None),
    (spec("tdes-d", "P0", "TDES_2KEY", "D"), TDES_VALUE, "6FB1C8"),
    (spec("tdes3-b", "P0", "TDES_3KEY", "B"), TDES_3KEY_VALUE, None),
    (spec("aes-b", "P0", "AES_128", "B"), AES_VALUE, None),
    (spec("aes-old", "P0", "AES_256", "B", state=DECIPHER_ONLY), AES_256_VALUE, None),
    (spec("pvv", "V2", "TDES_2KEY", "V"), TDES_VALUE, None),
    (spec("pvv-old", "V2", "TDES_2KEY", "G", state=DECIPHER_ONLY), TDES_VALUE, None),
    (spec("pvv-kept", "V2", "TDES_2KEY", "C", state=DECIPHER_ONLY), TDES_VALUE, None),
    (spec("offset-kept", "V1", "TDES_2KEY", "V", state=DECIPHER_ONLY), TDES_VALUE, None),
    (spec("bdk-tdes", "B0", "TDES_2KEY", "X", state=DECIPHER_ONLY), TDES_VALUE, None),
    (spec("bdk", "B0", "AES_128", "X"), BDK_VALUE, "FF0BD7C455"),
    (spec("bdk-old", "B0", "AES_128", "X", state=DECIPHER_ONLY), BDK_VALUE, "FF0BD7C455"),
    (spec("bdk-256", "B0", "AES_256", "X"), AES_256_VALUE, "2331550BC9"),
    (spec("smc", "E1", "TDES_2KEY", "X"), TDES_VALUE, None),
    (spec("smi", "E2", "TDES_3KEY", "X"), TDES_3KEY_VALUE, None),
    (spec("data", "D0", "AES_192", "B"), TDES_3KEY_VALUE, None),
    (spec("mac", "M7", "HMAC_SHA256", "G"), HMAC_VALUE, None),
    *((spec(name, "K1", algorithm, mode), value, None) for name, algorithm, mode, value in KBPKS),
    (spec("kbpk-old", "K1", "AES_128", "B", state=DECIPHER_ONLY), AES_VALUE, None),
)
SIGN = spec("sign", "S0", "EC_P256", "S")
SEAL = spec("seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP")
PKCS1 = spec("pkcs1", "D1", "RSA_2048", "D", jwa="RSA1_5")
TRANSPORT = spec("transport", "K0", "RSA_2048", "D", jwa="RSA-OAEP")
CARRIER = spec("carrier", "K2", "RSA_2048", "D", jwa="RSA-OAEP")
AGREE = spec("agree", "K3", "EC_P256", "X")
PARTNER = spec("partner", "D1", "RSA_2048", "E")
AGREE_WITH = spec("agree-with", "K3", "EC_P256", "E")
PARTNERS_EC = ec.derive_private_key(7, ec.SECP256R1())


def der(public) -> bytes:
    return public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture(scope="module")
def partner() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def softhsm_device(partner):
    """The real device on a token of its own; the library is left before and after."""
    module = softhsm.find_module(os.environ)
    with folder_in_memory() as root, pytest.MonkeyPatch.context() as patch:
        made = softhsm.prepare(root, module=module, label="contract", environ=os.environ)
        Library.load(module).close()
        use(patch, made)
        at = made.location
        entries = (
            *(
                provisioning.import_secret(at, wanted, value, check_value=check_value)
                for wanted, value, check_value in IMPORTED
            ),
            provisioning.generate(at, SIGN),
            provisioning.generate(at, SEAL),
            provisioning.generate(at, PKCS1),
            provisioning.generate(at, TRANSPORT),
            provisioning.generate(at, CARRIER),
            provisioning.generate(at, AGREE),
            provisioning.import_public_key(at, PARTNER, der(partner.public_key())),
            provisioning.import_public_key(at, AGREE_WITH, der(PARTNERS_EC.public_key())),
        )
        opened = Device.open(at, keyring.Keyring(keys=entries))
        yield opened
        opened.close()
        Library.load(module).close()


@pytest.fixture(scope="module")
def software_device(partner):
    origin = keyring.Origin.IMPORTED
    return SoftwareDevice(
        (
            *(Held(entry=wanted.entry(origin), secret=value) for wanted, value, _ in IMPORTED),
            Held(entry=SIGN.entry(origin), secret=ec.generate_private_key(ec.SECP256R1())),
            Held(entry=SEAL.entry(origin), secret=rsa.generate_private_key(65537, 2048)),
            Held(entry=PKCS1.entry(origin), secret=rsa.generate_private_key(65537, 2048)),
            Held(entry=TRANSPORT.entry(origin), secret=rsa.generate_private_key(65537, 2048)),
            Held(entry=CARRIER.entry(origin), secret=rsa.generate_private_key(65537, 2048)),
            Held(entry=AGREE.entry(origin), secret=ec.generate_private_key(ec.SECP256R1())),
            Held(entry=PARTNER.entry(origin), secret=partner.public_key()),
            Held(entry=AGREE_WITH.entry(origin), secret=PARTNERS_EC.public_key()),
        )
    )


@pytest.fixture(scope="module", params=["software", "softhsm"])
def device(request):
    return request.getfixturevalue(f"{request.param}_device")

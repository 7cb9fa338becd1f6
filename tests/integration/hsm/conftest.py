"""Fixtures on real SoftHSM tokens: one with a key of every role, and new ones for faults.

Every test of this package runs with the library finalised before and after it, so that each reads
the SoftHSM configuration of its own token.
"""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hsm import provisioning, softhsm
from hsm.device import Device
from hsm.keyring import Keyring
from tests.integration.hsm.support import (
    AES_VALUE,
    HMAC_VALUE,
    TDES_3KEY_VALUE,
    TDES_VALUE,
    Provisioned,
    copied,
    leave_library,
    spec,
    use,
)
from tests.support.memory import folder_in_memory


@pytest.fixture(scope="session")
def softhsm_module() -> Path:
    return softhsm.find_module(os.environ)


@pytest.fixture(scope="session")
def lasting_folder():
    """The folder of tokens that many tests use."""
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture
def token_folder():
    """The folder of the tokens of one test."""
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture
def new_token(softhsm_module, token_folder, monkeypatch):
    """Makes tokens of their own; the last one made is the one SoftHSM sees."""

    def make(label="fresh"):
        made = softhsm.prepare(
            token_folder / label, module=softhsm_module, label=label, environ=os.environ
        )
        use(monkeypatch, made)
        return made.location

    return make


@pytest.fixture(autouse=True)
def _library_is_left(softhsm_module):
    leave_library(softhsm_module)
    yield
    leave_library(softhsm_module)


@pytest.fixture(scope="session")
def every_role(softhsm_module, lasting_folder) -> Provisioned:
    """A token with a key of every role; values of imported keys are the constants above."""
    root = lasting_folder / "every-role"
    made = softhsm.prepare(root, module=softhsm_module, label="every-role", environ=os.environ)
    partner = rsa.generate_private_key(65537, 2048)
    with pytest.MonkeyPatch.context() as patch:
        leave_library(softhsm_module)
        use(patch, made)
        return Provisioned(made, Keyring(keys=tuple(_keys(made.location, partner))), partner)


def _keys(location, partner):
    """Keys of every role, imported where an oracle needs their value."""
    spki = partner.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    secrets = [
        (spec("tdes-e", "P0", "TDES_2KEY", "E"), TDES_VALUE, None),
        (spec("tdes-d", "P0", "TDES_2KEY", "D"), TDES_VALUE, "6FB1C8"),
        (spec("tdes3-b", "P0", "TDES_3KEY", "B"), TDES_3KEY_VALUE, None),
        (spec("aes-e", "P0", "AES_128", "E"), AES_VALUE, None),
        (spec("aes-d", "P0", "AES_128", "D"), AES_VALUE, "D77F007724"),
        (spec("pvv", "V2", "TDES_2KEY", "V"), TDES_VALUE, None),
        (spec("bdk-tdes", "B0", "TDES_2KEY", "X"), TDES_VALUE, None),
        (spec("bdk", "B0", "AES_128", "X"), AES_VALUE, "D77F007724"),
        (spec("smc", "E1", "TDES_2KEY", "X"), TDES_VALUE, "6FB1C8"),
        (spec("mac-known", "M7", "HMAC_SHA256", "G"), HMAC_VALUE, None),
    ]
    for wanted, value, check_value in secrets:
        yield provisioning.import_secret(location, wanted, value, check_value=check_value)
    yield provisioning.generate(location, spec("tdes-made", "P0", "TDES_2KEY", "D"))
    yield provisioning.generate(location, spec("aes-b", "P0", "AES_256", "B"))
    yield provisioning.generate(location, spec("data", "D0", "AES_256", "B"))
    yield provisioning.generate(location, spec("mac", "M7", "HMAC_SHA256", "G"))
    yield provisioning.generate(location, spec("sign", "S0", "EC_P256", "S"))
    yield provisioning.generate(location, spec("seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP"))
    yield provisioning.generate(location, spec("pkcs1", "D1", "RSA_2048", "D", jwa="RSA1_5"))
    yield provisioning.import_public_key(location, spec("partner", "D1", "RSA_2048", "E"), spki)
    yield provisioning.generate(location, spec("smi", "E2", "TDES_3KEY", "X"))
    yield provisioning.generate(location, spec("transport", "K0", "RSA_2048", "D", jwa="RSA-OAEP"))
    yield provisioning.generate(location, spec("agree", "K3", "EC_P256", "X"))
    point = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    spki = point.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    yield provisioning.import_public_key(location, spec("agree-with", "K3", "EC_P256", "E"), spki)


@pytest.fixture(scope="session")
def few_keys(softhsm_module, lasting_folder) -> Provisioned:
    """A token with two PIN keys, a key block protection key and a transport key."""
    root = lasting_folder / "few"
    made = softhsm.prepare(root, module=softhsm_module, label="few", environ=os.environ)
    with pytest.MonkeyPatch.context() as patch:
        leave_library(softhsm_module)
        use(patch, made)
        at, zpk = made.location, spec("zpk", "P0", "TDES_2KEY", "E", destroyable=True)
        entries = (
            provisioning.import_secret(at, zpk, TDES_VALUE),
            provisioning.import_secret(at, spec("aes", "P0", "AES_128", "B"), AES_VALUE),
            provisioning.generate(at, spec("kbpk", "K1", "AES_128", "B")),
            provisioning.generate(at, spec("carrier", "K2", "RSA_2048", "D", jwa="RSA-OAEP")),
        )
        return Provisioned(made, Keyring(keys=entries), None)


@pytest.fixture
def small(few_keys, token_folder, monkeypatch):
    """A device on a copy of that token, which its test may change."""
    copy = copied(few_keys.token, token_folder / "few")
    use(monkeypatch, copy)
    opened = Device.open(copy.location, few_keys.keyring)
    yield opened
    opened.close()


@pytest.fixture
def device(every_role, monkeypatch):
    use(monkeypatch, every_role.token)
    opened = Device.open(every_role.location, every_role.keyring)
    yield opened
    opened.close()

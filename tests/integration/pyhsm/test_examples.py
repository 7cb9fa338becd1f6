"""What the examples published with py-hsm do, call by call: only the imports are other ones."""

import hashlib
import os
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES256

from hsm.pyhsm.convert import bytes_to_hex, hex_to_bytes, str_to_bytes
from hsm.pyhsm.eccurveoids import EcCurveOids
from hsm.pyhsm.eccurves import EcCurves
from hsm.pyhsm.hsmenums import (
    HsmAsymKeyType,
    HsmAttribute,
    HsmMech,
    HsmObjectType,
    HsmSymKeyType,
)
from tests.integration.hsm.support import TDES_VALUE

DATA = b"a hundred bytes or less"


@pytest.fixture(scope="module")
def rsa_pair(client):
    tag = bytes_to_hex(os.urandom(4))
    return client.create_rsa_key_pair(
        public_key_label=f"RSA_PUB_{tag}", private_key_label=f"RSA_PVT_{tag}", token=False
    )


@pytest.fixture(scope="module")
def rsa_public(client, rsa_pair):
    modulus = client.get_attribute_value(rsa_pair[0], HsmAttribute.MODULUS)
    return rsa.RSAPublicNumbers(65537, int.from_bytes(modulus, "big")).public_key()


def aes(client, label="aes", **more):
    return client.create_secret_key(label, token=False, overwrite=True, **more)


def test_list_mechanisms(at, client):
    listed = client.get_mechanism_info(at.slot)
    values = [mechanism.mechanismValueInt for mechanism in listed]
    assert values == sorted(values)
    found = {mechanism.mechanismValueInt: mechanism for mechanism in listed}[HsmMech.AES_CBC.value]
    assert (found.mechanismName, found.mechanismValue) == ("CKM_AES_CBC", "0x00001082")
    assert (found.minKeySize, found.maxKeySize) == ("16", "32")
    assert found.to_string().splitlines()[0] == "mechanismName: CKM_AES_CBC"
    assert "flags:0x" in found.details()


@pytest.mark.parametrize("size", [1, 16, 1000])
def test_random(client, size):
    drawn = client.generate_random(size=size)
    assert len(drawn) == size
    assert b64encode(drawn)
    assert size == 1 or drawn != client.generate_random(size)


def test_seeding(client):
    client.seed_random(b"seed")
    client.seed_random_hashfold(bytes(40))


def test_label_to_handle_and_a_new_label(client):
    handle = aes(client, "my label", modifiable=True)
    assert client.get_object_handle(label="my label") == handle
    client.set_attribute_value(
        handle=handle, attribute_type=HsmAttribute.LABEL, attribute_value=str_to_bytes("new")
    )
    assert client.get_object_handle(label="my label") == 0
    assert client.get_attribute_value(handle) == b"new"


@pytest.mark.parametrize("mechanism", ["AES_ECB", "AES_CBC", "AES_CBC_PAD"])
def test_encrypt_and_decrypt(client, mechanism):
    handle, iv = aes(client), client.generate_random(16)
    data = bytes(range(32))
    sealed = client.encrypt(handle, data, HsmMech[mechanism], iv=iv)
    assert len(sealed) == (48 if mechanism.endswith("PAD") else 32)
    assert client.decrypt(handle, sealed, HsmMech[mechanism], iv=iv) == data


def test_an_imported_key_is_that_key(client):
    value, iv = os.urandom(32), os.urandom(16)
    handle = client.import_secret_key("imported", HsmSymKeyType.AES, value, 256, token=False)
    engine = Cipher(AES256(value), modes.CBC(iv)).encryptor()
    assert client.encrypt(handle, bytes(16), HsmMech.AES_CBC, iv) == engine.update(bytes(16))
    found = client.get_object(handle)
    assert (found.sensitive, found.local, found.value) == (True, False, "")


def test_an_imported_double_length_key_is_that_key(client):
    handle = client.import_secret_key("imported DES2", HsmSymKeyType.DES2, TDES_VALUE, token=False)
    assert bytes_to_hex(client.encrypt(handle, bytes(8), HsmMech.DES3_ECB)[:3]) == "6fb1c8"


def test_the_session_key_is_made_once(client):
    handle = client.get_session_key_handle()
    assert handle == client.get_session_key_handle()
    assert client.get_attribute_value(handle, HsmAttribute.TOKEN) == b"\x00"


def test_wrap_and_unwrap_aes_with_aes(client):
    wrapping, wrapped = aes(client, "wrapping"), aes(client, "wrapped", sensitive=False)
    data = client.wrap_key(
        key_handle=wrapped,
        wrap_key_handle=wrapping,
        wrap_key_mech=HsmMech.AES_KEY_WRAP,
        wrap_key_iv=b"",
    )
    again = client.unwrap_secret_key(
        wrap_key_handle=wrapping,
        wrap_key_mech=HsmMech.AES_KEY_WRAP,
        wrap_key_iv=b"",
        key_label="again",
        key_data=data,
        key_type=HsmSymKeyType.AES,
        key_size_in_bits=256,
        token=False,
        sensitive=False,
    )
    values = {client.get_attribute_value(key, HsmAttribute.VALUE) for key in (wrapped, again)}
    assert [len(value) for value in values] == [32]


def test_wrap_and_unwrap_with_rsa(client, rsa_pair):
    wrapped = aes(client, "wrapped by RSA", sensitive=False)
    data = client.wrap_key(wrapped, rsa_pair[0], HsmMech.RSA_PKCS_OAEP, b"")
    again = client.unwrap_secret_key(
        rsa_pair[1], HsmMech.RSA_PKCS_OAEP, b"", "by RSA", data, token=False
    )
    block = client.encrypt(wrapped, bytes(16), HsmMech.AES_ECB)
    assert client.decrypt(again, block, HsmMech.AES_ECB) == bytes(16)


def test_wrap_and_unwrap_a_private_key(client, rsa_pair, rsa_public):
    wrapping = aes(client, "for private keys")
    data = client.wrap_key(rsa_pair[1], wrapping, HsmMech.AES_KEY_WRAP_PAD, b"")
    again = client.unwrap_private_key(
        wrapping, HsmMech.AES_KEY_WRAP_PAD, b"", "private", data, token=False
    )
    signature = client.sign(again, DATA, HsmMech.SHA256_RSA_PKCS)
    rsa_public.verify(signature, DATA, PKCS1v15(), hashes.SHA256())
    assert client.get_object(again).keyType.name == HsmAsymKeyType.RSA.name


@pytest.mark.parametrize(
    ("mechanism", "salt"),
    [
        *[(f"SHA{size}_RSA_PKCS", 0) for size in (1, 256, 384, 512)],
        *[("SHA1_RSA_PKCS_PSS", 10), ("SHA256_RSA_PKCS_PSS", 32), ("SHA512_RSA_PKCS_PSS", 0)],
    ],
)
def test_rsa_signatures(client, rsa_pair, rsa_public, mechanism, salt):
    signature = client.sign(
        handle=rsa_pair[1], data=DATA, mechanism=HsmMech[mechanism], pss_salt_length=salt
    )
    chosen = getattr(hashes, mechanism.split("_")[0])()
    scheme = PSS(MGF1(chosen), salt) if mechanism.endswith("PSS") else PKCS1v15()
    rsa_public.verify(signature, DATA, scheme, chosen)
    asked = {"mechanism": HsmMech[mechanism].value, "pss_salt_length": salt}
    assert client.verify(rsa_pair[0], DATA, signature, **asked)
    assert not client.verify(rsa_pair[0], DATA + b"!", signature, **asked)
    assert not client.verify(rsa_pair[0], DATA, signature[:-1], **asked)


def test_rsa_encryption(client, rsa_pair, rsa_public):
    oaep = padding.OAEP(MGF1(hashes.SHA1()), hashes.SHA1(), None)
    sealed = rsa_public.encrypt(DATA, oaep)
    assert client.decrypt(rsa_pair[1], sealed, HsmMech.RSA_PKCS_OAEP) == DATA
    sealed = client.encrypt(rsa_pair[0], DATA, HsmMech.RSA_PKCS)
    assert client.decrypt(rsa_pair[1], sealed, HsmMech.RSA_PKCS) == DATA


def test_an_imported_rsa_public_key_verifies(client, rsa_pair, rsa_public):
    modulus = rsa_public.public_numbers().n.to_bytes(256, "big")
    handle = client.import_rsa_public_key("public", modulus, token=False)
    signature = client.sign(rsa_pair[1], DATA, HsmMech.SHA256_RSA_PKCS)
    assert client.verify(handle, DATA, signature, HsmMech.SHA256_RSA_PKCS)


@pytest.mark.parametrize("curve", ["P256", "P384", "P512", "secp256k1", "brainpoolP256r1"])
def test_ec_signatures(client, curve):
    public, private = client.create_ecc_key_pair(
        public_key_label=f"{curve} public",
        private_key_label=f"{curve} private",
        ec_params=EcCurveOids[curve],
        token=False,
        encrypt_decrypt=False,
        wrap_unwrap=False,
        public_private=False,
    )
    digest = hashlib.sha256(DATA).digest()
    signature = client.sign(private, digest, HsmMech.ECDSA)
    point = client.get_attribute_value(public, HsmAttribute.EC_POINT)
    imported = client.import_ec_public_key(
        f"{curve} imported", EcCurveOids[curve], point, token=False
    )
    assert client.verify(imported, digest, signature, HsmMech.ECDSA)
    assert not client.verify(public, digest[::-1], signature, HsmMech.ECDSA)
    ids = {client.get_attribute_value(key, HsmAttribute.ID) for key in (public, private)}
    assert len(ids) == 1


def test_a_curve_by_its_definition_is_the_curve(client):
    public, private = client.create_ecc_key_pair("a", "b", ec_params=EcCurves.P256, token=False)
    signature = client.sign(private, bytes(32), HsmMech.ECDSA)
    point = client.get_attribute_value(public, HsmAttribute.EC_POINT)[2:]
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point).verify(
        utils.encode_dss_signature(r, s), bytes(32), ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    )


def test_macs_and_digests(client):
    handle = aes(client, "mac")
    mac = client.sign(handle, DATA, HsmMech.AES_CMAC)
    assert client.verify(handle, DATA, mac, HsmMech.AES_CMAC)
    assert client.digest(DATA, HsmMech.SHA256) == hashlib.sha256(DATA).digest()


def test_data_objects_and_certificates(client):
    data = client.import_data_object("data", b"\x01\x02", token=False)
    assert client.get_attribute_value(data, HsmAttribute.VALUE) == hex_to_bytes("0102")
    assert client.get_object(data).class_ is HsmObjectType.DATA
    certificate = client.import_public_cert(
        "certificate", b"\x30\x00", cert_subject=b"\x30\x00", cert_id=b"1", token=False
    )
    found = client.get_object(certificate)
    assert (found.class_, found.value, found.id) == (HsmObjectType.CERTIFICATE, b"\x30\x00", b"1")
    assert (found.keyType, found.encrypt) == ("", False)

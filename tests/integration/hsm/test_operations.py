"""Every operation of the device against `cryptography` as oracle, and every refusal before it."""

import hmac
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hsm import keys
from hsm.device import Device, DeviceStatus, RsaPadding
from hsm.errors import (
    HsmDataRefused,
    HsmUnavailable,
    OperationNotPermitted,
    UnknownKey,
)
from tests.integration.hsm.support import AES_VALUE, TDES_3KEY_VALUE, TDES_VALUE

DATA = bytes(range(256)) * 3
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)


def oracle(algorithm):
    return Cipher(algorithm, modes.ECB())


TDES = oracle(TripleDES(TDES_VALUE + TDES_VALUE[:8]))
TDES_3KEY = oracle(TripleDES(TDES_3KEY_VALUE))
AES = oracle(algorithms.AES(AES_VALUE))


@pytest.mark.parametrize(
    ("key", "cipher"), [("tdes-e/1", TDES), ("tdes3-b/1", TDES_3KEY), ("aes-e/1", AES)]
)
def test_encipher(device, key, cipher):
    assert device.encipher(key, DATA, timeout=5) == cipher.encryptor().update(DATA)


@pytest.mark.parametrize(
    ("key", "cipher"), [("tdes-d/1", TDES), ("tdes3-b/1", TDES_3KEY), ("aes-d/1", AES)]
)
def test_decipher(device, key, cipher):
    assert device.decipher(key, DATA, timeout=5) == cipher.decryptor().update(DATA)


def test_more_than_one_call_takes_gives_the_same(device):
    data = bytes(range(256)) * 700
    assert device.encipher("aes-e/1", data, timeout=5) == AES.encryptor().update(data)


def test_generated_keys_invert(device):
    blocks = device.encipher("aes-b/1", DATA, timeout=5)
    assert device.decipher("aes-b/1", blocks, timeout=5) == DATA


def test_any_bytes_like_is_taken(device):
    expected = TDES.encryptor().update(DATA)
    assert device.encipher("tdes-e/1", bytearray(DATA), timeout=5) == expected
    assert device.encipher("tdes-e/1", memoryview(DATA), timeout=5) == expected


@pytest.mark.parametrize(
    ("chosen", "opening"),
    [(RsaPadding.OAEP_SHA1, OAEP), (RsaPadding.PKCS1_V1_5, padding.PKCS1v15())],
)
def test_rsa_encrypt_for_a_partner(device, every_role, chosen, opening):
    first, second = (
        device.rsa_encrypt("partner/1", b"1234", padding=chosen, timeout=5) for _ in range(2)
    )
    assert first != second
    assert every_role.partner.decrypt(first, opening) == b"1234"


def test_rsa_decrypt_opens_what_is_sealed_under_the_published_key(device):
    public = serialization.load_der_public_key(device.public_key("seal/1"))
    for message in (b"", b"sealed", b"x" * 214):
        sealed = public.encrypt(message, OAEP)
        opened = device.rsa_decrypt("seal/1", sealed, padding=RsaPadding.OAEP_SHA1, timeout=5)
        assert opened == message


def test_mac(device):
    key = bytes(range(32))
    for data in (b"", b"x", DATA):
        assert device.mac("mac-known/1", data, timeout=5) == hmac.digest(key, data, "sha256")


def test_sign(device):
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"checkpoint")
    value = digest.finalize()
    raw = device.sign("sign/1", value, timeout=5)
    assert len(raw) == 64
    signature = utils.encode_dss_signature(
        int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    )
    public = serialization.load_der_public_key(device.public_key("sign/1"))
    public.verify(signature, value, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


def test_random(device):
    first, second = (device.random(32, timeout=5) for _ in range(2))
    assert len(first) == len(second) == 32
    assert first != second
    for length in (0, -1, 65_537):
        with pytest.raises(ValueError, match="at a time"):
            device.random(length, timeout=5)


def classes_of_bad_ciphertext(modulus_bytes):
    yield "empty", b""
    yield "short", b"\x01" * (modulus_bytes - 1)
    yield "long", b"\x01" * (modulus_bytes + 1)
    yield "zero", bytes(modulus_bytes)
    yield "one", bytes(modulus_bytes - 1) + b"\x01"
    yield "not below the modulus", b"\xff" * modulus_bytes
    yield "noise", b"\x5a" * modulus_bytes


def test_every_bad_ciphertext_has_one_face(device):
    faces = set()
    for _, bad in classes_of_bad_ciphertext(256):
        with pytest.raises(HsmDataRefused) as caught:
            device.rsa_decrypt("seal/1", bad, padding=RsaPadding.OAEP_SHA1, timeout=5)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        faces.add((type(caught.value), str(caught.value), caught.value.args))
    assert len(faces) == 1
    assert device.status is DeviceStatus.SERVING


def test_a_thousand_garbage_ciphertexts_leave_the_device_serving(device):
    for number in range(1000):
        bad = number.to_bytes(2, "big") * 128
        with pytest.raises(HsmDataRefused):
            device.rsa_decrypt("seal/1", bad, padding=RsaPadding.OAEP_SHA1, timeout=5)
    assert device.status is DeviceStatus.SERVING
    assert device.sealed_keys == frozenset()
    assert device.encipher("tdes-e/1", bytes(8), timeout=5).hex().upper().startswith("6FB1C8")


def test_pkcs1_v1_5_asks_the_token_as_often_for_good_padding_as_for_bad(device, monkeypatch):
    """The lane is shared: another call of the same caller would wait longer behind bad padding."""
    public = serialization.load_der_public_key(device.public_key("pkcs1/1"))
    asked = []
    apply = keys.apply

    def counted(live, operation, data, **how):
        asked.append(operation)
        return apply(live, operation, data, **how)

    monkeypatch.setattr(keys, "apply", counted)
    counts = set()
    good = public.encrypt(b"31323334", padding.PKCS1v15())
    for sealed in (good, *(bad for _, bad in classes_of_bad_ciphertext(256))):
        asked.clear()
        try:
            device.rsa_decrypt("pkcs1/1", sealed, padding=RsaPadding.PKCS1_V1_5, timeout=5)
        except HsmDataRefused:
            assert sealed != good
        counts.add(len(asked))
    assert counts == {2}


@pytest.mark.parametrize("wrong", [RsaPadding.PKCS1_V1_5, RsaPadding.OAEP_SHA256])
def test_another_padding_is_refused_before_the_token(device, wrong):
    with pytest.raises(OperationNotPermitted):
        device.rsa_decrypt("seal/1", bytes(256), padding=wrong, timeout=5)


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("encipher", "tdes-d/1"),
        ("decipher", "tdes-e/1"),
        ("encipher", "seal/1"),
        ("encipher", "mac/1"),
        ("decipher", "partner/1"),
        ("mac", "tdes-e/1"),
        ("mac", "sign/1"),
        ("sign", "mac/1"),
        ("sign", "seal/1"),
    ],
)
def test_a_key_does_one_thing(device, method, key):
    with pytest.raises(OperationNotPermitted) as caught:
        getattr(device, method)(key, bytes(32), timeout=5)
    assert caught.value.facts["key"] == key


def test_unknown_keys_and_bad_lengths_are_refused(device):
    with pytest.raises(UnknownKey):
        device.encipher("tdes-e/2", bytes(8), timeout=5)
    with pytest.raises(UnknownKey):
        device.public_key("nothing/1")
    with pytest.raises(OperationNotPermitted):
        device.public_key("tdes-e/1")
    for blocks in (b"", bytes(7), bytes(9)):
        with pytest.raises(ValueError, match="whole blocks"):
            device.encipher("tdes-e/1", blocks, timeout=5)
    with pytest.raises(ValueError, match="32 bytes"):
        device.sign("sign/1", bytes(20), timeout=5)
    with pytest.raises(ValueError, match="too long"):
        device.rsa_encrypt("partner/1", bytes(246), padding=RsaPadding.PKCS1_V1_5, timeout=5)


def test_a_closed_device_says_so(every_role, device):
    device.close()
    device.close()
    assert device.status is DeviceStatus.DOWN
    with pytest.raises(HsmUnavailable):
        device.encipher("tdes-e/1", bytes(8), timeout=5)
    again = Device.open(every_role.location, every_role.keyring)
    assert again.encipher("tdes-e/1", bytes(8), timeout=5).hex().upper().startswith("6FB1C8")
    again.close()


def test_two_hundred_threads_at_once(device):
    sealed = serialization.load_der_public_key(device.public_key("seal/1")).encrypt(b"pin", OAEP)
    start = threading.Barrier(200)

    def work(number):
        start.wait(30)
        block = number.to_bytes(8, "big")
        for _ in range(5):
            enciphered = device.encipher("tdes-e/1", block, timeout=30)
            assert device.decipher("tdes-d/1", enciphered, timeout=30) == block
            assert len(device.random(8, timeout=30)) == 8
            with pytest.raises(HsmDataRefused):
                device.rsa_decrypt("seal/1", bytes(256), padding=RsaPadding.OAEP_SHA1, timeout=30)
        opened = device.rsa_decrypt("seal/1", sealed, padding=RsaPadding.OAEP_SHA1, timeout=30)
        return opened == b"pin"

    with ThreadPoolExecutor(200) as pool:
        assert all(pool.map(work, range(200)))
    assert device.status is DeviceStatus.SERVING


def test_two_threads_never_meet_inside_the_library(device, monkeypatch):
    inside = threading.Lock()

    def alone(method):
        def guarded(*arguments, **options):
            assert inside.acquire(blocking=False), "two threads inside the library"
            try:
                return method(*arguments, **options)
            finally:
                inside.release()

        return guarded

    for name in ("perform", "random"):
        monkeypatch.setattr(device._link, name, alone(getattr(device._link, name)))

    def encipher(number):
        block = number.to_bytes(16, "big")
        assert device.encipher("aes-e/1", block, timeout=30) == AES.encryptor().update(block)

    def draw(_):
        assert len(device.random(4096, timeout=30)) == 4096

    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(work, number) for number in range(1000) for work in (encipher, draw)]
        for task in tasks:
            task.result(30)

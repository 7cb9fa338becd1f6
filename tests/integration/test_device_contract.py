"""One contract for whatever stands in for an HSM: run against SoftHSM and against the stand-in."""

import hmac
import re

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from hsm.device import DeviceStatus, RsaPadding
from hsm.errors import (
    HsmDataRefused,
    HsmTimeout,
    HsmUnavailable,
    OperationNotPermitted,
    UnknownKey,
)
from tests.integration.hsm.support import HMAC_VALUE

OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)
DATA = bytes(range(256)) * 2


def test_known_keys_give_known_answers(device):
    # jPOS, JCESecurityModuleTest: the check value of this key, and a PIN block under it.
    assert device.encipher("tdes-e/1", bytes(8), timeout=5)[:3] == bytes.fromhex("6FB1C8")
    block = bytes.fromhex("ABE38E29B58EA392")
    assert device.decipher("tdes-d/1", block, timeout=5) == bytes.fromhex("0412719876FEDCBA")
    assert device.mac("mac/1", DATA, timeout=5) == hmac.digest(HMAC_VALUE, DATA, "sha256")


@pytest.mark.parametrize("key", ["pvv-kept/1", "offset-kept/1"])
def test_a_key_that_was_rotated_verifies_what_it_made(device, key):
    assert device.encipher(key, bytes(8), timeout=5)[:3] == bytes.fromhex("6FB1C8")


@pytest.mark.parametrize("key", ["tdes3-b/1", "aes-b/1", "data/1"])
def test_deciphering_undoes_enciphering_block_by_block(device, key):
    enciphered = device.encipher(key, DATA, timeout=5)
    assert enciphered == b"".join(
        device.encipher(key, DATA[start : start + 16], timeout=5)
        for start in range(0, len(DATA), 16)
    )
    assert device.decipher(key, enciphered, timeout=5) == DATA


def test_two_keys_of_one_value_are_each_others_inverse(device):
    enciphered = device.encipher("tdes-e/1", DATA, timeout=5)
    assert device.decipher("tdes-d/1", enciphered, timeout=5) == DATA


def test_any_bytes_like_is_taken(device):
    expected = device.encipher("tdes-e/1", DATA, timeout=5)
    assert device.encipher("tdes-e/1", bytearray(DATA), timeout=5) == expected
    assert device.encipher("tdes-e/1", memoryview(DATA), timeout=5) == expected


@pytest.mark.parametrize(
    ("chosen", "opening"),
    [(RsaPadding.OAEP_SHA1, OAEP), (RsaPadding.PKCS1_V1_5, padding.PKCS1v15())],
)
def test_a_partner_opens_what_is_encrypted_for_it(device, partner, chosen, opening):
    first, second = (
        device.rsa_encrypt("partner/1", b"sealed", padding=chosen, timeout=5) for _ in range(2)
    )
    assert len(first) == 256
    assert first != second
    assert partner.decrypt(first, opening) == b"sealed"


@pytest.mark.parametrize(
    ("chosen", "longest"), [(RsaPadding.OAEP_SHA1, 214), (RsaPadding.PKCS1_V1_5, 245)]
)
def test_a_message_may_be_as_long_as_the_padding_leaves_room(device, chosen, longest):
    assert device.rsa_encrypt("partner/1", bytes(longest), padding=chosen, timeout=5)
    with pytest.raises(ValueError):
        device.rsa_encrypt("partner/1", bytes(longest + 1), padding=chosen, timeout=5)


@pytest.mark.parametrize("length", [0, 1, 32, 214])
def test_what_is_sealed_under_the_public_key_is_opened(device, length):
    public = serialization.load_der_public_key(device.public_key("seal/1"))
    message = bytes(range(length))
    sealed = public.encrypt(message, OAEP)
    opened = device.rsa_decrypt("seal/1", sealed, padding=RsaPadding.OAEP_SHA1, timeout=5)
    assert opened == message


def test_every_bad_rsa_ciphertext_has_one_face(device, partner):
    bad = (
        b"",
        bytes(256),
        bytes(255) + b"\x01",
        b"\x01" * 255,
        b"\x01" * 257,
        b"\xff" * 256,
        b"\x5a" * 256,
        partner.public_key().encrypt(b"under another key", OAEP),
    )
    faces = set()
    for ciphertext in bad:
        with pytest.raises(HsmDataRefused) as caught:
            device.rsa_decrypt("seal/1", ciphertext, padding=RsaPadding.OAEP_SHA1, timeout=5)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        faces.add((str(caught.value), caught.value.args))
    assert len(faces) == 1


@pytest.mark.parametrize("wrong", [RsaPadding.PKCS1_V1_5, RsaPadding.OAEP_SHA256])
def test_a_sealing_key_opens_with_its_own_padding_only(device, wrong):
    with pytest.raises(OperationNotPermitted):
        device.rsa_decrypt("seal/1", bytes(256), padding=wrong, timeout=5)


@pytest.mark.parametrize("wrong", [RsaPadding.OAEP_SHA1, RsaPadding.OAEP_SHA256])
def test_a_key_for_pkcs1_v1_5_opens_by_nothing_else(device, wrong):
    with pytest.raises(OperationNotPermitted):
        device.rsa_decrypt("pkcs1/1", bytes(256), padding=wrong, timeout=5)


@pytest.mark.parametrize("length", [0, 1, 8, 245])
def test_what_is_sealed_by_pkcs1_v1_5_is_opened(device, length):
    public = serialization.load_der_public_key(device.public_key("pkcs1/1"))
    message = bytes(range(length))
    sealed = public.encrypt(message, padding.PKCS1v15())
    opened = device.rsa_decrypt("pkcs1/1", sealed, padding=RsaPadding.PKCS1_V1_5, timeout=5)
    assert opened == message


def test_bad_padding_is_refused_or_gives_what_says_nothing(device, partner):
    """A stack may answer bad padding with a random message (implicit rejection)."""
    public = serialization.load_der_public_key(device.public_key("pkcs1/1"))
    bad = (public.encrypt(b"31323334", OAEP), b"\x5a" * 256, bytes(255) + b"\x01")

    def face(ciphertext):
        try:
            opened = device.rsa_decrypt(
                "pkcs1/1", ciphertext, padding=RsaPadding.PKCS1_V1_5, timeout=5
            )
        except HsmDataRefused as refused:
            return str(refused), refused.args, refused.__cause__, refused.__context__
        return opened == b"31323334"

    assert len(set(map(face, bad))) == 1
    assert True not in map(face, bad)
    assert device.status is DeviceStatus.SERVING


def test_a_signature_verifies_under_the_public_key(device):
    digest = bytes(range(32))
    raw = device.sign("sign/1", digest, timeout=5)
    assert len(raw) == 64
    signature = utils.encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    public = serialization.load_der_public_key(device.public_key("sign/1"))
    public.verify(signature, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


def test_random_bytes_come_in_the_length_asked_for_and_differ(device):
    drawn = [device.random(32, timeout=5) for _ in range(8)]
    assert {len(each) for each in drawn} == {32}
    assert len(set(drawn)) == 8
    assert len(device.random(65_536, timeout=5)) == 65_536


def test_data_of_a_wrong_length_are_refused(device):
    for blocks in (b"", bytes(7), bytes(9)):
        with pytest.raises(ValueError):
            device.encipher("tdes-e/1", blocks, timeout=5)
        with pytest.raises(ValueError):
            device.decipher("aes-b/1", blocks, timeout=5)
    for length in (-1, 0, 65_537):
        with pytest.raises(ValueError):
            device.random(length, timeout=5)
    with pytest.raises(ValueError):
        device.sign("sign/1", bytes(31), timeout=5)


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("encipher", "tdes-d/1"),
        ("encipher", "aes-old/1"),
        ("encipher", "partner/1"),
        ("encipher", "mac/1"),
        ("decipher", "tdes-e/1"),
        ("decipher", "seal/1"),
        ("mac", "aes-b/1"),
        ("mac", "sign/1"),
        ("sign", "mac/1"),
        ("sign", "seal/1"),
        ("sign", "agree/1"),
        ("encipher", "pvv-old/1"),
        ("decipher", "pvv/1"),
        ("decipher", "pvv-kept/1"),
        ("decipher", "bdk-tdes/1"),
        ("encipher", "bdk/1"),
        ("encipher", "smc/1"),
        ("decipher", "smi/1"),
    ],
)
def test_a_key_does_one_thing(device, method, key):
    with pytest.raises(OperationNotPermitted) as caught:
        getattr(device, method)(key, bytes(32), timeout=5)
    assert caught.value.facts["key"] == key


def test_rsa_keys_work_in_one_direction(device):
    with pytest.raises(OperationNotPermitted):
        device.rsa_encrypt("seal/1", b"", padding=RsaPadding.OAEP_SHA1, timeout=5)
    for key in ("partner/1", "transport/1"):
        with pytest.raises(OperationNotPermitted):
            device.rsa_decrypt(key, bytes(256), padding=RsaPadding.OAEP_SHA1, timeout=5)


def test_a_decipher_only_key_still_opens(device):
    assert len(device.decipher("aes-old/1", bytes(16), timeout=5)) == 16
    # An initial DUKPT key is enciphered under its base key, even to decipher with.
    assert device.encipher("bdk-tdes/1", bytes(8), timeout=5)[:3] == bytes.fromhex("6FB1C8")


def test_only_pairs_and_public_keys_have_a_public_half(device):
    assert serialization.load_der_public_key(device.public_key("partner/1")).key_size == 2048
    with pytest.raises(OperationNotPermitted):
        device.public_key("tdes-e/1")


def test_unknown_keys_are_refused_by_every_method(device):
    asked = (
        lambda: device.encipher("tdes-e/2", bytes(8), timeout=5),
        lambda: device.decipher("tdes-e", bytes(8), timeout=5),
        lambda: device.mac("none/1", b"", timeout=5),
        lambda: device.sign("none/1", bytes(32), timeout=5),
        lambda: device.rsa_encrypt("none/1", b"", padding=RsaPadding.OAEP_SHA1, timeout=5),
        lambda: device.rsa_decrypt("none/1", b"", padding=RsaPadding.OAEP_SHA1, timeout=5),
        lambda: device.public_key("none/1"),
    )
    for ask in asked:
        with pytest.raises(UnknownKey):
            ask()


def test_time_that_has_run_out_starts_nothing(device):
    for timeout in (0, -1.0):
        with pytest.raises(HsmTimeout):
            device.encipher("tdes-e/1", bytes(8), timeout=timeout)
        with pytest.raises(HsmTimeout):
            device.random(8, timeout=timeout)


def test_errors_hold_none_of_the_data(device):
    with pytest.raises(ValueError) as wrong_length:
        device.encipher("tdes-e/1", b"1234567", timeout=5)
    with pytest.raises(HsmDataRefused) as refused:
        device.rsa_decrypt("seal/1", b"1234567", padding=RsaPadding.OAEP_SHA1, timeout=5)
    for caught in (wrong_length, refused):
        assert not re.search("[0-9]", repr(caught.value))


def test_a_healthy_device_serves_and_answers_its_probe(device):
    device.probe()
    assert device.status is DeviceStatus.SERVING
    assert device.busy_since is None
    assert device.sealed_keys == frozenset()


def test_a_closed_device_is_down(device):
    """The last test of the module: it closes what the others used."""
    device.close()
    device.close()
    assert device.status is DeviceStatus.DOWN
    with pytest.raises(HsmUnavailable):
        device.encipher("tdes-e/1", bytes(8), timeout=5)
    with pytest.raises(HsmUnavailable):
        device.random(8, timeout=5)

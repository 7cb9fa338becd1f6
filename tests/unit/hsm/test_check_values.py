"""Check values against published vectors, with the ciphers of `cryptography` as the token."""

import hmac

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from hsm import check_values

TDES_VECTORS = [
    ("13345779133457791334577913345779", "6FB1C8"),
    ("AABBCCDDEEFF00112233445566778899", "C4F0A4"),
]
AES_VECTORS = [
    ("FA36E44278DB3AB5F298F9F7DA8F1F88", "D77F007724"),
    ("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6", "2331550BC9"),
]


def ecb(algorithm):
    return lambda data: Cipher(algorithm, modes.ECB()).encryptor().update(data)


@pytest.mark.parametrize(("key", "expected"), TDES_VECTORS)
def test_tdes(key, expected):
    value = bytes.fromhex(key)
    cipher = ecb(TripleDES(value + value[:8]))
    assert check_values.tdes(cipher).hex().upper() == expected


@pytest.mark.parametrize(("key", "expected"), AES_VECTORS)
def test_aes(key, expected):
    assert check_values.aes(ecb(algorithms.AES(bytes.fromhex(key)))).hex().upper() == expected


def test_aes_uses_both_branches_of_doubling():
    tops = {ecb(algorithms.AES(bytes([n] * 16)))(bytes(16))[0] >> 7 for n in range(16)}
    assert tops == {0, 1}

    for n in range(16):
        algorithm = algorithms.AES(bytes([n] * 16))
        oracle = CMAC(algorithm)
        oracle.update(bytes(16))
        assert check_values.aes(ecb(algorithm)) == oracle.finalize()[:5]


def test_hmac():
    value = check_values.hmac_sha256(lambda data: hmac.digest(b"k" * 32, data, "sha256"))
    assert value == hmac.digest(b"k" * 32, b"", "sha256")[:3]


def test_deciphering_is_three_bytes_of_zeros_deciphered():
    assert check_values.deciphering(lambda data: data[::-1] + b"x", block_size=8) == bytes(3)


def test_deriving_is_three_bytes_of_zeros_under_the_child():
    assert check_values.deriving(lambda data: b"abcd" + data, block_size=8) == b"abc"


def test_a_public_key_is_its_sha_256():
    assert check_values.public_key(b"").hex().startswith("e3b0c442")

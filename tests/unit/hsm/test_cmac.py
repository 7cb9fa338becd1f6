"""The subkeys of CMAC against the CMAC of `cryptography`, for every message of one block."""

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from hsm import cmac

CIPHERS = st.one_of(
    st.binary(min_size=24, max_size=24).map(lambda key: (TripleDES(key), 8)),
    st.sampled_from([16, 24, 32])
    .flatmap(lambda size: st.binary(min_size=size, max_size=size))
    .map(lambda key: (algorithms.AES(key), 16)),
)


def ecb(algorithm, block):
    return Cipher(algorithm, modes.ECB()).encryptor().update(block)


@given(CIPHERS, st.data())
def test_the_cmac_of_one_block_is_one_encipherment(cipher, data):
    algorithm, size = cipher
    block = data.draw(st.binary(min_size=0, max_size=size))
    oracle = CMAC(algorithm)
    oracle.update(block)
    whole, padded = cmac.subkeys(ecb(algorithm, bytes(size)))
    subkey = whole if len(block) == size else padded
    assert ecb(algorithm, cmac.xor(block, subkey)) == oracle.finalize()


@given(st.integers(0, 63), st.sampled_from([8, 16]))
def test_every_bit_of_the_whitener_matters(bit, size):
    flipped = (1 << bit).to_bytes(size, "big")
    first, second = cmac.subkeys(bytes(size)), cmac.subkeys(flipped)
    assert first[0] != second[0]
    assert first[1] != second[1]

"""A terminal's and an HSM's side of DUKPT, with every key in the clear."""

from collections.abc import Sequence

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hsm.device import Step


def aes(key: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)


def tdes(key: bytes, data: bytes) -> bytes:
    return Cipher(TripleDES((key * 3)[:24]), modes.ECB()).encryptor().update(data)


def follow(base: bytes, path: Sequence[Step]) -> bytes:
    """Walk a path as the HSM does, from the value of an AES base key to that of the last child."""
    value = base
    for step in path:
        value = aes(value, step.data)[: step.algorithm.bits // 8]
    return value

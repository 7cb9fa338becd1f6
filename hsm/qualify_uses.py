"""Trials of use: every mechanism for secret keys does what it should, not only stands in a list.

Rules:
- What the token computes is compared: with software where a value is known, and with the token's
  own ECB, block by block, where it is not.
- Derived keys and the keys of key blocks are made by the very functions that the service uses.
"""

import os
import struct
from itertools import pairwise
from typing import Any, Final

from pkcs11 import Attribute, Mechanism
from pkcs11.exceptions import PKCS11Error

from hsm import cmac, derivation, key_blocks
from hsm.derivation import Step
from hsm.key_blocks import KeyBlockVersion
from hsm.mechanisms import CBC, CMAC, ECB, ENCRYPT_DATA
from hsm.qualify_bench import Bench, Shortfall, expect, in_software, trial
from hsm.vocabulary import Algorithm, Family

_BOTH: Final = (Attribute.ENCRYPT, Attribute.DECRYPT)
_KNOWN: Final = {
    Algorithm.TDES_2KEY: bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"),
    Algorithm.AES_256: bytes.fromhex("0123456789ABCDEFFEDCBA9876543210") * 2,
}
_SMALLEST: Final = {Family.TDES: Algorithm.TDES_2KEY, Family.AES: Algorithm.AES_128}
_CRYPT: Final = "C_Encrypt, C_Decrypt"


def _random(bench: Bench) -> str:
    drawn = [bytes(bench.session.generate_random(256)) for _ in range(3)]
    expect(len(set(drawn)) == 3 and all(len(each) == 32 for each in drawn), "it repeats itself")
    bench.session.generate_random(65_536 * 8)
    return "65,536 bytes in one call"


def _ecb(bench: Bench, algorithm: Algorithm) -> str:
    key = bench.secret(algorithm, _BOTH, (ECB[algorithm.family],))
    use: Any = {"mechanism": ECB[algorithm.family]}
    block = os.urandom(algorithm.block_size)
    sealed = bytes(key.encrypt(block * 2, **use))
    expect(sealed == sealed[: len(block)] * 2 and sealed[: len(block)] != block, "it is no ECB")
    expect(bytes(key.decrypt(sealed, **use)) == block * 2, "it does not undo itself")
    return "works"


def _either_cipher(bench: Bench) -> str:
    for algorithm in (Algorithm.AES_256, Algorithm.TDES_3KEY, Algorithm.TDES_2KEY):
        try:
            return f"{_ecb(bench, algorithm)} with {algorithm}"
        except PKCS11Error:
            continue
    raise Shortfall("no block cipher works")


def _known_value(bench: Bench) -> str:
    for algorithm, value in _KNOWN.items():
        key = bench.load(algorithm, value, (Attribute.ENCRYPT,))
        block = os.urandom(algorithm.block_size)
        sealed = bytes(key.encrypt(block, mechanism=ECB[algorithm.family]))
        expect(sealed == in_software(algorithm, value, block))
    return "works"


def _reported_check_value(bench: Bench) -> str:
    key = bench.secret(Algorithm.TDES_3KEY, (Attribute.ENCRYPT,), (Mechanism.DES3_ECB,))
    reported = bytes(key[Attribute.CHECK_VALUE])
    computed = bytes(key.encrypt(bytes(8), mechanism=Mechanism.DES3_ECB))
    expect(reported == computed[:3], "it is not that of zeros enciphered")
    return "works"


def _derived(bench: Bench, family: Family, target: Algorithm) -> str:
    """Two steps from a parent whose own ECB tells what must come of them."""
    first = _SMALLEST[family]
    path = tuple(Step(each, os.urandom(32 if each.bits > 128 else 16)) for each in (first, target))
    parent = bench.secret(first, (Attribute.DERIVE, Attribute.ENCRYPT))
    value = bytes(parent.encrypt(path[0].data, mechanism=ECB[family]))
    for before, step in pairwise(path):
        value = in_software(before.algorithm, value, step.data)[: step.algorithm.bits // 8]
    zeros = bytes(target.block_size)
    with derivation.derived(parent, family, path, enciphers=True) as cipher:
        expect(cipher.encipher(zeros) == in_software(target, value, zeros))
    bound = bench.secret(first, (Attribute.DERIVE,), (ENCRYPT_DATA[family],))
    with derivation.derived(bound, family, path, enciphers=True) as cipher:
        cipher.encipher(zeros)
    return "works"


def _key_block(bench: Bench, version: KeyBlockVersion) -> str:
    """The keys of a key block, once to make one and once to open it."""
    algorithm = _SMALLEST[version.family]
    kbpk = bench.secret(algorithm, (Attribute.DERIVE,), (ENCRYPT_DATA[version.family],))
    iv, data = os.urandom(algorithm.block_size), os.urandom(32)
    with key_blocks.derived(kbpk, algorithm, version, opens=False) as keys:
        sealed, mac = keys.encipher(data, iv=iv), keys.mac(data)
    with key_blocks.derived(kbpk, algorithm, version, opens=True) as keys:
        expect(keys.decipher(sealed, iv=iv) == data and keys.mac(data) == mac, "not undone")
    return "works"


def _mac(bench: Bench) -> str:
    by = Mechanism.SHA256_HMAC
    key = bench.secret(Algorithm.HMAC_SHA256, (Attribute.SIGN,), (by,))
    first, again, other = (bytes(key.sign(data, mechanism=by)) for data in (b"a", b"a", b"b"))
    expect(first == again != other and len(first) == 32, "it is no HMAC")
    return "works"


def _cmac(bench: Bench, family: Family) -> str:
    """Of one block of zeros: one encipherment of a subkey (SP 800-38B, 6.2)."""
    key, zeros = (
        bench.secret(_SMALLEST[family], (Attribute.SIGN, Attribute.ENCRYPT)),
        bytes(family.block_size),
    )
    whole, _ = cmac.subkeys(bytes(key.encrypt(zeros, mechanism=ECB[family])))
    expected = bytes(key.encrypt(whole, mechanism=ECB[family]))
    expect(bytes(key.sign(zeros, mechanism=CMAC[family])) == expected)
    return "works"


def _cbc(bench: Bench, family: Family) -> str:
    key = bench.secret(_SMALLEST[family], _BOTH)
    iv, block = os.urandom(family.block_size), os.urandom(family.block_size)
    use: Any = {"mechanism": CBC[family], "mechanism_param": iv}
    sealed = bytes(key.encrypt(block, **use))
    expect(sealed == bytes(key.encrypt(cmac.xor(block, iv), mechanism=ECB[family])))
    expect(bytes(key.decrypt(sealed, **use)) == block, "it does not undo itself")
    return "works"


def _ctr(bench: Bench) -> str:
    key, counter, data = bench.secret(Algorithm.AES_128, _BOTH), os.urandom(16), os.urandom(16)
    parameter = struct.pack("L16s", 128, counter)  # CK_AES_CTR_PARAMS: the whole block counts
    sealed = bytes(key.encrypt(data, mechanism=Mechanism.AES_CTR, mechanism_param=parameter))
    expect(sealed == cmac.xor(bytes(key.encrypt(counter, mechanism=Mechanism.AES_ECB)), data))
    return "works"


_CIPHER_LOST: Final = {
    Family.TDES: "formats 0 to 3, PVV, offsets",
    Family.AES: "format 4",
}
_CHILDREN: Final = (
    (Family.AES, Algorithm.AES_128, "DUKPT with AES"),
    (Family.AES, Algorithm.AES_256, "DUKPT with AES-256"),
    (Family.AES, Algorithm.TDES_2KEY, "DUKPT with AES for terminals with TDES"),
    (Family.AES, Algorithm.TDES_3KEY, "DUKPT with AES for terminals with TDES"),
    (Family.TDES, Algorithm.TDES_2KEY, "issuer scripts"),
)
_BLOCKS: Final = {
    KeyBlockVersion.B: (Mechanism.DES3_ECB_ENCRYPT_DATA, Mechanism.DES3_CMAC, Mechanism.DES3_CBC),
    KeyBlockVersion.D: (Mechanism.AES_ECB_ENCRYPT_DATA, Mechanism.AES_CMAC, Mechanism.AES_CBC),
    KeyBlockVersion.E: (Mechanism.AES_ECB_ENCRYPT_DATA, Mechanism.AES_CMAC, Mechanism.AES_CTR),
}
_VERSIONS: Final = {Family.TDES: "key blocks of version B", Family.AES: "key blocks of D and E"}

TRIALS: Final = (
    trial(
        "random bytes",
        "C_GenerateRandom",
        (),
        _random,
        lost="everything",
        remedy="use a token with a random generator",
        vital=True,
    ),
    trial(
        "PIN blocks under one cipher at least",
        _CRYPT,
        (Mechanism.AES_ECB, Mechanism.DES3_ECB),
        _either_cipher,
        lost="everything",
        vital=True,
    ),
    *(
        trial(
            f"encipher and decipher, {algorithm}",
            _CRYPT,
            (ECB[algorithm.family],),
            _ecb,
            algorithm,
            lost=f"{_CIPHER_LOST[algorithm.family]} under keys of {algorithm}",
        )
        for algorithm in Algorithm
        if algorithm.family in ECB
    ),
    trial(
        "load a key of known value",
        "C_CreateObject",
        (),
        _known_value,
        lost="keys that pinvault itself loads: components and key blocks",
        remedy="load keys by the vendor's own tools, under the templates of their roles",
    ),
    trial(
        "check value as the token reports it",
        "C_GetAttributeValue",
        (),
        _reported_check_value,
        lost="generated TDES keys that only decipher or derive",
        remedy="import such keys with the check value of their record",
    ),
    *(
        trial(
            f"derive {target} from {family}",
            "C_DeriveKey",
            (ENCRYPT_DATA[family],),
            _derived,
            family,
            target,
            lost=lost,
        )
        for family, target, lost in _CHILDREN
    ),
    trial(
        "index accounts by a MAC",
        "C_Sign",
        (Mechanism.SHA256_HMAC,),
        _mac,
        lost="everything: rates per PAN need it",
        vital=True,
    ),
    *(
        trial(f"CMAC, {family}", "C_Sign", (CMAC[family],), _cmac, family, lost=_VERSIONS[family])
        for family in CMAC
    ),
    *(
        trial(f"CBC, {family}", _CRYPT, (CBC[family],), _cbc, family, lost=_VERSIONS[family])
        for family in CBC
    ),
    trial("CTR, AES", "C_Encrypt", (Mechanism.AES_CTR,), _ctr, lost="key blocks of version E"),
    *(
        trial(
            f"key blocks of version {version}",
            "C_DeriveKey, C_Sign, C_Encrypt, C_Decrypt",
            mechanisms,
            _key_block,
            version,
            lost=f"key blocks of version {version}",
        )
        for version, mechanisms in _BLOCKS.items()
    ),
)
"""Every trial of use of a secret key, in the order of the report."""

"""One contract for the two keys of a key block, on both devices."""

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from hsm.device import KeyBlockVersion, Step
from hsm.errors import HsmDataRefused, HsmTimeout, OperationNotPermitted, UnknownKey
from hsm.vocabulary import Algorithm
from tests.integration.conftest import KBPKS

B, D, E = KeyBlockVersion
DATA = bytes(range(48))

# KBPK, version, KBEK, KBAK: TR-31:2018, A.7.2.2, A.7.3.2 and A.7.4; ISO 20038:2017, B.2 and B.3.
VECTORS = [
    ("kbpk-tdes", B, "698832F8778A7CFCBC79559DAB07B88A", "DD6CEEC1782D8453671BF8358AF9DB47"),
    ("kbpk-tdes-2", B, "BCE8E2AD5D4489FD0EA5236A884DAC58", "1F9B2BDAF969C7B8B6C933AC7B9C6894"),
    (
        "kbpk",
        D,
        "396C9382A6E2E66A088774E1D6E46541F5EAD67D7204F8DD0D7AE8FDA334D3AC",
        "4EF24317696213840451890756757E573E0673483888F9B7F9B7517827F95022",
    ),
    *(
        (
            key,
            version,
            kbek,
            "97AC0955A4B883CE77CBEA0620E8542C6DF7E9AFB4CF8F115E00D4D67FEA1E06",
        )
        for key in ("kbpk-in", "kbpk-out")
        for version, kbek in (
            (D, "9C248005FFD5E6DDEF26A55421A8E925368B3E635D14DF9B863984778B9F6678"),
            (E, "3A3D93E513CB591DCAC550C1554194F08ED9676770D25B727AD628E21B85D5CC"),
        )
    ),
]
MODES = {name: mode for name, _, mode, _ in KBPKS}
FITTING = [
    *((key, B) for key in ("kbpk-tdes", "kbpk-tdes-3")),
    *((key, version) for key in ("kbpk", "kbpk-128", "kbpk-192") for version in (D, E)),
]
"""Keys of every length that go both ways, with the versions they are for."""


def algorithm(version, value):
    return TripleDES((value * 2)[:24]) if version is B else algorithms.AES(value)


def cipher(version, value, iv):
    mode = modes.CTR(iv) if version is E else modes.CBC(iv)
    return Cipher(algorithm(version, value), mode)


def block_of(version):
    return 8 if version is B else 16


def ways(key):
    """Whether blocks are opened, for each way that a key goes."""
    return {"B": (True, False), "D": (True,), "E": (False,)}[MODES[key]]


def ask(device, key, version, work, *, opens, timeout=5):
    return device.with_key_block_keys(f"{key}/1", version, work, opens=opens, timeout=timeout)


@pytest.mark.parametrize(("key", "version", "kbek", "kbak"), VECTORS)
def test_the_keys_are_those_of_the_standard(device, key, version, kbek, kbak):
    iv = bytes(range(1, block_of(version) + 1))
    oracle = CMAC(algorithm(version, bytes.fromhex(kbak)))
    oracle.update(DATA)
    expected = oracle.finalize()
    both = cipher(version, bytes.fromhex(kbek), iv)
    for opens in ways(key):

        def work(keys, opens=opens):
            act = keys.decipher if opens else keys.encipher
            return keys.mac(DATA), act(DATA, iv=iv)

        acted = (both.decryptor() if opens else both.encryptor()).update(DATA)
        assert ask(device, key, version, work, opens=opens) == (expected, acted)


@pytest.mark.parametrize(("key", "version"), FITTING)
def test_one_way_undoes_the_other(device, key, version):
    iv, size = b"\xff" * (block_of(version) - 1) + b"\x00", block_of(version)
    for length in (size, 3 * size, 8 * size, *((1, 17, 100) if version is E else ())):
        data = bytes(range(length))
        made = ask(device, key, version, lambda keys, d=data: keys.encipher(d, iv=iv), opens=False)
        assert len(made) == length
        assert made != data
        opened = ask(device, key, version, lambda keys, m=made: keys.decipher(m, iv=iv), opens=True)
        assert opened == data


@pytest.mark.parametrize(("key", "version"), FITTING)
def test_both_ways_make_one_mac_of_any_length(device, key, version):
    for length in (1, 7, 8, 15, 16, 17, 500):
        data = bytes(length)
        macs = [
            ask(device, key, version, lambda keys, d=data: keys.mac(d), opens=opens)
            for opens in (True, False)
        ]
        assert macs[0] == macs[1]
        assert len(macs[0]) == block_of(version)


def test_versions_of_one_key_share_only_the_mac(device):
    def work(keys):
        return keys.mac(DATA), keys.encipher(bytes(16), iv=bytes(16))

    (mac, cbc), (same_mac, ctr) = (ask(device, "kbpk", each, work, opens=False) for each in (D, E))
    assert mac == same_mac
    assert cbc != ctr


@pytest.mark.parametrize(("key", "version"), FITTING)
def test_what_enciphers_does_not_decipher(device, key, version):
    iv = bytes(block_of(version))
    for opens, method in ((True, "encipher"), (False, "decipher")):
        with pytest.raises(OperationNotPermitted):
            ask(
                device,
                key,
                version,
                lambda keys, method=method: getattr(keys, method)(bytes(16), iv=iv),
                opens=opens,
            )


def never(keys):
    raise AssertionError("work is never begun")


@pytest.mark.parametrize(
    ("key", "version", "opens"),
    [
        ("kbpk-in", D, False),
        ("kbpk-out", D, True),
        ("kbpk-old", D, False),
        ("kbpk-tdes-2", B, False),
        ("bdk", D, True),
        ("smc", B, True),
        ("aes-b", D, True),
        ("tdes3-b", B, False),
        ("carrier", D, True),
        ("agree", D, True),
    ],
)
def test_other_keys_and_other_ways_are_refused(device, key, version, opens):
    with pytest.raises(OperationNotPermitted) as caught:
        ask(device, key, version, never, opens=opens)
    assert caught.value.facts["key"] == f"{key}/1"


def test_a_decipher_only_key_still_opens(device):
    assert len(ask(device, "kbpk-old", D, lambda keys: keys.mac(b"x"), opens=True)) == 16


@pytest.mark.parametrize(("key", "version"), [("kbpk-tdes", D), ("kbpk-tdes-3", E), ("kbpk", B)])
def test_a_version_fits_the_algorithm(device, key, version):
    with pytest.raises(ValueError, match="another algorithm"):
        ask(device, key, version, never, opens=True)


def test_a_protection_key_does_nothing_else(device):
    step = (Step(Algorithm.AES_128, bytes(16)),)
    refused = [
        lambda: device.with_derived("kbpk/1", step, never, timeout=5),
        lambda: device.encipher("kbpk/1", bytes(16), timeout=5),
        lambda: device.decipher("kbpk/1", bytes(16), timeout=5),
        lambda: device.mac("kbpk/1", b"", timeout=5),
    ]
    for attempt in refused:
        with pytest.raises(OperationNotPermitted):
            attempt()


@pytest.mark.parametrize(("version", "key"), [(B, "kbpk-tdes"), (D, "kbpk"), (E, "kbpk")])
def test_lengths_are_checked(device, version, key):
    size = block_of(version)
    odd = [(b"", size), (bytes(size), 0), (bytes(size), size - 1), (bytes(size), size + 1)]
    if version is not E:
        odd += [(bytes(size - 1), size), (bytes(size + 1), size)]
    for data, vector in odd:
        for opens, method in ((True, "decipher"), (False, "encipher")):
            with pytest.raises(ValueError, match="not whole blocks"):
                ask(
                    device,
                    key,
                    version,
                    lambda keys, m=method, d=data, v=vector: getattr(keys, m)(d, iv=bytes(v)),
                    opens=opens,
                )


class WorkError(Exception):
    """What the caller's own work may raise."""


@pytest.mark.parametrize("error", [WorkError("of work"), HsmDataRefused("of work"), KeyError(1)])
def test_what_work_raises_passes_unchanged(device, error):
    def work(keys):
        raise error

    with pytest.raises(type(error)) as caught:
        ask(device, "kbpk", D, work, opens=True)
    assert caught.value is error


def test_unknown_keys_and_spent_time_are_refused(device):
    with pytest.raises(UnknownKey):
        ask(device, "none", D, never, opens=True)
    for timeout in (0, -1.0):
        with pytest.raises(HsmTimeout):
            ask(device, "kbpk", D, never, opens=True, timeout=timeout)

"""DUKPT by example: what is refused and how, what the HSM is told, and what is left of a key."""

import pickle

import pytest

from hsm.device import Step
from hsm.errors import HsmUnavailable
from pinvault.clearzone.dukpt import aes, tdes
from pinvault.model.dukpt import WORKING_KEYS, Dukpt, require
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Algorithm
from tests.support import dukpt as clear

AES_KSN = bytes.fromhex("123456789012345600000001")
TDES_KSN = bytes.fromhex("FFFF9876543210E00001")
TRANSACTION_KEY = bytes.fromhex("042666B49184CFA368DE9628D0397BC9")
A_BLOCK = bytes.fromhex("0123456789ABCDEF")


def ksn_for(base: Algorithm) -> bytes:
    return TDES_KSN if base.startswith("TDES") else AES_KSN


def refusal_of(ksn: bytes, working_key: Algorithm, base: Algorithm) -> Refusal | None:
    try:
        require(Dukpt(ksn=ksn, working_key=working_key), base=base, at="source.pin_block.dukpt")
    except Refusal as refusal:
        return refusal
    return None


# Which transactions there are


@pytest.mark.parametrize("working_key", Algorithm)
@pytest.mark.parametrize("base", Algorithm)
def test_a_base_key_derives_block_ciphers_that_are_no_stronger(
    base: Algorithm, working_key: Algorithm
) -> None:
    strength = {"TDES_2KEY": 80, "TDES_3KEY": 112, "AES_128": 128, "AES_192": 192, "AES_256": 256}
    allowed = (
        base in {"TDES_2KEY", "AES_128", "AES_192", "AES_256"}
        and working_key in strength
        and strength[working_key] <= strength[base]
    )
    refusal = refusal_of(ksn_for(base), working_key, base)
    assert (refusal is None) is allowed
    if refusal is not None:
        assert refusal.reason is Reason.KSN_INVALID
        assert refusal.field == "source.pin_block.dukpt.working_key_algorithm"


@pytest.mark.parametrize(
    ("base", "ksn", "allowed"),
    [
        ("AES_128", "123456789012345600000000", False),
        ("AES_128", "123456789012345600000001", True),
        ("AES_128", "12345678901234560000FFFF", True),
        ("AES_128", "12345678901234560001FFFF", False),
        ("AES_128", "1234567890123456FFFF0000", True),
        ("AES_256", "1234567890123456FFFF0001", False),
        ("AES_256", "1234567890123456FFFFFFFF", False),
        ("AES_256", "FFFF9876543210E00001", False),
        ("TDES_2KEY", "FFFF9876543210E00000", False),
        ("TDES_2KEY", "FFFF9876543210E00001", True),
        ("TDES_2KEY", "FFFF9876543210FFF800", True),
        ("TDES_2KEY", "FFFF9876543210FFFC00", False),
        ("TDES_2KEY", "FFFF9876543210E003FF", True),
        ("TDES_2KEY", "FFFF9876543210E007FF", False),
        ("TDES_2KEY", "123456789012345600000001", False),
    ],
)
def test_the_bounds_of_a_counter(base: str, ksn: str, allowed: bool) -> None:
    refusal = refusal_of(bytes.fromhex(ksn), Algorithm.TDES_2KEY, Algorithm(base))
    assert (refusal is None) is allowed
    if refusal is not None:
        assert refusal.reason is Reason.KSN_INVALID
        assert refusal.field == "source.pin_block.dukpt.key_serial_number"


def test_a_transaction_does_not_show_its_ksn() -> None:
    shown = repr(Dukpt(ksn=AES_KSN, working_key=Algorithm.AES_128))
    assert "working_key" in shown
    assert "ksn" not in shown


# AES


@pytest.mark.parametrize("base", [base for base in WORKING_KEYS if base.startswith("AES")])
@pytest.mark.parametrize("working_key", WORKING_KEYS[Algorithm.AES_256])
def test_each_step_names_its_child_and_has_a_block_for_each_128_bits_of_it(
    base: Algorithm, working_key: Algorithm
) -> None:
    path = aes.path_to_pin_key(AES_KSN, base=base, working_key=working_key)
    assert [step.algorithm.value for step in path] == [base, base, working_key]
    assert [len(step.data) for step in path] == [
        16 if step.algorithm in {"AES_128", "TDES_2KEY"} else 32 for step in path
    ]


def test_the_second_block_of_a_long_key_differs_in_its_number_alone() -> None:
    (initial, *_) = aes.path_to_pin_key(
        AES_KSN, base=Algorithm.AES_256, working_key=Algorithm.AES_128
    )
    assert initial == Step(
        initial.algorithm,
        bytes.fromhex("01018001000401001234567890123456" + "01028001000401001234567890123456"),
    )


# TDES


def test_a_pin_key_is_gone_when_its_block_ends() -> None:
    with tdes.PinKey(TRANSACTION_KEY) as pin_key:
        value = pin_key._value
        assert pin_key.decipher(pin_key.encipher(A_BLOCK)) == A_BLOCK
    assert value == b""
    for use in (pin_key.encipher, pin_key.decipher):
        with pytest.raises(ValueError, match="key size"):
            use(A_BLOCK)


def test_a_pin_key_is_overwritten_before_it_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    wiped: list[bytes] = []
    monkeypatch.setattr(tdes, "_wipe", lambda key: wiped.append(bytes(key)))
    with tdes.PinKey(TRANSACTION_KEY) as pin_key:
        value = bytes(pin_key._value)
    assert wiped == [value]


def test_a_pin_key_is_gone_when_its_block_fails() -> None:
    pin_key = tdes.PinKey(TRANSACTION_KEY)
    with pytest.raises(RuntimeError), pin_key:
        raise RuntimeError
    with pytest.raises(ValueError, match="key size"):
        pin_key.encipher(A_BLOCK)


def test_a_pin_key_neither_shows_nor_travels() -> None:
    with tdes.PinKey(TRANSACTION_KEY) as pin_key:
        assert f"{pin_key} {pin_key!r}" == "<PIN key> <PIN key>"
        with pytest.raises(TypeError):
            pickle.dumps(pin_key)


def test_the_initial_and_the_transaction_key_are_overwritten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[bytearray] = []
    derive = tdes.initial_key

    def kept(ksn: bytes, **hsm: tdes.Encipher) -> bytearray:
        made.append(derive(ksn, **hsm))
        return made[0]

    monkeypatch.setattr(tdes, "initial_key", kept)
    with pin_key(TDES_KSN) as cipher:
        assert made == [bytearray(16)]
        assert cipher.decipher(cipher.encipher(A_BLOCK)) == A_BLOCK


def test_a_failure_of_the_hsm_comes_through() -> None:
    def fails(block: bytes) -> bytes:
        raise HsmUnavailable

    with pytest.raises(HsmUnavailable):
        tdes.pin_key(TDES_KSN, encipher_left=lambda block: block, encipher_right=fails)


def pin_key(ksn: bytes) -> tdes.PinKey:
    return tdes.pin_key(
        ksn,
        encipher_left=lambda block: clear.tdes(bytes(16), block),
        encipher_right=lambda block: clear.tdes(bytes([0xC0] * 4 + [0] * 4) * 2, block),
    )

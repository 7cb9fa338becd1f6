"""A clear key opens at one door and nowhere else; and what is computed of it."""

import copy
import dataclasses
import itertools
import json
import operator
import pickle
import pprint
import traceback

import msgspec
import pytest
import rich.pretty
from hypothesis import given, settings
from hypothesis import strategies as st
from psec import des

from hsm.vocabulary import Algorithm, Family
from pinvault.clearzone.clear_key import WEAK, ClearKey, bytes_of, check_value_of, is_sound
from tests.support.key_blocks import measured

SECRET = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
FORMS = (SECRET.hex(), SECRET.hex().upper(), repr(SECRET), repr(bytearray(SECRET)), str([*SECRET]))
SECRET_ALGORITHMS = [a for a in Algorithm if a.family in (Family.TDES, Family.AES, Family.HMAC)]

bounded = settings(max_examples=100)


@dataclasses.dataclass(frozen=True)
class Carrier:
    key: ClearKey


@pytest.fixture
def key() -> ClearKey:
    return ClearKey(SECRET)


WAYS_TO_WRITE = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": lambda key: format(key, ">40"),
    "percent": lambda key: "%s %r" % (key, key),  # noqa: UP031
    "list": lambda key: repr([key]),
    "dataclass": lambda key: repr(Carrier(key)),
    "pprint": lambda key: pprint.pformat({"key": Carrier(key)}),
    "rich": lambda key: rich.pretty.pretty_repr({"key": [key]}, expand_all=True),
    "exception": lambda key: repr(ValueError(key)),
}


@pytest.mark.parametrize("write", WAYS_TO_WRITE.values(), ids=WAYS_TO_WRITE)
def test_no_way_of_writing_shows_it(key: ClearKey, write) -> None:
    text = write(key)
    assert "<clear key>" in text
    assert not any(form[2:12] in text for form in FORMS)


def test_a_traceback_with_locals_does_not_show_it(key: ClearKey) -> None:
    def fails(inner: ClearKey) -> None:
        raise RuntimeError

    try:
        fails(key)
    except RuntimeError as error:
        told = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert "inner = <clear key>" in told
    assert not any(form[2:12] in told for form in FORMS)


FORBIDDEN = {
    "==": lambda key: key == key,
    "== bytes": lambda key: key == SECRET,
    "bytes ==": lambda key: SECRET == key,  # noqa: SIM300
    "!=": lambda key: key != ClearKey(SECRET),
    "in": lambda key: operator.contains([ClearKey(SECRET)], key),
    "<": lambda key: operator.lt(key, ClearKey(SECRET)),
    "hash": hash,
    "bool": bool,
    "len": len,
    "iter": iter,
    "index": lambda key: key[0],
    "bytes": bytes,
    "memoryview": memoryview,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "asdict": lambda key: dataclasses.asdict(Carrier(key)),
    "vars": vars,
    "json": json.dumps,
    "msgspec": msgspec.json.encode,
    "pickle": pickle.dumps,
    "getstate": lambda key: key.__getstate__(),
}


@pytest.mark.parametrize("use", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_would_compare_copy_or_spell_it_is_an_error_without_it(key: ClearKey, use) -> None:
    with pytest.raises(TypeError) as caught:
        use(key)
    assert not any(form[2:12] in str(caught.value) for form in FORMS)
    assert bytes_of(key) == SECRET


def test_it_is_neither_true_nor_false_and_says_so(key: ClearKey) -> None:
    with pytest.raises(TypeError, match="tested for truth"):
        bool(key)


def test_it_keeps_its_own_copy_and_takes_no_attributes() -> None:
    given_as = bytearray(SECRET)
    key = ClearKey(given_as)
    given_as[:] = bytes(16)
    assert bytes_of(key) == SECRET
    with pytest.raises(AttributeError):
        key.note = "x"  # type: ignore[attr-defined]


@pytest.mark.parametrize("fails", [False, True], ids=["ends", "fails"])
def test_it_is_overwritten_and_emptied_when_its_block(key: ClearKey, *, fails: bool) -> None:
    storage = key._value
    with pytest.raises(RuntimeError) if fails else key, key as same:
        assert same is key
        if fails:
            raise RuntimeError
    assert storage == b""
    with pytest.raises(ValueError, match="wiped"):
        bytes_of(key)


def test_what_is_wiped_was_overwritten_first() -> None:
    class Watched(bytearray):
        def clear(self) -> None:
            seen.append(bytes(self))
            super().clear()

    seen: list[bytes] = []
    key = ClearKey(SECRET)
    key._value = Watched(SECRET)
    key.wipe()
    assert seen == [bytes(16)]


@bounded
@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=5))
def test_a_sum_does_not_depend_on_the_order(parts: list[bytes]) -> None:
    whole = 0
    for part in parts:
        whole ^= int.from_bytes(part)
    for order in itertools.islice(itertools.permutations(parts), 6):
        assert bytes_of(ClearKey.combined(order)) == whole.to_bytes(16)


def test_parts_of_a_sum_are_of_one_length() -> None:
    with pytest.raises(ValueError, match="zip"):
        ClearKey.combined([bytes(16), bytes(24)])


@pytest.mark.parametrize("algorithm", SECRET_ALGORITHMS)
def test_a_check_value_is_the_hsms(algorithm: Algorithm) -> None:
    value = bytes(range(7, 7 + algorithm.bits // 8))
    assert check_value_of(ClearKey(value), algorithm) == measured(value, algorithm)
    for wrong in value[:-1], value + b"\0":
        with pytest.raises(ValueError, match="length"):
            check_value_of(ClearKey(wrong), algorithm)


def test_a_key_pair_has_no_check_value_here() -> None:
    with pytest.raises(ValueError, match="key pair"):
        check_value_of(ClearKey(bytes(32)), Algorithm.EC_P256)


@bounded
@given(value=st.binary(min_size=24, max_size=24))
def test_odd_parity_changes_the_last_bits_alone(value: bytes) -> None:
    key = ClearKey(value)
    before = check_value_of(key, Algorithm.TDES_3KEY)
    key.set_odd_parity()
    adjusted = bytes_of(key)
    assert des.adjust_key_parity(value) == adjusted
    assert all(one & 0xFE == other & 0xFE for one, other in zip(value, adjusted, strict=True))
    assert check_value_of(key, Algorithm.TDES_3KEY) == before


def test_the_weak_keys_are_the_sixteen_of_the_standard() -> None:
    assert len(WEAK) == 16
    assert bytes.fromhex("0101010101010101") in WEAK
    assert bytes.fromhex("1F1F1F1F0E0E0E0E") in WEAK
    assert bytes.fromhex("01FE01FE01FE01FE") in WEAK
    assert bytes.fromhex("E0FEE0FEF1FEF1FE") in WEAK
    assert {des.adjust_key_parity(one) for one in WEAK} == WEAK


ONE, TWO, THREE = (bytes.fromhex(t * 8) for t in ("13", "25", "37"))


@pytest.mark.parametrize(
    ("value", "sound"),
    [
        (ONE + TWO, True),
        (ONE + ONE, False),
        (ONE + TWO + THREE, True),
        (ONE + TWO + ONE, False),
        (ONE + ONE + TWO, False),
        (ONE + TWO + TWO, False),
        *[(ONE + weak, False) for weak in sorted(WEAK)],
        *[(weak + ONE + TWO, False) for weak in sorted(WEAK)],
    ],
    ids=str,
)
def test_a_tdes_key_has_different_keys_none_of_them_weak(value: bytes, *, sound: bool) -> None:
    algorithm = Algorithm.TDES_2KEY if len(value) == 16 else Algorithm.TDES_3KEY
    assert is_sound(ClearKey(value), algorithm) is sound


@pytest.mark.parametrize("algorithm", [Algorithm.AES_128, Algorithm.HMAC_SHA256])
def test_another_key_is_anything_but_zeros(algorithm: Algorithm) -> None:
    zeros = bytes(algorithm.bits // 8)
    assert not is_sound(ClearKey(zeros), algorithm)
    assert is_sound(ClearKey(zeros[:-1] + b"\1"), algorithm)

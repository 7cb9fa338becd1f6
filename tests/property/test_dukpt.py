"""DUKPT against a second reading of the standards, which goes backwards: from a key to its parent.

There, the key of a counter hangs on the key of the counter without its lowest set bit, and the
key of counter 0 is the initial key (X9.24-3:2017, 6.1; X9.24-1:2009, A.3).
"""

from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pinvault.clearzone.dukpt import aes, tdes
from pinvault.model.dukpt import (
    AES_KSN,
    TDES_KSN,
    WORKING_KEYS,
    Dukpt,
    KsnForm,
    require,
    way_to,
)
from pinvault.model.errors import Refusal
from pinvault.model.keys import Algorithm
from tests.support import dukpt as clear

bounded = settings(max_examples=100)

VARIANT = 0xC0C0C0C000000000
PIN_MASK = 0xFF
BITS = {
    Algorithm.TDES_2KEY: 128,
    Algorithm.TDES_3KEY: 192,
    Algorithm.AES_128: 128,
    Algorithm.AES_192: 192,
    Algorithm.AES_256: 256,
}
INDICATORS = {algorithm: place for place, algorithm in enumerate(BITS)}
AES_BASES = [base for base in WORKING_KEYS if base.startswith("AES")]

a_block = bytes(range(8))
some_bytes = st.binary(min_size=32, max_size=32)
aes_bases = st.sampled_from(AES_BASES)
each_form = pytest.mark.parametrize(
    ("form", "base"),
    [(AES_KSN, base) for base in AES_BASES] + [(TDES_KSN, Algorithm.TDES_2KEY)],
)


def counters(form: KsnForm, fewest: int, most: int) -> st.SearchStrategy[int]:
    """Counters with that many set bits."""
    places = st.sets(st.integers(0, form.counter_bits - 1), min_size=fewest, max_size=most)
    return places.map(lambda chosen: sum(1 << place for place in chosen))


def ksns(form: KsnForm, fewest: int = 1, most: int | None = None) -> st.SearchStrategy[bytes]:
    """KSNs of any terminal, by default with counters that are allowed."""
    terminals = st.integers(0, (1 << 8 * form.length - form.counter_bits) - 1)
    most = form.most_set_bits if most is None else most
    return st.tuples(terminals, counters(form, fewest, most)).map(
        lambda both: (both[0] << form.counter_bits | both[1]).to_bytes(form.length)
    )


def accepted(ksn: bytes, base: Algorithm) -> bool:
    try:
        require(Dukpt(ksn=ksn, working_key=Algorithm.TDES_2KEY), base=base, at="dukpt")
    except Refusal:
        return False
    return True


# Which KSNs there are


@each_form
@bounded
@given(data=st.data())
def test_a_ksn_is_accepted_just_when_its_counter_has_one_to_the_most_set_bits(
    form: KsnForm, base: Algorithm, data: st.DataObject
) -> None:
    ksn = data.draw(ksns(form, 0, form.counter_bits))
    bits = f"{int.from_bytes(ksn):0{form.counter_bits}b}"[-form.counter_bits :]
    assert accepted(ksn, base) is (1 <= bits.count("1") <= form.most_set_bits)


@each_form
@pytest.mark.parametrize("length", [0, 1, 8, 9, 10, 11, 12, 13, 20, 24])
def test_a_ksn_of_another_length_is_refused(form: KsnForm, base: Algorithm, length: int) -> None:
    assert accepted(bytes([length]) * (length - 1) + b"\1" * bool(length), base) is (
        length == form.length
    )


@bounded
@given(counter=st.integers(1, 2**32 - 1))
def test_the_way_to_a_counter_adds_its_set_bits_one_by_one_from_the_most_significant(
    counter: int,
) -> None:
    way = [0, *way_to(counter)]
    added = [after - before for before, after in pairwise(way)]
    assert added == sorted(added, reverse=True)
    assert [bit.bit_count() for bit in added] == [1] * counter.bit_count()
    assert way[-1] == counter


# AES


@bounded
@given(value=some_bytes, base=aes_bases, data=st.data())
def test_an_aes_pin_key_is_that_of_the_second_reading(
    value: bytes, base: Algorithm, data: st.DataObject
) -> None:
    ksn = data.draw(ksns(AES_KSN))
    working_key = data.draw(st.sampled_from(WORKING_KEYS[base]))
    key = value[: BITS[base] // 8]
    path = aes.path_to_pin_key(ksn, base=base, working_key=working_key)
    assert clear.follow(key, path) == aes_pin_key(key, ksn, base, working_key)
    assert len(path) == 2 + AES_KSN.counter(ksn).bit_count()


@bounded
@given(ksn=ksns(AES_KSN), base=aes_bases, place=st.integers(0, 95))
def test_every_bit_of_an_aes_ksn_matters(ksn: bytes, base: Algorithm, place: int) -> None:
    other = flipped(ksn, place)
    assume(AES_KSN.counter(other))
    keys = [
        clear.follow(bytes(BITS[base] // 8), aes.path_to_pin_key(each, base=base, working_key=base))
        for each in (ksn, other)
    ]
    assert keys[0] != keys[1]


@bounded
@given(ksn=ksns(AES_KSN), base=aes_bases)
def test_no_two_keys_of_a_path_or_of_two_algorithms_are_alike(ksn: bytes, base: Algorithm) -> None:
    """The data name usage, algorithm and length, so that no key is made twice for two purposes."""
    paths = [
        aes.path_to_pin_key(ksn, base=base, working_key=working_key)
        for working_key in WORKING_KEYS[base]
    ]
    data = [step.data for step in paths[0][:-1]] + [path[-1].data for path in paths]
    blocks = [each[at : at + 16] for each in data for at in range(0, len(each), 16)]
    assert len(set(blocks)) == len(blocks)


def aes_pin_key(key: bytes, ksn: bytes, base: Algorithm, working_key: Algorithm) -> bytes:
    parent = aes_key(key, ksn, AES_KSN.counter(ksn), base)
    return aes_child(parent, "1000", working_key, ksn[4:].hex())


def aes_key(key: bytes, ksn: bytes, counter: int, base: Algorithm) -> bytes:
    if counter == 0:
        return aes_child(key, "8001", base, ksn[:8].hex())
    parent = aes_key(key, ksn, counter & (counter - 1), base)
    return aes_child(parent, "8000", base, f"{ksn[4:8].hex()}{counter:08x}")


def aes_child(parent: bytes, usage: str, algorithm: Algorithm, context: str) -> bytes:
    tail = f"{usage}{INDICATORS[algorithm]:04x}{BITS[algorithm]:04x}{context}"
    both = [clear.aes(parent, bytes.fromhex(f"01{block:02x}{tail}")) for block in (1, 2)]
    return b"".join(both)[: BITS[algorithm] // 8]


# TDES


@bounded
@given(value=some_bytes, ksn=ksns(TDES_KSN))
def test_a_tdes_pin_key_is_that_of_the_second_reading(value: bytes, ksn: bytes) -> None:
    base, blocks = value[:16], value
    expected = tdes_pin_key(base, ksn)
    with tdes_key(base, ksn) as cipher:
        ciphertext = cipher.encipher(blocks)
        assert ciphertext == clear.tdes(expected, blocks)
        assert cipher.decipher(ciphertext) == blocks


@bounded
@given(ksn=ksns(TDES_KSN), place=st.integers(0, 79))
def test_every_bit_of_a_tdes_ksn_matters(ksn: bytes, place: int) -> None:
    other = flipped(ksn, place)
    assume(TDES_KSN.counter(other))
    with tdes_key(bytes(16), ksn) as one, tdes_key(bytes(16), other) as another:
        assert one.encipher(a_block) != another.encipher(a_block)


@bounded
@given(ksn=ksns(TDES_KSN))
def test_the_hsm_enciphers_the_terminal_and_never_the_counter(ksn: bytes) -> None:
    asked: list[bytes] = []

    def hsm(block: bytes) -> bytes:
        asked.append(block)
        return a_block

    with tdes.pin_key(ksn, encipher_left=hsm, encipher_right=hsm):
        assert asked == [(int.from_bytes(ksn) >> 21 << 21).to_bytes(10)[:8]] * 2


def tdes_key(base: bytes, ksn: bytes) -> tdes.PinKey:
    variant = added(base, VARIANT)
    return tdes.pin_key(
        ksn,
        encipher_left=lambda block: clear.tdes(base, block),
        encipher_right=lambda block: clear.tdes(variant, block),
    )


def tdes_pin_key(base: bytes, ksn: bytes) -> bytes:
    return added(tdes_transaction_key(base, int.from_bytes(ksn)), PIN_MASK)


def tdes_transaction_key(base: bytes, ksn: int) -> bytes:
    counter = ksn & 0x1FFFFF
    if counter == 0:
        terminal = ksn.to_bytes(10)[:8]
        return clear.tdes(base, terminal) + clear.tdes(added(base, VARIANT), terminal)
    parent = tdes_transaction_key(base, ksn - counter + (counter & (counter - 1)))
    register = ksn & (2**64 - 1)
    return half(added(parent, VARIANT), register) + half(parent, register)


def half(key: bytes, register: int) -> bytes:
    right = int.from_bytes(key[8:])
    enciphered = clear.tdes(key[:8], (register ^ right).to_bytes(8))
    return (int.from_bytes(enciphered) ^ right).to_bytes(8)


def added(key: bytes, mask: int) -> bytes:
    """Add a mask of 8 bytes to both halves of a key modulo 2."""
    return (int.from_bytes(key) ^ (mask << 64 | mask)).to_bytes(16)


def flipped(ksn: bytes, place: int) -> bytes:
    return (int.from_bytes(ksn) ^ 1 << place).to_bytes(len(ksn))

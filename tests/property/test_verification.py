"""PVV, IBM 3624 and comparison: psec as oracle, and every digit that counts, counts."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from psec import des
from psec import pin as oracle

from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.verification import ibm3624, pvv
from pinvault.clearzone.verification.compare import same_pin
from pinvault.model.pan import Pan
from pinvault.model.verification import Ibm3624Scheme, PinOffset, Pvv, ValidationLayout

DIGITS = "0123456789"
HEX = "0123456789ABCDEF"
KEY = random.Random(3624).randbytes(24)
CASES = 2000

pins = st.text(DIGITS, min_size=4, max_size=12)
pans = st.text(DIGITS, min_size=12, max_size=19)
places = st.integers(0, 11)
steps = st.integers(1, 9)
indexes = st.integers(0, 6)

bounded = settings(max_examples=150)


def encipher(block: bytes, key: bytes = KEY) -> bytes:
    assert len(block) == 8
    return des.encrypt_tdes_ecb(key, block)


def digits(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(DIGITS, k=length))


def changed(text: str, place: int, by: int) -> str:
    return text[:place] + str((int(text[place]) + by) % 10) + text[place + 1 :]


def pin_of(text: str) -> Pin:
    return Pin(text.encode())


def read(pin: Pin) -> str:
    with pin:
        return digits_of(pin).decode()


# PVV


def test_the_pvv_is_psecs() -> None:
    rng = random.Random("pvv")
    for _ in range(CASES):
        key, index = rng.randbytes(24), rng.randrange(7)
        pin, pan = digits(rng, rng.randint(4, 12)), digits(rng, rng.randint(12, 19))
        theirs = oracle.generate_visa_pvv(key, str(index), pin[:4], pan)
        ours = pvv.pvv(
            pin_of(pin), pan=Pan(pan), key_index=index, encipher=lambda b, k=key: encipher(b, k)
        )
        assert ours == Pvv(value=theirs, key_index=index)


@bounded
@given(pin=pins, pan=pans, index=indexes, place=st.integers(0, 3), by=steps)
def test_a_pvv_verifies_its_pin_and_no_other_value_does(
    pin: str, pan: str, index: int, place: int, by: int
) -> None:
    how = {"pan": Pan(pan), "encipher": encipher}
    value = pvv.pvv(pin_of(pin), key_index=index, **how)
    assert pvv.verify(pin_of(pin), value=value, **how)
    other = Pvv(value=changed(value.value, place, by), key_index=index)
    assert not pvv.verify(pin_of(pin), value=other, **how)


@bounded
@given(pin=pins, pan=pans, index=indexes, issuer=st.text(DIGITS, max_size=7), rest=st.data())
def test_a_pvv_depends_on_four_pin_digits_eleven_pan_digits_and_the_index_alone(
    pin: str, pan: str, index: int, issuer: str, rest: st.DataObject
) -> None:
    seen: list[bytes] = []

    def look(block: bytes) -> bytes:
        seen.append(block)
        return block

    other_pin = pin[:4] + rest.draw(st.text(DIGITS, max_size=8))
    other_pan = issuer + pan[-12:-1] + rest.draw(st.sampled_from(DIGITS))
    pvv.pvv(pin_of(pin), pan=Pan(pan), key_index=index, encipher=look)
    pvv.pvv(pin_of(other_pin), pan=Pan(other_pan), key_index=index, encipher=look)
    assert [block.hex() for block in seen] == [f"{pan[-12:-1]}{index}{pin[:4]}"] * 2


@settings(max_examples=400)
@given(
    st.text("abcdef", min_size=10, max_size=16).flatmap(
        lambda letters: st.permutations(letters + "0314159"[: 16 - len(letters)])
    )
)
def test_a_cryptogram_with_few_digits_is_scanned_twice(nibbles: list[str]) -> None:
    first = [nibble for nibble in nibbles if nibble in DIGITS]
    second = [str("abcdef".index(nibble)) for nibble in nibbles if nibble in "abcdef"]
    assert pvv.decimalise(bytes.fromhex("".join(nibbles))) == "".join(first + second)[:4]


# IBM 3624


def scheme(check_length: int, pin_length: int | None = None, **changes: str) -> Ibm3624Scheme:
    return Ibm3624Scheme(
        name="programme",
        key="pvk",
        decimalisation_table=changes.pop("table", "0123456789012345"),
        validation=ValidationLayout(**({"template": "{first16}"} | changes)),
        check_length=check_length,
        pin_length=pin_length or check_length,
    )


def table_of(rng: random.Random) -> str:
    """Give ten different digits, six of them twice, in any order."""
    return "".join(rng.sample(DIGITS + "".join(rng.sample(DIGITS, k=6)), k=16))


def windows(rng: random.Random, pan: str) -> tuple[str, int, int]:
    """Give a template, and the part of the PAN that it takes as psec says it: start, length."""
    count = rng.randint(4, 16)
    match rng.choice(["first", "last", "account"]):
        case "first":
            return f"{{first{count}}}", 0, min(count, len(pan))
        case "last":
            taken = min(count, len(pan))
            return f"{{last{count}}}", len(pan) - taken, taken
        case _:
            taken = min(count, len(pan) - 1)
            return f"{{account{count}}}", len(pan) - 1 - taken, taken


def ibm_cases() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Give digits as long as a PIN, what our functions need, and what psec's need."""
    rng = random.Random("ibm3624")
    for _ in range(CASES):
        key, table, pad = rng.randbytes(24), table_of(rng), rng.choice(HEX)
        text, pan = digits(rng, rng.randint(4, 12)), digits(rng, rng.randint(13, 19))
        template, start, taken = windows(rng, pan)
        ours = {
            "pan": Pan(pan),
            "scheme": scheme(len(text), table=table, template=template, pad=pad),
            "encipher": lambda block, key=key: encipher(block, key),
        }
        theirs = {
            "pvk": key,
            "conversion_table": table,
            "pan": pan,
            "pan_verify_offset": start,
            "pan_verify_length": taken,
            "pan_pad": pad,
        }
        yield text, ours, theirs


def test_the_offset_is_psecs() -> None:
    for pin, ours, theirs in ibm_cases():
        expected = oracle.generate_ibm3624_offset(pin=pin, **theirs)
        assert ibm3624.offset(pin_of(pin), **ours).value == expected


def test_the_pin_of_an_offset_is_psecs_and_the_natural_pin_is_that_of_zeros() -> None:
    for offset, ours, theirs in ibm_cases():
        expected = oracle.generate_ibm3624_pin(offset=offset, **theirs)
        assert read(ibm3624.pin_from_offset(PinOffset(value=offset), **ours)) == expected
        zeros = oracle.generate_ibm3624_pin(offset="0" * len(offset), **theirs)
        assert read(ibm3624.natural_pin(**ours)) == zeros


@bounded
@given(pin=pins, pan=pans, place=places, by=steps)
def test_an_offset_gives_its_pin_back_and_every_digit_counts(
    pin: str, pan: str, place: int, by: int
) -> None:
    place %= len(pin)
    how = {"pan": Pan(pan), "scheme": scheme(len(pin)), "encipher": encipher}
    offset = ibm3624.offset(pin_of(pin), **how)
    assert read(ibm3624.pin_from_offset(offset, **how)) == pin
    assert ibm3624.verify(pin_of(pin), offset=offset, **how)
    assert not ibm3624.verify(pin_of(changed(pin, place, by)), offset=offset, **how)
    other = PinOffset(value=changed(offset.value, place, by))
    assert not ibm3624.verify(pin_of(pin), offset=other, **how)


@bounded
@given(pin=pins, other=pins, pan=pans)
def test_a_pin_of_another_length_is_wrong(pin: str, other: str, pan: str) -> None:
    assume(len(pin) != len(other))
    how = {"pan": Pan(pan), "scheme": scheme(len(pin)), "encipher": encipher}
    offset = ibm3624.offset(pin_of(pin), **how)
    for wrong in (other, (pin + other)[: len(other)], (other + pin)[-len(other) :]):
        assert not ibm3624.verify(pin_of(wrong), offset=offset, **how)


@bounded
@given(pin=pins, pan=pans, check_length=st.integers(4, 12), place=places, by=steps)
def test_a_shorter_offset_covers_the_last_digits_of_the_pin(
    pin: str, pan: str, check_length: int, place: int, by: int
) -> None:
    check_length, place = min(check_length, len(pin)), place % len(pin)
    whole = {"pan": Pan(pan), "scheme": scheme(len(pin)), "encipher": encipher}
    part = whole | {"scheme": scheme(check_length, len(pin))}
    offset = ibm3624.offset(pin_of(pin), **part)
    assert offset.value == ibm3624.offset(pin_of(pin), **whole).value[-check_length:]
    found = ibm3624.verify(pin_of(changed(pin, place, by)), offset=offset, **part)
    assert found is (place < len(pin) - check_length)
    natural = read(ibm3624.natural_pin(**part))
    expected = natural[: len(pin) - check_length] + pin[len(pin) - check_length :]
    assert read(ibm3624.pin_from_offset(offset, **part)) == expected


# Comparison


@settings(max_examples=300)
@given(left=pins, right=pins, cut=st.integers(4, 12))
def test_pins_are_the_same_when_their_digits_are(left: str, right: str, cut: int) -> None:
    for one, other in ((left, right), (left, left), (left, left[:cut]), (left[:cut], left)):
        assert same_pin(pin_of(one), pin_of(other)) is (one == other)


@pytest.mark.parametrize("place", range(12))
def test_pins_that_differ_in_one_digit_are_not_the_same(place: int) -> None:
    pin = "739205184627"
    for by in range(1, 10):
        assert not same_pin(pin_of(pin), pin_of(changed(pin, place, by)))

"""Format 2 and the legacy formats: round trips, and refusal of every block that is not one.

Each format is written down once more as a regular expression over the 16 nibbles of its clear
field, before a PAN or key is added. It both makes well-formed fields and judges any others.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from psec import pinblock

from pinvault.clearzone.iso9564 import fields, format2
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.legacy import (
    eci2,
    eci3,
    mastercard35,
    oem1,
    visa2,
    visa3,
    visa4,
    visa_pin_change,
)
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.pan import Pan

DIGITS = "0123456789"
HEX = "0123456789abcdef"
PIN_LENGTHS = range(4, 13)

pins = st.text(DIGITS, min_size=4, max_size=12)
pans = st.text(DIGITS, min_size=12, max_size=19)
halves = st.binary(min_size=4, max_size=4)

bounded = settings(max_examples=60)


@dataclass(frozen=True)
class Card:
    """What a block may be bound to."""

    pan: Pan
    udk_half: bytes
    current: str


CARD = Card(Pan("5555555551234567"), bytes.fromhex("e398c264"), "80516")


@dataclass(frozen=True)
class Form:
    """A format as the tests see it.

    `encode` is given a clear field to take its fill from, and `fill` is what that may be made
    of; `mask` is what the card adds to the clear field.
    """

    pattern: str
    encode: Callable[[Pin, bytes, Card], bytes]
    decode: Callable[[bytes, Card], Pin]
    lengths: range = PIN_LENGTHS
    fill: str = HEX
    mask: Callable[[Card], bytes] = lambda card: bytes(8)


def by_length(before: str, after: Callable[[int], str], lengths: range = PIN_LENGTHS) -> str:
    """Give the pattern of a field; `before` the PIN, `N` stands for its length."""
    return "|".join(f"{before.replace('N', f'{n:x}')}([0-9]{{{n}}}){after(n)}" for n in lengths)


def pin_field(control: str) -> str:
    return by_length(f"{control}N", lambda n: f"f{{{14 - n}}}")


def short_field(fill: str) -> str:
    return by_length("N", lambda n: f"0{{{6 - n}}}[{fill}]{{9}}", range(4, 7))


def repeated(alphabet: str, count: int) -> str:
    return f"(?:{'|'.join(f'{nibble}{{{count}}}' for nibble in alphabet)})"


def pan_right(card: Card) -> bytes:
    return bytes(2) + bytes.fromhex(card.pan.digits()[:-1][-12:])


def pan_left(card: Card) -> bytes:
    return bytes(2) + bytes.fromhex(card.pan.digits()[:12])


def key_field(card: Card) -> bytes:
    return bytes(4) + card.udk_half


FORMS = {
    "format 2": Form(
        pin_field("2"),
        lambda pin, field, card: format2.encode(pin),
        lambda block, card: format2.decode(block),
    ),
    "OEM-1": Form(
        by_length("", lambda n: repeated("abcdef", 16 - n)),
        # Encoding always pads with F: the pad is put back here.
        lambda pin, field, card: bytes.fromhex(
            oem1.encode(pin).hex().replace("f", field.hex()[-1])
        ),
        lambda block, card: oem1.decode(block),
        fill="abcdef",
    ),
    "ECI-2": Form(
        "([0-9]{4})[0-9a-f]{12}",
        lambda pin, field, card: eci2.encode(pin, field[2:]),
        lambda block, card: eci2.decode(block),
        lengths=range(4, 5),
    ),
    "ECI-3": Form(
        short_field("0-9a-f"),
        lambda pin, field, card: eci3.encode(pin, bytes.fromhex(field.hex()[7:] + "0")),
        lambda block, card: eci3.decode(block),
        lengths=range(4, 7),
    ),
    "VISA-2": Form(
        short_field("0-9"),
        lambda pin, field, card: visa2.encode(pin, field.hex()[7:].encode()),
        lambda block, card: visa2.decode(block),
        lengths=range(4, 7),
        fill=DIGITS,
    ),
    "VISA-3": Form(
        by_length("", lambda n: "f" + repeated(HEX, 15 - n)),
        lambda pin, field, card: visa3.encode(pin, field.hex()[-1].encode()),
        lambda block, card: visa3.decode(block),
    ),
    "VISA-4": Form(
        pin_field("0"),
        lambda pin, field, card: visa4.encode(pin, card.pan),
        lambda block, card: visa4.decode(block, card.pan),
        mask=pan_left,
    ),
    "Mastercard 35": Form(
        pin_field("2"),
        lambda pin, field, card: mastercard35.encode(pin, card.pan),
        lambda block, card: mastercard35.decode(block, card.pan),
        mask=pan_right,
    ),
    "Visa 41": Form(
        pin_field("0"),
        lambda pin, field, card: visa_pin_change.encode(pin, udk_half=card.udk_half),
        lambda block, card: visa_pin_change.decode(block, udk_half=card.udk_half),
        mask=key_field,
    ),
    "Visa 42": Form(
        pin_field("0"),
        lambda pin, field, card: visa_pin_change.encode_with_current(
            pin, current=Pin(card.current.encode()), udk_half=card.udk_half
        ),
        lambda block, card: visa_pin_change.decode_with_current(
            block, current=Pin(card.current.encode()), udk_half=card.udk_half
        ),
        mask=lambda card: xor(key_field(card), bytes.fromhex(card.current.ljust(16, "0"))),
    ),
}

each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def by_the_letter(form: Form, field: bytes) -> str | None:
    """Read a clear field by the pattern, without the code under test."""
    match = re.fullmatch(form.pattern, field.hex())
    return next(filter(None, match.groups())) if match else None


def found(form: Form, field: bytes, card: Card = CARD) -> str | None:
    """Read a clear field by the code under test, the card's part added to it first."""
    try:
        with form.decode(xor(field, form.mask(card)), card) as pin:
            return digits_of(pin).decode()
    except Malformed:
        return None


def well_formed(form: Form, length: int, rng: random.Random) -> bytes:
    """Give a clear field with a PIN of this length and fill of any value that is allowed."""
    pin = Pin("".join(rng.choices(DIGITS, k=length)).encode())
    fill = bytes.fromhex("".join(rng.choices(form.fill, k=16)))
    return xor(form.encode(pin, fill, CARD), form.mask(CARD))


# Round trips


@each_form
@bounded
@given(data=st.data())
def test_a_well_formed_block_gives_its_pin_and_is_made_again_from_it(
    form: Form, data: st.DataObject
) -> None:
    field = bytes.fromhex(data.draw(st.from_regex(form.pattern, fullmatch=True)))
    pin = found(form, field)
    assert pin == by_the_letter(form, field)
    made = form.encode(Pin(pin.encode()), field, CARD)
    assert made == xor(field, form.mask(CARD))


@each_form
def test_every_length_that_the_format_holds_round_trips(form: Form) -> None:
    rng = random.Random(0)
    for length in form.lengths:
        field = well_formed(form, length, rng)
        pin = by_the_letter(form, field)
        assert len(pin) == length
        assert found(form, field) == pin


@each_form
@pytest.mark.parametrize("length", PIN_LENGTHS)
def test_a_pin_that_the_format_cannot_hold_is_refused_and_never_cut(
    form: Form, length: int
) -> None:
    pin = Pin(b"123456789012"[:length])
    if length in form.lengths:
        form.encode(pin, bytes(8), CARD)
    else:
        with pytest.raises(Malformed):
            form.encode(pin, bytes(8), CARD)


# Every nibble matters


@each_form
def test_a_nibble_that_the_format_does_not_allow_is_refused(form: Form) -> None:
    """All 16 values of each of the 16 nibbles: accepted exactly where the format allows them."""
    rng = random.Random(1)
    for length in form.lengths:
        field = well_formed(form, length, rng).hex()
        for place in range(16):
            for value in HEX:
                changed = bytes.fromhex(field[:place] + value + field[place + 1 :])
                assert found(form, changed) == by_the_letter(form, changed), (place, value)


@each_form
@bounded
@given(field=st.binary(min_size=8, max_size=8))
def test_any_field_is_read_by_the_letter(form: Form, field: bytes) -> None:
    assert found(form, field) == by_the_letter(form, field)


@each_form
@pytest.mark.parametrize("size", [0, 1, 7, 9, 16])
def test_a_block_of_another_size_is_refused(form: Form, size: int) -> None:
    field = (well_formed(form, 4, random.Random(2)) * 2)[:size]
    with pytest.raises(Malformed):
        form.decode(field, CARD)


# What a block is bound to


@bounded
@given(pin=pins, pan=pans, end=st.text(DIGITS, max_size=6), check=st.sampled_from(DIGITS))
def test_only_the_twelve_leftmost_digits_bind_visa_4(
    pin: str, pan: str, end: str, check: str
) -> None:
    assume(len(pan) > 12)
    other = pan[:12] + end + check
    block = visa4.encode(Pin(pin.encode()), Pan(pan))
    assert digits_of(visa4.decode(block, Pan(other))).decode() == pin


@pytest.mark.parametrize("length", range(12, 20))
def test_the_pan_field_of_visa_4_is_the_twelve_leftmost_digits(length: int) -> None:
    pan = "1234567890123456789"[:length]
    twelve = "012345678901" if length == 12 else "123456789012"
    assert visa4.pan_field(Pan(pan)).hex() == "0000" + twelve


@pytest.mark.parametrize("name", ["VISA-4", "Mastercard 35"])
@bounded
@given(pin=pins, pan=pans, other=pans)
def test_another_pan_never_gives_the_pin(name: str, pin: str, pan: str, other: str) -> None:
    field_of = visa4.pan_field if name == "VISA-4" else fields.pan_field
    assume(field_of(Pan(pan)) != field_of(Pan(other)))
    form = FORMS[name]
    block = form.encode(Pin(pin.encode()), b"", Card(Pan(pan), b"", ""))
    try:
        opened = form.decode(block, Card(Pan(other), b"", ""))
    except Malformed:
        return
    assert digits_of(opened).decode() != pin


@bounded
@given(pin=pins, half=halves, other=halves)
def test_another_key_never_gives_the_new_pin(pin: str, half: bytes, other: bytes) -> None:
    assume(half != other)
    block = visa_pin_change.encode(Pin(pin.encode()), udk_half=half)
    try:
        opened = visa_pin_change.decode(block, udk_half=other)
    except Malformed:
        return
    assert digits_of(opened).decode() != pin


@bounded
@given(pin=pins, current=pins, zeros=st.integers(0, 8), other=pins, half=halves)
def test_another_current_pin_gives_the_new_pin_only_where_it_differs_in_zeros_at_the_end(
    pin: str, current: str, zeros: int, other: str, half: bytes
) -> None:
    block = visa_pin_change.encode_with_current(
        Pin(pin.encode()), current=Pin(current.encode()), udk_half=half
    )
    for tried in (other, current.ljust(min(12, len(current) + zeros), "0")):
        try:
            opened = visa_pin_change.decode_with_current(
                block, current=Pin(tried.encode()), udk_half=half
            )
            same = digits_of(opened).decode() == pin
        except Malformed:
            same = False
        assert same is (tried.rstrip("0") == current.rstrip("0"))


# The oracle


def test_format_2_is_psecs() -> None:
    rng = random.Random(2)
    for length in PIN_LENGTHS:
        for _ in range(50):
            pin = "".join(rng.choices(DIGITS, k=length))
            block = format2.encode(Pin(pin.encode()))
            assert block == pinblock.encode_pinblock_iso_2(pin)
            assert pinblock.decode_pinblock_iso_2(block) == pin


# What chance accepts

DIGIT, NIBBLE = Fraction(10, 16), Fraction(1, 16)

# The share of all values that the nibbles beside a PIN of n digits may have.
SHARES = {
    "format 2": lambda n: NIBBLE ** (16 - n),
    "OEM-1": lambda n: 6 * NIBBLE ** (16 - n),
    "ECI-2": lambda n: 1,
    "ECI-3": lambda n: NIBBLE ** (7 - n),
    "VISA-2": lambda n: NIBBLE ** (7 - n) * DIGIT**9,
    "VISA-3": lambda n: NIBBLE ** (15 - n),
}


def test_the_shares_of_random_fields_that_pass_are_the_computed_ones() -> None:
    """What a wrong key meets: Eurocheque's formats hardly notice one."""
    one_in = {
        name: round(1 / sum(DIGIT**n * share(n) for n in FORMS[name].lengths))
        for name, share in SHARES.items()
    }
    assert one_in == {
        "format 2": 16_602_070,
        "OEM-1": 2_767_012,
        "ECI-2": 7,
        "ECI-3": 242,
        "VISA-2": 16_619,
        "VISA-3": 1_037_629,
    }


@pytest.mark.parametrize("name", ["ECI-2", "ECI-3"])
def test_random_fields_pass_at_the_computed_rate(name: str) -> None:
    form, count, rng = FORMS[name], 20_000, random.Random(name)
    share = float(sum(DIGIT**n * SHARES[name](n) for n in form.lengths))
    passed = sum(found(form, rng.randbytes(8)) is not None for _ in range(count))
    assert abs(passed - count * share) <= 5 * (count * share * (1 - share)) ** 0.5

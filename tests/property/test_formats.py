"""Formats 0, 1, 3 and 4: round trips, psec as oracle, and refusal of everything that is not one."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from psec import pinblock

from pinvault.clearzone.iso9564 import fields, format0, format1, format3, format4
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from tests.support import blocks
from tests.support.software_device import SoftwareDevice, held, key

PIN_LENGTHS = range(4, 13)
PAN_LENGTHS = range(12, 20)
DIGITS = "0123456789"
HEX = "0123456789abcdef"
LETTERS = "abcdef"

pins = st.text(DIGITS, min_size=4, max_size=12)
pans = st.text(DIGITS, min_size=12, max_size=19)
seeds = st.integers(0, 2**64 - 1)

bounded = settings(max_examples=150)


@dataclass(frozen=True)
class Form:
    """A format as the tests see it: a clear field, and which of its nibbles may hold what.

    `clear` gives the field before the PAN is added, `decode` takes it in the same form.
    """

    control: str
    fill: str
    clear: Callable[[str, Pan, random.Random], bytes]
    decode: Callable[[bytes, Pan], Pin]


def fill_of(rng: random.Random) -> bytes:
    return "".join(rng.choices(LETTERS, k=10)).encode()


def clear_0(pin: str, pan: Pan, rng: random.Random) -> bytes:
    return xor(format0.encode(Pin(pin.encode()), pan), fields.pan_field(pan))


def clear_1(pin: str, pan: Pan, rng: random.Random) -> bytes:
    return format1.encode(Pin(pin.encode()), rng.randbytes(5))


def clear_3(pin: str, pan: Pan, rng: random.Random) -> bytes:
    return xor(format3.encode(Pin(pin.encode()), pan, fill_of(rng)), fields.pan_field(pan))


def clear_4(pin: str, pan: Pan, rng: random.Random) -> bytes:
    return format4.pin_field(Pin(pin.encode()), rng.randbytes(8))


FORMS = {
    "format 0": Form(
        "0", "f", clear_0, lambda f, pan: format0.decode(xor(f, fields.pan_field(pan)), pan)
    ),
    "format 1": Form("1", HEX, clear_1, lambda f, pan: format1.decode(f)),
    "format 3": Form(
        "3", LETTERS, clear_3, lambda f, pan: format3.decode(xor(f, fields.pan_field(pan)), pan)
    ),
    "format 4": Form("4", "a", clear_4, lambda f, pan: format4.read_pin_field(f)),
}

each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def read(pin: Pin) -> str:
    with pin:
        return digits_of(pin).decode()


def pin_or_none(decode: Callable[[], Pin]) -> str | None:
    try:
        return read(decode())
    except Malformed:
        return None


# Round trips


@each_form
@bounded
@given(pin=pins, pan=pans, seed=seeds)
def test_what_is_encoded_is_decoded(form: Form, pin: str, pan: str, seed: int) -> None:
    field = form.clear(pin, Pan(pan), random.Random(seed))
    assert len(field) == (16 if form.control == "4" else 8)
    assert read(form.decode(field, Pan(pan))) == pin


@each_form
@pytest.mark.parametrize("pan_length", PAN_LENGTHS)
@pytest.mark.parametrize("pin_length", PIN_LENGTHS)
def test_every_pair_of_lengths_round_trips(form: Form, pin_length: int, pan_length: int) -> None:
    rng = random.Random(f"{pin_length} {pan_length}")
    pin, pan = digits(rng, pin_length), Pan(digits(rng, pan_length))
    assert read(form.decode(form.clear(pin, pan, rng), pan)) == pin


def digits(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(DIGITS, k=length))


# Every nibble matters


@each_form
@pytest.mark.parametrize("length", PIN_LENGTHS)
def test_a_nibble_that_the_format_does_not_allow_is_refused(form: Form, length: int) -> None:
    """All 16 values of each of the 16 nibbles: accepted exactly where the format allows them."""
    rng = random.Random(length)
    pin, pan = digits(rng, length), Pan("4111111111111111")
    field = form.clear(pin, pan, rng).hex()
    for place in range(16):
        for value in HEX:
            changed = field[:place] + value + field[place + 1 :]
            found = pin_or_none(lambda f=changed: form.decode(bytes.fromhex(f), pan))
            assert found == expected(form, changed), f"nibble {place} as {value}"


def expected(form: Form, field: str) -> str | None:
    """Read a field by the letter of the standard, without the code under test."""
    length = int(field[1], 16)
    pin, fill = field[2 : 2 + length], field[2 + length : 16]
    well_formed = (
        field[0] == form.control
        and 4 <= length <= 12
        and set(pin) <= set(DIGITS)
        and set(fill) <= set(form.fill)
    )
    return pin if well_formed else None


@each_form
@bounded
@given(field=st.binary(min_size=16, max_size=16), pan=pans)
def test_any_field_is_read_by_the_letter_of_the_standard(
    form: Form, field: bytes, pan: str
) -> None:
    field = field if form.control == "4" else field[:8]
    assert pin_or_none(lambda: form.decode(field, Pan(pan))) == expected(form, field.hex())


@bounded
@given(pin=pins, seeds=st.tuples(seeds, seeds))
def test_the_random_half_of_format_4_is_not_looked_at(pin: str, seeds: tuple[int, int]) -> None:
    halves = [random.Random(seed).randbytes(8) for seed in seeds]
    for half in halves:
        field = format4.pin_field(Pin(pin.encode()), half)
        assert field[8:] == half
        assert read(format4.read_pin_field(field)) == pin


# Another PAN


@settings(max_examples=400)
@given(pin=pins, pan=pans, other=pans)
def test_format_0_never_gives_the_pin_under_another_pan(pin: str, pan: str, other: str) -> None:
    assume(part(pan) != part(other))
    assert with_other_pan("format 0", pin, pan, other) != pin


@bounded
@given(pin=pins, pan=pans, place=st.integers(0, 11), by=st.integers(1, 9))
def test_format_0_never_gives_the_pin_when_one_pan_digit_changed(
    pin: str, pan: str, place: int, by: int
) -> None:
    twelve = part(pan)
    changed = str((int(twelve[place]) + by) % 10)
    other = twelve[:place] + changed + twelve[place + 1 :] + pan[-1]
    assert with_other_pan("format 0", pin, pan, other) != pin


@settings(max_examples=400)
@given(pin=pins, pan=pans, other=pans, seed=seeds)
def test_format_3_gives_the_pin_under_another_pan_only_where_its_fill_hides_the_difference(
    pin: str, pan: str, other: str, seed: int
) -> None:
    """What overlays the PIN's digits is the same, and the fill stays within A to F."""
    over_digits = slice(0, len(pin) - 2)
    given_same_digits = part(pan)[over_digits] + part(other)[over_digits.stop :] + "0"
    for changed in (other, given_same_digits):
        found = with_other_pan("format 3", pin, pan, changed, seed)
        if part(changed)[over_digits] != part(pan)[over_digits]:
            assert found != pin
        else:
            fill = fill_of(random.Random(seed)).decode()[: 14 - len(pin)]
            pairs = zip(part(pan)[len(pin) - 2 :], part(changed)[len(pin) - 2 :], strict=True)
            hidden = all(
                int(letter, 16) ^ int(old) ^ int(new) >= 10
                for letter, (old, new) in zip(fill, pairs, strict=True)
            )
            assert (found == pin) is hidden


def test_format_3_does_not_notice_a_pan_digit_that_became_its_neighbour() -> None:
    """0 and 1 differ in the lowest bit, and so do A and B: any fill stays fill."""
    for seed in range(50):
        found = with_other_pan("format 3", "7392", "4000001234562000", "4000001234562010", seed)
        assert found == "7392"


@pytest.mark.parametrize("name", ["format 0", "format 3"])
@bounded
@given(pin=pins, pan=pans, issuer=st.text(DIGITS, max_size=6), check=st.sampled_from(DIGITS))
def test_only_the_twelve_digits_before_the_check_digit_bind_formats_0_and_3(
    name: str, pin: str, pan: str, issuer: str, check: str
) -> None:
    """Why PANs are compared as text before the HSM is touched: the block does not tell these."""
    other = issuer + part(pan) + check
    assert with_other_pan(name, pin, pan, other) == pin


def part(pan: str) -> str:
    return pan[:-1][-12:].rjust(12, "0")


def with_other_pan(name: str, pin: str, pan: str, other: str, seed: int = 0) -> str | None:
    if name == "format 0":
        block = format0.encode(Pin(pin.encode()), Pan(pan))
        return pin_or_none(lambda: format0.decode(block, Pan(other)))
    block = format3.encode(Pin(pin.encode()), Pan(pan), fill_of(random.Random(seed)))
    return pin_or_none(lambda: format3.decode(block, Pan(other)))


# The oracle


def test_format_0_is_psecs() -> None:
    for pin, pan in many(3000, shortest_pan=13):
        block = format0.encode(Pin(pin.encode()), Pan(pan))
        assert block == pinblock.encode_pinblock_iso_0(pin, pan)
        assert pinblock.decode_pinblock_iso_0(block, pan) == pin


def test_format_3_is_psecs() -> None:
    rng = random.Random(3)
    for pin, pan in many(3000, shortest_pan=13):
        ours = format3.encode(Pin(pin.encode()), Pan(pan), fill_of(rng))
        assert pinblock.decode_pinblock_iso_3(ours, pan) == pin
        theirs = pinblock.encode_pinblock_iso_3(pin, pan)
        assert read(format3.decode(theirs, Pan(pan))) == pin
        # All but the fill is the same.
        assert ours[: 1 + len(pin) // 2] == theirs[: 1 + len(pin) // 2]


def test_format_4_is_psecs() -> None:
    rng = random.Random(4)
    for pin, pan in many(3000, shortest_pan=12):
        assert format4.pan_field(Pan(pan)) == pinblock.encode_pan_field_iso_4(pan)
        ours = format4.pin_field(Pin(pin.encode()), rng.randbytes(8))
        assert pinblock.decode_pin_field_iso_4(ours) == pin
        theirs = pinblock.encode_pin_field_iso_4(pin)
        assert read(format4.read_pin_field(theirs)) == pin
        assert ours[:8] == theirs[:8]


@pytest.mark.parametrize("algorithm", ["AES_128", "AES_192", "AES_256"])
def test_enciphered_format_4_is_psecs(algorithm: str) -> None:
    secret = random.Random(algorithm).randbytes(int(algorithm[4:]) // 8)
    zpk = key("zpk", "P0", algorithm, "B")
    device = SoftwareDevice([held(zpk, secret)])
    how = {"under": zpk, "form": Format.ISO_4}
    for pin, pan in many(100, shortest_pan=12):
        block = blocks.encipher(device, pin, pan=Pan(pan), **how)
        assert pinblock.decipher_pinblock_iso_4(secret, block, pan) == pin
        theirs = pinblock.encipher_pinblock_iso_4(secret, pin, pan)
        assert read(blocks.decipher(device, theirs, pan=Pan(pan), **how)) == pin


def many(count: int, *, shortest_pan: int) -> list[tuple[str, str]]:
    rng = random.Random(count)
    return [
        (digits(rng, rng.choice(PIN_LENGTHS)), digits(rng, rng.randint(shortest_pan, 19)))
        for _ in range(count)
    ]


# PAN fields by hand


@pytest.mark.parametrize("length", PAN_LENGTHS)
def test_the_pan_field_of_formats_0_and_3_is_the_twelve_digits_before_the_check_digit(
    length: int,
) -> None:
    pan = "1234567890123456789"[:length]
    twelve = {12: "012345678901", 13: "123456789012"}.get(length, pan[-13:-1])
    assert fields.pan_field(Pan(pan)).hex() == "0000" + twelve


@pytest.mark.parametrize("length", PAN_LENGTHS)
def test_the_pan_field_of_format_4_tells_its_length(length: int) -> None:
    pan = "1234567890123456789"[:length]
    assert format4.pan_field(Pan(pan)).hex() == f"{length - 12}{pan}" + "0" * (31 - length)


# What chance accepts


def chance(form: Form, lengths: range = PIN_LENGTHS) -> Fraction:
    """Give the share of all random fields that are well-formed with a PIN of these lengths."""
    return sum(
        (
            Fraction(1, 256)  # control and length
            * Fraction(10, 16) ** length
            * Fraction(len(form.fill), 16) ** (14 - length)
            for length in lengths
        ),
        Fraction(0),
    )


def test_the_shares_of_random_fields_that_pass_are_the_computed_ones() -> None:
    """What a wrong key meets: one block in 638 passes as format 1, one in 207,050 as format 3."""
    one_in = {name: round(1 / chance(form)) for name, form in FORMS.items()}
    assert one_in == {
        "format 0": 16_602_070,
        "format 1": 638,
        "format 3": 207_050,
        "format 4": 16_602_070,
    }


@each_form
def test_random_fields_pass_at_the_computed_rate(form: Form) -> None:
    """Control and length are fixed to what passes most, so that a small sample tells much."""
    length, count, rng = 8, 20_000, random.Random(form.control)
    share = float(chance(form, range(length, length + 1)) * 256)
    pan = Pan("4111111111111111")
    head = bytes.fromhex(f"{form.control}{length:x}")
    passed = sum(
        pin_or_none(lambda: form.decode(head + rng.randbytes(7), pan)) is not None
        for _ in range(count)
    )
    tolerance = 5 * (count * share * (1 - share)) ** 0.5 + 1
    assert abs(passed - count * share) <= tolerance


# Fill


def test_fill_is_uniform() -> None:
    """Chi-square over the six letters; 30 is passed once in 65,000 times by a fair fill."""
    counts = Counter(format3.fill_from(random.Random(0).randbytes(60_000)))
    assert set(counts) == set(b"abcdef")
    mean = counts.total() / 6
    assert sum((count - mean) ** 2 / mean for count in counts.values()) < 30


def test_every_byte_gives_its_letter_or_none() -> None:
    """42 bytes a letter; the four that would favour A to D give none."""
    assert Counter(format3.fill_from(bytes(range(256)))) == dict.fromkeys(b"abcdef", 42)


@bounded
@given(drawn=st.binary(max_size=64))
def test_fill_takes_each_byte_on_its_own(drawn: bytes) -> None:
    alone = b"".join(format3.fill_from(bytes([byte])) for byte in drawn)
    assert format3.fill_from(drawn) == alone


def test_fill_is_drawn_again_when_too_little_was_usable() -> None:
    device = zpk_device()
    draws = iter([b"\xff" * 16, b"\xff" * 8 + bytes(8), bytes(range(16))])
    device.draw = lambda length: next(draws)
    block = enciphered(device, Format.ISO_3)
    assert device.calls["random"] == 3
    assert deciphered(device, Format.ISO_3, block) == SAMPLE_PIN


# Enciphered blocks

SAMPLE_PIN = "739205"
SAMPLE_PAN = Pan("4111111111111111")
TDES = key("tdes", "P0", "TDES_2KEY", "B")
AES = key("aes", "P0", "AES_128", "B")
SERVED = (Format.ISO_0, Format.ISO_1, Format.ISO_3, Format.ISO_4)


def zpk_device() -> SoftwareDevice:
    rng = random.Random("zone keys")
    device = SoftwareDevice(
        [
            held(TDES, rng.randbytes(16)),
            held(AES, rng.randbytes(16)),
        ]
    )
    device.draw = rng.randbytes
    return device


def how(form: Format) -> dict:
    return {"under": AES if form is Format.ISO_4 else TDES, "form": form}


def enciphered(device: SoftwareDevice, form: Format, pan: Pan = SAMPLE_PAN) -> bytes:
    return blocks.encipher(device, SAMPLE_PIN, pan=pan, **how(form))


def deciphered(
    device: SoftwareDevice, form: Format, block: bytes, pan: Pan = SAMPLE_PAN
) -> str | None:
    return pin_or_none(lambda: blocks.decipher(device, block, pan=pan, **how(form)))


@pytest.mark.parametrize("form", SERVED)
def test_only_format_0_gives_equal_blocks(form: Format) -> None:
    device = zpk_device()
    made = {enciphered(device, form) for _ in range(20)}
    assert {len(block) for block in made} == {form.block_bytes}
    assert (len(made) == 1) is (form is Format.ISO_0)
    if form is not Format.ISO_0:
        assert len(made) == 20
    assert {deciphered(device, form, block) for block in made} == {SAMPLE_PIN}


@pytest.mark.parametrize("form", SERVED)
def test_a_flipped_bit_of_the_ciphertext_never_gives_the_pin(form: Format) -> None:
    """Chance may accept another PIN, most often in format 1."""
    device = zpk_device()
    block = enciphered(device, form)
    found = []
    for bit in range(len(block) * 8):
        flipped = (int.from_bytes(block) ^ (1 << bit)).to_bytes(len(block))
        found.append(deciphered(device, form, flipped))
    assert SAMPLE_PIN not in found
    assert found.count(None) >= len(found) - 2


@pytest.mark.parametrize(
    "other",
    ["4111111111111112", "14111111111111111", "5555555555554444"],
    ids=["check digit", "length", "all"],
)
def test_format_4_is_bound_to_every_digit_of_the_pan(other: str) -> None:
    """The check digit and the PAN's length too, which formats 0 and 3 leave out."""
    device = zpk_device()
    for _ in range(50):
        block = enciphered(device, Format.ISO_4)
        assert deciphered(device, Format.ISO_4, block, Pan(other)) != SAMPLE_PIN


@pytest.mark.parametrize("form", [form for form in SERVED if form.carries_pan])
def test_a_format_that_is_bound_to_a_pan_is_not_made_or_read_without_one(form: Format) -> None:
    device = zpk_device()
    with pytest.raises(ValueError):
        blocks.encipher(device, SAMPLE_PIN, pan=None, **how(form))
    with pytest.raises(ValueError):
        blocks.decipher(device, bytes(form.block_bytes), pan=None, **how(form))

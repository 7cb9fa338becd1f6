"""The legacy formats by example: where others read a PIN that is not one, and what never leaks."""

from collections.abc import Callable

import pytest

from pinvault.clearzone.iso9564 import format0, format2
from pinvault.clearzone.iso9564.fields import nibbles_of, xor
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

PAN = Pan("4000001234562000")
HALF = bytes.fromhex("e398c264")

NOT_A_PIN: dict[str, tuple[Callable[[bytes], Pin], str]] = {
    "OEM-1, rubbish behind the first F": (oem1.decode, "1234F5678FFFFFFF"),
    "OEM-1, two pads": (oem1.decode, "1234EEEEEEFFFFFF"),
    "OEM-1, decimal pad": (oem1.decode, "1234555555555555"),
    "OEM-1, no pad": (oem1.decode, "1234567890123456"),
    "OEM-1, no PIN": (oem1.decode, "FFFFFFFFFFFFFFFF"),
    "OEM-1, 3 digits": (oem1.decode, "123FFFFFFFFFFFFF"),
    "OEM-1, 13 digits": (oem1.decode, "1234567890123FFF"),
    "ECI-2, letter": (eci2.decode, "123A555555555555"),
    "ECI-3, length 7": (eci3.decode, "7123456555555555"),
    "ECI-3, digit beyond the PIN": (eci3.decode, "4123450555555555"),
    "ECI-3, letter beyond the PIN": (eci3.decode, "512345F555555555"),
    "VISA-2, letter in the fill": (visa2.decode, "612345678901222A"),
    "VISA-3, no delimiter": (visa3.decode, "1234567890123456"),
    "VISA-3, delimiter E": (visa3.decode, "1234E55555555555"),
    "VISA-3, two pads": (visa3.decode, "1234F55555555556"),
    "VISA-3, 13 digits": (visa3.decode, "1234567890123F55"),
    "VISA-3, delimiter first": (visa3.decode, "F123455555555555"),
    "VISA-3, delimiter last": (visa3.decode, "123456789012345F"),
}


def read(pin: Pin) -> bytes:
    with pin:
        return digits_of(pin)


@pytest.mark.parametrize(("decode", "block"), NOT_A_PIN.values(), ids=NOT_A_PIN)
def test_what_may_not_be_a_pin_is_refused_and_nothing_of_it_told(
    decode: Callable[[bytes], Pin], block: str
) -> None:
    with pytest.raises(Malformed) as caught:
        decode(bytes.fromhex(block))
    assert caught.value.args == ()
    assert caught.value.cause == ""
    assert caught.value.__context__ is None


def test_the_pad_of_visa_3_may_be_its_delimiter() -> None:
    block = bytes.fromhex("1234FFFFFFFFFFFF")
    assert visa3.encode(Pin(b"1234"), b"f") == block == oem1.encode(Pin(b"1234"))
    assert read(visa3.decode(block)) == read(oem1.decode(block)) == b"1234"


def test_a_legacy_format_that_others_resemble_is_still_refused_by_them() -> None:
    """Format 0 and 35 differ in one bit, Visa 4 and format 0 in the PAN's end that they add."""
    block = format0.encode(Pin(b"92389"), PAN)
    for decode in (mastercard35.decode, visa4.decode):
        with pytest.raises(Malformed):
            decode(block, PAN)


def test_mastercards_block_is_format_2_bound_to_a_pan() -> None:
    bound, free = mastercard35.encode(Pin(b"1234"), PAN), format2.encode(Pin(b"1234"))
    assert xor(bound, free).hex() == "0000" + PAN.account()
    with pytest.raises(Malformed):
        format2.decode(bound)


def test_a_new_pin_with_the_current_one_is_not_read_without_it() -> None:
    block = visa_pin_change.encode_with_current(Pin(b"1234"), current=Pin(b"5678"), udk_half=HALF)
    with pytest.raises(Malformed):
        visa_pin_change.decode(block, udk_half=HALF)
    current = Pin(b"5678")
    opened = visa_pin_change.decode_with_current(block, current=current, udk_half=HALF)
    assert read(opened) == b"1234"


@pytest.mark.parametrize("size", [0, 3, 5, 8])
def test_only_half_of_udk_a_makes_a_block(size: int) -> None:
    with pytest.raises(Malformed):
        visa_pin_change.encode(Pin(b"1234"), udk_half=bytes(size))


@pytest.mark.parametrize("form", [eci2, eci3], ids=["ECI-2", "ECI-3"])
def test_a_block_takes_as_many_random_bytes_as_are_drawn_for_it(form) -> None:
    assert len(form.encode(Pin(b"1234"), bytes(form.RANDOM_BYTES))) == 8
    with pytest.raises((AssertionError, ValueError)):
        assert len(form.encode(Pin(b"1234"), bytes(form.RANDOM_BYTES - 1))) == 8


def test_fields_of_different_sizes_are_never_added() -> None:
    for left, right in ((b"\xff" * 8, b"\xff" * 7), (b"\xff" * 7, b"\xff" * 8), (b"", b"\x00")):
        with pytest.raises(Malformed):
            xor(left, right)


@pytest.mark.parametrize("size", [0, 7, 9, 16])
def test_a_field_is_eight_bytes(size: int) -> None:
    with pytest.raises(Malformed):
        nibbles_of(bytes(size))

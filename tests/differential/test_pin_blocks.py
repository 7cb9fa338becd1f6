"""Formats 0, 2, 3 and 4 beside psec's: the same blocks, the same PINs, the same refusals."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from psec import des, pinblock

from pinvault.clearzone.iso9564 import format0, format2, format3, format4
from pinvault.clearzone.iso9564.fields import pan_field, xor
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from tests.differential.cases import COUNTS, Case, cases, read
from tests.support import blocks
from tests.support.software_device import SoftwareDevice, held, key

HEX = "0123456789abcdef"


def test_there_are_a_hundred_thousand_cases_in_all() -> None:
    assert sum(COUNTS.values()) >= 100_000


def letters(rng: random.Random) -> bytes:
    return "".join(rng.choices("abcdef", k=10)).encode()


def test_format_0_is_psecs() -> None:
    for case in cases("format 0"):
        pan = Pan(case.pan)
        block = format0.encode(Pin(case.pin.encode()), pan)
        assert block == pinblock.encode_pinblock_iso_0(case.pin, case.pan)
        assert pinblock.decode_pinblock_iso_0(block, case.pan) == case.pin
        assert read(format0.decode(block, pan)) == case.pin


def test_format_2_is_psecs() -> None:
    for case in cases("format 2"):
        block = format2.encode(Pin(case.pin.encode()))
        assert block == pinblock.encode_pinblock_iso_2(case.pin)
        assert pinblock.decode_pinblock_iso_2(block) == case.pin
        assert read(format2.decode(block)) == case.pin


def test_format_3_is_psecs_but_for_the_fill() -> None:
    for case in cases("format 3"):
        pan = Pan(case.pan)
        ours = format3.encode(Pin(case.pin.encode()), pan, letters(case.rng))
        theirs = pinblock.encode_pinblock_iso_3(case.pin, case.pan)
        assert ours[: 1 + len(case.pin) // 2] == theirs[: 1 + len(case.pin) // 2]
        assert pinblock.decode_pinblock_iso_3(ours, case.pan) == case.pin
        assert read(format3.decode(theirs, pan)) == case.pin


def test_format_4_is_psecs_but_for_the_random_half() -> None:
    for case in cases("format 4", shortest_pan=12):
        assert format4.pan_field(Pan(case.pan)) == pinblock.encode_pan_field_iso_4(case.pan)
        ours = format4.pin_field(Pin(case.pin.encode()), case.rng.randbytes(8))
        theirs = pinblock.encode_pin_field_iso_4(case.pin)
        assert ours[:8] == theirs[:8]
        assert pinblock.decode_pin_field_iso_4(ours) == case.pin
        assert read(format4.read_pin_field(theirs)) == case.pin


def test_enciphered_formats_0_and_3_are_psecs() -> None:
    for case in cases("enciphered formats 0 and 3"):
        form, encode, decode = case.rng.choice(
            [
                (Format.ISO_0, pinblock.encode_pinblock_iso_0, pinblock.decode_pinblock_iso_0),
                (Format.ISO_3, pinblock.encode_pinblock_iso_3, pinblock.decode_pinblock_iso_3),
            ]
        )
        length = case.rng.choice((16, 24))
        secret = case.rng.randbytes(length)
        zpk, thrice = key("zpk", "P0", f"TDES_{length // 8}KEY", "B"), (secret * 2)[:24]
        device, how = (
            SoftwareDevice([held(zpk, secret)]),
            {"under": zpk, "form": form, "pan": Pan(case.pan)},
        )
        ours = blocks.encipher(device, case.pin, **how)
        assert decode(des.decrypt_tdes_ecb(thrice, ours), case.pan) == case.pin
        theirs = des.encrypt_tdes_ecb(thrice, encode(case.pin, case.pan))
        assert read(blocks.decipher(device, theirs, **how)) == case.pin


def test_enciphered_format_4_is_psecs() -> None:
    for case in cases("enciphered format 4", shortest_pan=12):
        secret = case.rng.randbytes(case.rng.choice((16, 24, 32)))
        zpk = key("zpk", "P0", f"AES_{len(secret) * 8}", "B")
        device, how = (
            SoftwareDevice([held(zpk, secret)]),
            {"under": zpk, "form": Format.ISO_4, "pan": Pan(case.pan)},
        )
        ours = blocks.encipher(device, case.pin, **how)
        assert pinblock.decipher_pinblock_iso_4(secret, ours, case.pan) == case.pin
        theirs = pinblock.encipher_pinblock_iso_4(secret, case.pin, case.pan)
        assert read(blocks.decipher(device, theirs, **how)) == case.pin


# Refusal

DECODERS: dict[str, tuple[Callable[[bytes, str], Pin], Callable[[bytes, str], str]]] = {
    "0": (
        lambda field, pan: format0.decode(bound(field, pan), Pan(pan)),
        lambda field, pan: pinblock.decode_pinblock_iso_0(bound(field, pan), pan),
    ),
    "2": (
        lambda field, _: format2.decode(field),
        lambda field, _: pinblock.decode_pinblock_iso_2(field),
    ),
    "3": (
        lambda field, pan: format3.decode(bound(field, pan), Pan(pan)),
        lambda field, pan: pinblock.decode_pinblock_iso_3(bound(field, pan), pan),
    ),
    "4": (
        lambda field, _: format4.read_pin_field(field),
        lambda field, _: pinblock.decode_pin_field_iso_4(field),
    ),
}
FILLS = {"0": "f", "2": "f", "3": "abcdef", "4": "a"}


def test_what_is_no_pin_block_is_refused_by_both() -> None:
    """Good PIN fields in which up to three nibbles were changed, and which may still be good."""
    refused = Counter()
    for case in cases("damaged fields"):
        control = case.rng.choice("0234")
        ours, theirs = DECODERS[control]
        field = damaged(pin_field(control, case), case.rng)
        try:
            expected = theirs(field, case.pan)
        except ValueError:
            refused["both"] += 1
            with pytest.raises(Malformed):
                ours(field, case.pan)
        else:
            refused["neither"] += 1
            assert read(ours(field, case.pan)) == expected
    assert min(refused["both"], refused["neither"]) > COUNTS["damaged fields"] // 10


def pin_field(control: str, case: Case) -> str:
    fill = "".join(case.rng.choices(FILLS[control], k=14 - len(case.pin)))
    return f"{control}{len(case.pin):x}{case.pin}{fill}"


def damaged(field: str, rng: random.Random) -> bytes:
    nibbles = list(field)
    for _ in range(rng.randrange(4)):
        nibbles[rng.randrange(len(nibbles))] = rng.choice(HEX)
    half = rng.randbytes(8) if field[0] == "4" else b""
    return bytes.fromhex("".join(nibbles)) + half


def bound(field: bytes, pan: str) -> bytes:
    return xor(field, pan_field(Pan(pan)))

"""Issuer scripts against a card that reads the standard for itself, and what the HSM is told."""

import random
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hsm.errors import HsmUnavailable
from pinvault.clearzone.emv import Script, ScriptToMake, card_data, make_script
from pinvault.clearzone.iso9564 import format2
from pinvault.clearzone.legacy import visa_pin_change
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.scripts import ScriptBlock, ScriptPadding, ScriptProfile
from tests.support.software_device import SoftwareDevice, held, key
from tests.unit.operations.card import Card

SMC = key("imk-smc", "E1", "TDES_2KEY", "X")
SMI = key("imk-smi", "E2", "TDES_2KEY", "X")
AC = key("imk-ac", "E0", "TDES_2KEY", "X")
VALUES = {each: random.Random(each.id).randbytes(16) for each in (SMC, SMI, AC)}
KINDS = [(block, padding) for block in ScriptBlock for padding in ScriptPadding]
bounded = settings(max_examples=60)

pans = st.text("0123456789", min_size=12, max_size=19)
pins = st.text("0123456789", min_size=4, max_size=12)
sequences = st.integers(min_value=0, max_value=99)
cryptograms = st.binary(min_size=8, max_size=8)
commands = st.binary(min_size=5, max_size=64)


def device() -> SoftwareDevice:
    return SoftwareDevice(held(each, value) for each, value in VALUES.items())


def card(pan: str, sequence: int) -> Card:
    return Card(
        pan=pan,
        sequence=sequence,
        confidentiality=VALUES[SMC],
        integrity=VALUES[SMI],
        cryptograms=VALUES[AC],
    )


def to_make(
    block: ScriptBlock = ScriptBlock.ISO_2,
    padding: ScriptPadding = ScriptPadding.NONE,
    *,
    pan: str = "5555555551234567",
    sequence: int = 0,
    cryptogram: bytes = bytes(range(8)),
    message: bytes = bytes(5),
) -> ScriptToMake:
    visa = block is not ScriptBlock.ISO_2
    return ScriptToMake(
        profile=ScriptProfile(
            name="script",
            block=block,
            padding=padding,
            confidentiality=SMC.name,
            integrity=SMI.name,
            cryptograms=AC.name if visa else None,
        ),
        confidentiality=SMC,
        integrity=SMI,
        cryptograms=AC if visa else None,
        pan=Pan(pan),
        sequence=sequence,
        cryptogram=cryptogram,
        message=message,
    )


def make(wanted: ScriptToMake, new: str = "7392", current: str | None = None, on=None) -> Script:
    old = Pin(current.encode()) if current is not None else None
    return make_script(
        Pin(new.encode()), old, wanted, device=on or device(), deadline=Deadline.after(60)
    )


def read(reader: Card, wanted: ScriptToMake, made: Script, current: str | None = None) -> str:
    """Read the new PIN as the card does, once its MAC is right."""
    message = wanted.message + made.enciphered_pin
    assert made.mac == reader.mac(message, wanted.cryptogram)
    padding = wanted.profile.padding.value
    block = reader.block(made.enciphered_pin, wanted.cryptogram, padding=padding)
    match wanted.profile.block:
        case ScriptBlock.ISO_2:
            pin = format2.decode(block)
        case ScriptBlock.VISA:
            pin = visa_pin_change.decode(block, udk_half=reader.udk_half())
        case _:
            assert current is not None
            pin = visa_pin_change.decode_with_current(
                block, current=Pin(current.encode()), udk_half=reader.udk_half()
            )
    with pin:
        return digits_of(pin).decode()


@pytest.mark.parametrize(("block", "padding"), KINDS)
@settings(max_examples=15)
@given(pan=pans, sequence=sequences, cryptogram=cryptograms, message=commands, new=pins, old=pins)
def test_the_card_reads_what_was_made_for_it(
    block: ScriptBlock, padding: ScriptPadding, pan, sequence, cryptogram, message, new, old
) -> None:
    wanted = to_make(
        block, padding, pan=pan, sequence=sequence, cryptogram=cryptogram, message=message
    )
    current = old if block is ScriptBlock.VISA_WITH_CURRENT else None
    made = make(wanted, new, current)
    assert read(card(pan, sequence), wanted, made, current) == new
    assert len(made.enciphered_pin) == (8 if padding is ScriptPadding.NONE else 16)


@bounded
@given(pan=pans, sequence=sequences)
@example(pan="5060990000000151002", sequence=1)
@example(pan="4111111111111111", sequence=99)
@example(pan="411111111111", sequence=0)
def test_the_number_of_a_card_is_that_of_the_standard(pan: str, sequence: int) -> None:
    assert card_data(Pan(pan), sequence) == card(pan, sequence).number()


@pytest.mark.parametrize("length", range(5, 65))
def test_a_message_of_any_length_is_covered_by_the_mac_to_its_last_byte(length: int) -> None:
    message = random.Random(length).randbytes(length)
    wanted = to_make(message=message)
    made = make(wanted)
    assert read(card("5555555551234567", 0), wanted, made) == "7392"
    last = message[:-1] + bytes([message[-1] ^ 1])
    assert make(replace(wanted, message=last)).mac != made.mac


@pytest.mark.parametrize("place", range(8))
def test_every_byte_of_the_cryptogram_but_the_third_makes_other_keys(place: int) -> None:
    """The third gives way to F0 and 0F (A1.3.1), so it tells no two transactions apart."""
    wanted, changed = to_make(), bytearray(range(8))
    changed[place] ^= 1
    other = make(replace(wanted, cryptogram=bytes(changed)))
    assert (other == make(wanted)) is (place == 2)


def test_the_same_call_makes_the_same_script() -> None:
    assert make(to_make()) == make(to_make())


def test_a_block_that_needs_the_current_pin_is_not_made_without() -> None:
    with pytest.raises(ValueError, match="current PIN"):
        make(to_make(ScriptBlock.VISA_WITH_CURRENT))


# What the HSM is told


@pytest.mark.parametrize("block", ScriptBlock)
def test_the_hsm_derives_thrice_and_gives_half_a_key_to_visa_blocks_alone(
    block: ScriptBlock,
) -> None:
    software = device()
    make(to_make(block), current="0518", on=software)
    enciphered = {} if block is ScriptBlock.ISO_2 else {"encipher": 1}
    assert software.calls == {"with_derived": 3} | enciphered


def test_an_hsm_that_is_away_ends_it() -> None:
    software = device()
    software.failure = HsmUnavailable
    with pytest.raises(HsmUnavailable):
        make(to_make(), on=software)


def test_nothing_starts_after_the_deadline() -> None:
    software = device()
    with pytest.raises(Refusal) as caught:
        make_script(Pin(b"7392"), None, to_make(), device=software, deadline=Deadline.after(-1))
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert not software.calls


def test_nothing_of_a_script_is_shown() -> None:
    wanted, made = to_make(cryptogram=b"CRYPTOGR", message=b"MESSAGE"), make(to_make())
    assert "CRYPTOGR" not in repr(wanted)
    assert "MESSAGE" not in repr(wanted)
    assert "enciphered" not in repr(made)

"""EncryptPinChangeScript: a bound new PIN for one card and transaction, as its profile says."""

from dataclasses import replace
from pathlib import Path

import pytest

from hsm.errors import HsmUnavailable
from pinvault.clearzone.iso9564 import format2
from pinvault.clearzone.opening import digits_of
from pinvault.model.errors import Reason
from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinSource
from pinvault.model.profiles import PinLength
from pinvault.operations.encrypt_pin_change_script import EncryptedScript
from pinvault.policy.limits import Rate
from tests.unit.operations.bad_parts import BAD_SOURCES
from tests.unit.operations.card import Card
from tests.unit.operations.support import (
    BOUND,
    EVERYTHING,
    OTHER_PAN,
    PAN,
    RULES,
    UNBOUND,
    Make,
    World,
    call,
    envelope,
    refusal_of,
    triple,
)

METHOD = "PinBlockService.EncryptPinChangeScript"
CRYPTOGRAM = bytes.fromhex("4B07E35A87F27D2E")
MESSAGE = bytes.fromhex("842400021000024B07E35A87F27D2E")
CARD = Card(
    pan=PAN,
    sequence=1,
    confidentiality=triple("imk-smc/1"),
    integrity=triple("imk-smi/1"),
    cryptograms=triple("imk-ac/1"),
)
NEW, CURRENT = "6184", "7392"


def script(
    world: World,
    name: str = "m-chip",
    new: PinSource | None = None,
    current: PinSource | None = None,
    *,
    pan: str = PAN,
    made=None,
) -> EncryptedScript:
    return world.encrypt_script(
        made or call(METHOD),
        script=name,
        pan=Pan(pan),
        sequence=CARD.sequence,
        cryptogram=CRYPTOGRAM,
        message=MESSAGE,
        new_source=new or world.block(digits=NEW),
        current_source=current,
    )


def granting(directory: Path, **row: object) -> World:
    return World(directory, rows=tuple(replace(each, **row) for each in EVERYTHING))


def pin_on(card: Card, made: EncryptedScript, padding: str = "none") -> str:
    """Read the PIN of an ISO 2 script as the card does, once its MAC is right."""
    assert made.mac == card.mac(MESSAGE + made.enciphered_pin, CRYPTOGRAM)
    block = card.block(made.enciphered_pin, CRYPTOGRAM, padding=padding)
    with format2.decode(block) as pin:
        return digits_of(pin).decode()


@pytest.mark.parametrize("make", BOUND.values(), ids=BOUND)
def test_every_bound_source_reaches_the_card(world: World, make: Make) -> None:
    made = script(world, new=make(world, NEW))
    assert pin_on(CARD, made) == NEW
    assert [each.id for each in made.script_keys] == ["imk-smc/1", "imk-smi/1"]


def test_the_profile_pads_and_chains(world: World) -> None:
    assert pin_on(CARD, script(world, "ccd"), "chained") == NEW


def test_a_visa_block_is_made_with_the_cards_key(world: World) -> None:
    made = script(world, "vsdc")
    block = CARD.block(made.enciphered_pin, CRYPTOGRAM, padding="length")
    half = bytes(4) + CARD.udk_half()
    assert bytes(a ^ b for a, b in zip(block, half, strict=True)).hex() == "046184" + "f" * 10
    assert [each.id for each in made.script_keys] == ["imk-smc/1", "imk-smi/1", "imk-ac/1"]


def test_a_visa_block_with_the_current_pin_needs_it_to_be_read(world: World) -> None:
    made = script(world, "vsdc-current", current=envelope(CURRENT))
    block = CARD.block(made.enciphered_pin, CRYPTOGRAM, padding="length")
    mask = bytes(4) + CARD.udk_half()
    current = bytes.fromhex(CURRENT.ljust(16, "0"))
    clear = bytes(a ^ b ^ c for a, b, c in zip(block, mask, current, strict=True))
    assert clear.hex() == "046184" + "f" * 10
    assert [each.id for each in made.source_keys] == ["zpk/3", "pin-seal/10"]


def test_another_card_or_sequence_number_is_another_script(world: World) -> None:
    made = script(world)
    for card in (replace(CARD, pan=OTHER_PAN), replace(CARD, sequence=2)):
        assert card.mac(MESSAGE + made.enciphered_pin, CRYPTOGRAM) != made.mac
    other = world.block(digits=NEW, pan=OTHER_PAN)
    assert pin_on(replace(CARD, pan=OTHER_PAN), script(world, new=other, pan=OTHER_PAN)) == NEW


# Refusals


@pytest.mark.parametrize(("source", "reason", "at"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_a_bad_source_is_refused_at_its_own_field(
    world: World, source: PinSource, reason: Reason, at: str
) -> None:
    for new, current, place in (
        (source, world.block(), "new_source"),
        (world.block(), source, "current_source"),
    ):
        refusal = refusal_of(lambda n=new, c=current: script(world, "vsdc-current", n, c))
        assert (refusal.reason, refusal.field) == (reason, f"{place}.{at}")
        assert world.is_untouched()


@pytest.mark.parametrize("make", UNBOUND.values(), ids=UNBOUND)
def test_both_sources_must_be_bound(world: World, make: Make) -> None:
    for new, current, place in (
        (make(world, NEW), world.block(), "new_source"),
        (world.block(), make(world, CURRENT), "current_source"),
    ):
        refusal = refusal_of(lambda n=new, c=current: script(world, "vsdc-current", n, c))
        assert (refusal.reason, refusal.field) == (Reason.SOURCE_UNBOUND, place)
        assert world.is_untouched()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("m-chip-x", Reason.SCHEME_UNKNOWN),
        ("visa", Reason.SCHEME_UNKNOWN),
        ("no-smc", Reason.KEY_UNKNOWN),
        ("bad-smc", Reason.KEY_USAGE_MISMATCH),
        ("bad-smi", Reason.KEY_USAGE_MISMATCH),
        ("bad-ac", Reason.KEY_USAGE_MISMATCH),
    ],
)
def test_a_profile_that_cannot_be_is_refused(world: World, name: str, reason: Reason) -> None:
    refusal = refusal_of(lambda: script(world, name))
    assert (refusal.reason, refusal.field) == (reason, "script")
    assert world.is_untouched()


@pytest.mark.parametrize("name", ["m-chip", "ccd", "vsdc", "vsdc-current"])
def test_the_current_pin_is_given_where_the_block_needs_it_and_only_there(
    world: World, name: str
) -> None:
    current = None if name == "vsdc-current" else world.block()
    refusal = refusal_of(lambda: script(world, name, current=current))
    assert (refusal.reason, refusal.field) == (Reason.SCHEME_MISMATCH, "current_source")
    assert world.is_untouched()


def test_all_pans_are_the_same(world: World) -> None:
    others = world.block(pan=OTHER_PAN)
    for new, current in ((others, world.block()), (world.block(), others), (others, others)):
        refusal = refusal_of(lambda n=new, c=current: script(world, "vsdc-current", n, c))
        assert (refusal.reason, refusal.field) == (Reason.PAN_MISMATCH, "")
    assert world.is_untouched()


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"keys": frozenset({"imk-smc", "imk-smi"})}, Reason.KEY_NOT_GRANTED),
        ({"profiles": frozenset({"partner"})}, Reason.PROFILE_NOT_GRANTED),
        ({"schemes": frozenset({"m-chip", "vsdc"})}, Reason.SCHEME_NOT_GRANTED),
        ({"formats": frozenset({Format.ISO_3})}, Reason.FORMAT_NOT_GRANTED),
    ],
)
def test_sources_and_profile_must_be_granted(tmp_path: Path, lacking: dict, reason: Reason) -> None:
    world = granting(tmp_path, **lacking)
    refusal = refusal_of(lambda: script(world, "vsdc-current", world.block(), envelope(CURRENT)))
    assert refusal.reason is reason
    assert world.is_untouched()


def test_the_keys_of_a_profile_are_granted_with_it(tmp_path: Path) -> None:
    world = granting(tmp_path, keys=frozenset({"zpk"}))
    assert pin_on(CARD, script(world)) == NEW


def test_each_script_counts_for_its_pan(tmp_path: Path) -> None:
    world = granting(tmp_path, per_pan=Rate(count=1, period_s=60.0, burst=1))
    script(world)
    world.device.calls.clear()
    assert refusal_of(lambda: script(world)).reason is Reason.PAN_RATE_EXCEEDED
    assert not world.device.calls


# Rules and lengths of the row


@pytest.mark.parametrize("weak", ["1111", "3210", CURRENT], ids=["repeated", "falling", "current"])
def test_a_weak_new_pin_is_refused_and_no_key_derived(tmp_path: Path, weak: str) -> None:
    world = granting(tmp_path, pin_rules=RULES)
    new, current = world.block(digits=weak), world.block(digits=CURRENT)
    refusal = refusal_of(lambda: script(world, "vsdc-current", new, current))
    assert (refusal.reason, refusal.field, refusal.cause) == (Reason.PIN_WEAK, "", "")
    assert world.device.calls == {"decipher": 2}


def test_the_row_pins_the_length_of_both_pins(tmp_path: Path) -> None:
    world = granting(tmp_path, pin_length=PinLength(minimum=4, maximum=4))
    longer, four = world.block(digits="61840"), world.block(digits=CURRENT)
    for new, current in ((longer, four), (four, longer)):
        refusal = refusal_of(lambda n=new, c=current: script(world, "vsdc-current", n, c))
        assert (refusal.reason, refusal.field) == (Reason.PIN_SOURCE_REFUSED, "")
    assert script(world, "vsdc-current", world.block(digits=NEW), four)


def test_a_source_that_does_not_open_makes_nothing(world: World) -> None:
    broken = replace(world.block(), ciphertext=bytes(8))
    for new, current in ((broken, world.block()), (world.block(), broken)):
        refusal = refusal_of(lambda n=new, c=current: script(world, "vsdc-current", n, c))
        assert refusal.reason is Reason.PIN_SOURCE_REFUSED
    assert world.device.calls["with_derived"] == 0


def test_an_hsm_that_is_away_is_told_as_such(world: World) -> None:
    world.device.failure = HsmUnavailable
    assert refusal_of(lambda: script(world)).reason is Reason.HSM_UNAVAILABLE


def test_notes_name_sources_profile_and_every_key(world: World) -> None:
    made = call(METHOD)
    script(world, "vsdc-current", current=envelope(CURRENT), made=made)
    assert [each.id for each in made.notes.keys] == [
        *("zpk/3", "imk-smc/1", "imk-smi/1", "imk-ac/1", "pin-seal/10"),
    ]
    assert (made.notes.sources, made.notes.target) == (["ISO_0", "sealed"], "vsdc-current")
    assert made.notes.pan_index == world.pans.of(Pan(PAN)).hex()

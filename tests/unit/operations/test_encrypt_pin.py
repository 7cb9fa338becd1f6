"""EncryptPin: every fault of the caller is told precisely, before the HSM and the limits."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hsm.errors import HsmUnavailable
from pinvault.model.errors import Reason
from pinvault.model.pan import Pan
from pinvault.model.pins import (
    Format,
    PinBlockTarget,
    PinSource,
    PinTarget,
)
from pinvault.model.profiles import PinLength
from pinvault.policy.limits import Rate
from pinvault.policy.translation import Permission
from tests.unit.operations.bad_parts import BAD_SOURCES, BAD_TARGETS, sealed_block, sealed_under
from tests.unit.operations.support import (
    BOUND,
    CALLER,
    EVERYTHING,
    OTHER_PAN,
    PAN,
    TODAY,
    UNBOUND,
    Make,
    World,
    call,
    envelope,
    partner_reads,
    refusal_of,
    to_block,
    to_partner,
)

GOOD_SOURCE = sealed_block("zpk")
GOOD_TARGET = to_block("zpk")


@pytest.mark.parametrize(("source", "reason", "at"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_a_source_that_cannot_be_is_refused_precisely_and_first(
    world: World, source: PinSource, reason: Reason, at: str
) -> None:
    refusal = refusal_of(lambda: world.encrypt_pin(call(), source=source, target=GOOD_TARGET))
    assert (refusal.reason, refusal.field) == (reason, f"source.{at}")
    assert world.is_untouched()


@pytest.mark.parametrize(("target", "reason", "at"), BAD_TARGETS.values(), ids=BAD_TARGETS)
@pytest.mark.parametrize("source", [GOOD_SOURCE, sealed_under("sealed")], ids=["block", "envelope"])
def test_a_target_that_cannot_be_is_refused_precisely_and_first(
    world: World, source: PinSource, target: PinTarget, reason: Reason, at: str
) -> None:
    refusal = refusal_of(lambda: world.encrypt_pin(call(), source=source, target=target))
    assert (refusal.reason, refusal.field) == (reason, f"target.{at}")
    assert world.is_untouched()


@pytest.mark.parametrize(
    "target",
    [to_block("zpk", pan=OTHER_PAN), to_partner("partner", OTHER_PAN)],
    ids=["block", "envelope"],
)
@pytest.mark.parametrize("source", [GOOD_SOURCE, sealed_under("sealed")], ids=["block", "envelope"])
def test_a_pin_never_changes_its_pan(world: World, source: PinSource, target: PinTarget) -> None:
    refusal = refusal_of(lambda: world.encrypt_pin(call(), source=source, target=target))
    assert refusal.reason is Reason.PAN_MISMATCH
    assert world.is_untouched()


@pytest.mark.parametrize("place", range(len(PAN)))
def test_pans_are_compared_in_every_digit(world: World, place: int) -> None:
    """A format 0 block would not notice the issuer's digits, nor two of those over its PIN."""
    other = PAN[:place] + str((int(PAN[place]) + 1) % 10) + PAN[place + 1 :]
    refusal = refusal_of(
        lambda: world.encrypt_pin(call(), source=GOOD_SOURCE, target=to_block("zpk", pan=other))
    )
    assert refusal.reason is Reason.PAN_MISMATCH


# Grants


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"keys": frozenset({"zpk"})}, Reason.KEY_NOT_GRANTED),
        ({"keys": frozenset({"zpk-aes"})}, Reason.KEY_NOT_GRANTED),
        ({"formats": frozenset({Format.ISO_0})}, Reason.FORMAT_NOT_GRANTED),
        ({"formats": frozenset({Format.ISO_4})}, Reason.FORMAT_NOT_GRANTED),
    ],
)
def test_both_sides_of_a_call_must_be_granted(
    tmp_path: Path, lacking: dict, reason: Reason
) -> None:
    world = World(tmp_path, rows=tuple(replace(row, **lacking) for row in EVERYTHING))
    made = call()
    refusal = refusal_of(
        lambda: world.encrypt_pin(
            made, source=world.block(), target=to_block("zpk-aes", Format.ISO_4)
        )
    )
    assert (refusal.reason, refusal.field) == (reason, "")
    assert world.is_untouched()
    assert [each.id for each in made.notes.keys] == ["zpk/3", "zpk-aes/1"]


@pytest.mark.parametrize("granted", [{"sealed"}, {"partner"}, set()])
def test_the_profiles_of_both_sides_must_be_granted(tmp_path: Path, granted: set[str]) -> None:
    rows = tuple(replace(row, profiles=frozenset(granted)) for row in EVERYTHING)
    world = World(tmp_path, rows=rows)
    refusal = refusal_of(
        lambda: world.encrypt_pin(call(), source=envelope(), target=to_partner("partner"))
    )
    assert refusal.reason is Reason.PROFILE_NOT_GRANTED
    assert world.is_untouched()


def test_a_profile_is_granted_without_its_key(tmp_path: Path) -> None:
    world = World(tmp_path, rows=tuple(replace(row, keys=frozenset()) for row in EVERYTHING))
    made = world.encrypt_pin(call(), source=envelope(), target=to_partner("partner"))
    assert partner_reads(str(made.result)) == "7392"


def test_another_caller_is_not_granted_the_method(world: World) -> None:
    refusal = refusal_of(
        lambda: world.encrypt_pin(
            call(caller="other"), source=world.block(), target=to_block("zpk")
        )
    )
    assert refusal.reason is Reason.METHOD_NOT_GRANTED
    assert world.is_untouched()


# Limits


def limited(directory: Path, **rates: Rate) -> World:
    return World(directory, rows=tuple(replace(row, **rates) for row in EVERYTHING))


def test_a_rate_that_is_used_up_refuses_before_the_hsm(tmp_path: Path) -> None:
    world = limited(tmp_path, per_pan=Rate(count=2, period_s=60.0, burst=2))
    for _ in range(2):
        world.encrypt_pin(call(), source=world.block(), target=to_block("zpk"))
    world.device.calls.clear()
    refusal = refusal_of(
        lambda: world.encrypt_pin(call(), source=world.block(), target=to_block("zpk"))
    )
    assert (refusal.reason, refusal.retry_after_s) == (Reason.PAN_RATE_EXCEEDED, 30.0)
    assert not world.device.calls
    world.now += 30
    assert world.encrypt_pin(call(), source=world.block(), target=to_block("zpk"))


def test_a_refused_rate_does_not_spend_the_envelope(tmp_path: Path) -> None:
    world = limited(tmp_path, per_pan=Rate(count=1, period_s=60.0, burst=1))
    world.encrypt_pin(call(), source=world.block(), target=to_block("zpk"))
    source = envelope()
    refusal_of(lambda: world.encrypt_pin(call(), source=source, target=to_block("zpk")))
    world.now += 60
    assert world.encrypt_pin(call(), source=source, target=to_block("zpk"))


def test_limits_that_cannot_be_kept_refuse_the_call(tmp_path: Path) -> None:
    world = limited(tmp_path, per_pan=Rate(count=2, period_s=60.0, burst=2))
    world.table.close()
    refusal = refusal_of(
        lambda: world.encrypt_pin(call(), source=world.block(), target=to_block("zpk"))
    )
    assert refusal.reason is Reason.LIMITS_UNAVAILABLE
    assert refusal.retry_after_s is not None
    assert not world.device.calls


# What passes


@pytest.mark.parametrize(
    ("under", "form"),
    [
        ("zpk/3", Format.ISO_0),
        ("zpk/2", Format.ISO_3),
        ("zpk-d/1", Format.ISO_1),
        ("zpk-past/1", Format.ISO_0),
        ("zpk-aes/1", Format.ISO_4),
    ],
    ids=["active", "decipher-only", "deciphering", "past its cryptoperiod", "AES"],
)
def test_what_was_made_in_time_is_still_opened(world: World, under: str, form: Format) -> None:
    source = world.block(form, under=under)
    made = world.encrypt_pin(call(), source=source, target=to_partner("partner"))
    assert partner_reads(str(made.result)) == "7392"
    assert (made.source_key.id, made.target_key.id) == (under, "partner/1")


@pytest.mark.parametrize(
    ("under", "means", "form"),
    [
        ("zpk", "zpk/3", Format.ISO_0),
        ("zpk/3", "zpk/3", Format.ISO_3),
        ("zpk-e", "zpk-e/1", Format.ISO_3),
        ("zpk-aes", "zpk-aes/1", Format.ISO_4),
    ],
)
def test_a_block_is_made_under_the_key_that_its_name_means(
    world: World, under: str, means: str, form: Format
) -> None:
    target = to_block(under, form)
    made = world.encrypt_pin(call(), source=envelope(), target=target)
    assert isinstance(made.result, bytes)
    assert made.target_key.id == means
    assert world.pin_in(made.result, target, means) == "7392"


@pytest.mark.parametrize("under", ["pin-seal/10", "pin-seal/9"])
def test_every_version_of_the_sealing_key_in_use_opens(world: World, under: str) -> None:
    made = world.encrypt_pin(call(), source=envelope(under=under), target=to_block("zpk"))
    assert made.source_key.id == under


def test_a_retired_sealing_key_does_not_open(world: World) -> None:
    refusal = refusal_of(
        lambda: world.encrypt_pin(
            call(), source=envelope(under="pin-seal/1"), target=to_block("zpk")
        )
    )
    assert refusal.reason is Reason.PIN_SOURCE_REFUSED
    assert not world.device.calls


def test_the_day_a_cryptoperiod_ends_is_the_first_without_it(world: World) -> None:
    target = to_block("zpk-past")
    refusal = refusal_of(lambda: world.encrypt_pin(call(), source=GOOD_SOURCE, target=target))
    assert refusal.reason is Reason.KEY_STATE
    world.today = TODAY - timedelta(days=1)
    assert world.encrypt_pin(call(), source=world.block(), target=target)


@pytest.mark.parametrize("make", BOUND.values(), ids=BOUND)
def test_what_is_bound_stays_bound(world: World, make: Make) -> None:
    source, target = make(world, "7392"), to_block(form=Format.ISO_1)
    refusal = refusal_of(lambda: world.encrypt_pin(call(), source=source, target=target))
    assert (refusal.reason, refusal.field) == (
        *(Reason.TRANSLATION_FORBIDDEN, "target.pin_block.format"),
    )
    assert world.is_untouched()


@pytest.mark.parametrize("name", ["ISO_1", "sealed-free", "sealed-digits"])
def test_what_is_bound_to_no_pan_may_stay_so(world: World, name: str) -> None:
    target = to_block(form=Format.ISO_1)
    made = world.encrypt_pin(call(), source=UNBOUND[name](world, "7392"), target=target)
    assert isinstance(made.result, bytes)
    assert world.pin_in(made.result, target, "zpk/3") == "7392"


def test_a_block_of_format_1_becomes_a_partners_field_where_a_row_lets_it(tmp_path: Path) -> None:
    """The partner takes it for the PIN of the PAN that the call names."""
    for number, permitted in enumerate((frozenset[Permission](), {Permission.ISO_1_TO_PAN})):
        folder = tmp_path / str(number)
        folder.mkdir()
        allowed = frozenset(permitted)
        world = World(folder, rows=tuple(replace(row, translations=allowed) for row in EVERYTHING))
        source = world.block(Format.ISO_1)
        if permitted:
            assert world.encrypt_pin(call(), source=source, target=to_partner())
        else:
            refusal = refusal_of(
                lambda w=world, s=source: w.encrypt_pin(call(), source=s, target=to_partner())
            )
            assert refusal.reason is Reason.TRANSLATION_NOT_GRANTED
            assert world.is_untouched()
        world.table.close()


def test_the_row_pins_the_length_of_an_envelopes_pin(tmp_path: Path) -> None:
    four = PinLength(minimum=4, maximum=4)
    world = World(tmp_path, rows=tuple(replace(row, pin_length=four) for row in EVERYTHING))
    assert world.encrypt_pin(call(), source=envelope("7392"), target=to_block())
    refusal = refusal_of(
        lambda: world.encrypt_pin(call(), source=envelope("73920"), target=to_block())
    )
    assert (refusal.reason, refusal.field, refusal.cause) == (Reason.PIN_SOURCE_REFUSED, "", "")


# Notes


def test_notes_say_what_the_call_was_about(world: World) -> None:
    made = call()
    world.encrypt_pin(made, source=world.block(), target=to_block("zpk-aes", Format.ISO_4))
    assert [each.id for each in made.notes.keys] == ["zpk/3", "zpk-aes/1"]
    assert made.notes.sources == ["ISO_0"]
    assert made.notes.target == "ISO_4"
    assert made.notes.pan_index == world.pans.of(Pan(PAN)).hex()


def test_notes_name_the_sealing_key_once_it_is_known(world: World) -> None:
    made = call()
    world.encrypt_pin(made, source=envelope(), target=to_partner("partner"))
    assert [each.id for each in made.notes.keys] == ["partner/1", "pin-seal/10"]
    assert (made.notes.sources, made.notes.target) == (["sealed"], "partner")


def test_notes_of_a_refused_call_hold_what_was_known(world: World) -> None:
    made, source = call(), replace(world.block(), ciphertext=bytes(8))
    refusal = refusal_of(
        lambda: world.encrypt_pin(made, source=source, target=to_partner("partner"))
    )
    assert refusal.reason is Reason.PIN_SOURCE_REFUSED
    assert refusal.field == ""
    assert [each.id for each in made.notes.keys] == ["zpk/3", "partner/1"]
    assert (made.notes.sources, made.notes.target) == (["ISO_0"], "partner")
    assert made.notes.pan_index


def test_notes_without_a_pan_have_no_index(world: World) -> None:
    made = call()
    world.encrypt_pin(
        made,
        source=envelope(profile="sealed-free", pan=None),
        target=PinBlockTarget(key="zpk", format=Format.ISO_1, pan=None),
    )
    assert made.notes.pan_index == ""


def test_an_hsm_that_is_away_is_told_as_such(world: World) -> None:
    world.device.failure = HsmUnavailable
    refusal = refusal_of(
        lambda: world.encrypt_pin(call(), source=world.block(), target=to_block("zpk"))
    )
    assert refusal.reason is Reason.HSM_UNAVAILABLE
    assert refusal.retry_after_s is not None
    assert CALLER not in str(refusal)

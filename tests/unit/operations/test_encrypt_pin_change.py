"""EncryptPinChange: both fields or none, each source and the profile refused at its own field."""

from dataclasses import replace
from pathlib import Path

import pytest

from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.pins import EnvelopeTarget, Format, PinSource
from pinvault.operations.encrypt_pin_change import EncryptedPinChange
from pinvault.policy.limits import Rate
from tests.unit.operations.bad_parts import BAD_SOURCES, BAD_TARGETS
from tests.unit.operations.support import (
    EVERYTHING,
    OTHER_PAN,
    PAN,
    World,
    call,
    envelope,
    partner_reads,
    refusal_of,
)

METHOD = "PinBlockService.EncryptPinChange"
BAD_PROFILES = {
    name: (target.profile, reason)
    for name, (target, reason, _) in BAD_TARGETS.items()
    if isinstance(target, EnvelopeTarget)
}


def change(
    world: World,
    new: PinSource,
    old: PinSource | None,
    *,
    profile: str = "partner",
    pan: str = PAN,
    made=None,
) -> EncryptedPinChange:
    return world.encrypt_pin_change(
        made or call(METHOD), profile=profile, pan=Pan(pan), new_source=new, old_source=old
    )


def test_both_pins_become_the_partners_fields(world: World) -> None:
    new, old = envelope("7392"), world.block(Format.ISO_3, digits="051846")
    made = change(world, new, old)
    assert partner_reads(made.pin_field) == "7392"
    assert partner_reads(made.old_pin_field) == "051846"
    assert [each.id for each in made.source_keys] == ["pin-seal/10", "zpk/3"]
    assert made.target_key.id == "partner/1"


def test_without_a_current_pin_its_field_is_empty(world: World) -> None:
    made = change(world, envelope("7392"), None)
    assert partner_reads(made.pin_field) == "7392"
    assert made.old_pin_field == ""
    assert [each.id for each in made.source_keys] == ["pin-seal/10"]
    assert world.device.calls == {"rsa_decrypt": 1, "rsa_encrypt": 1}


def test_the_two_fields_of_one_pin_differ(world: World) -> None:
    made = change(world, envelope("7392"), envelope("7392"))
    assert made.pin_field != made.old_pin_field


@pytest.mark.parametrize(("source", "reason", "at"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_a_bad_source_is_refused_at_its_own_field(
    world: World, source: PinSource, reason: Reason, at: str
) -> None:
    good = envelope()
    for new, old, field in ((source, good, "new_source"), (good, source, "old_source")):
        refusal = refusal_of(lambda n=new, o=old: change(world, n, o))
        assert (refusal.reason, refusal.field) == (reason, f"{field}.{at}")
        assert world.is_untouched()


@pytest.mark.parametrize(("profile", "reason"), BAD_PROFILES.values(), ids=BAD_PROFILES)
def test_a_bad_profile_is_refused_at_its_field(world: World, profile: str, reason: Reason) -> None:
    refusal = refusal_of(lambda: change(world, envelope(), envelope(), profile=profile))
    assert (refusal.reason, refusal.field) == (reason, "profile")
    assert world.is_untouched()


def test_the_bad_profiles_are_of_every_kind() -> None:
    assert {reason for _, reason in BAD_PROFILES.values()} == {
        Reason.PROFILE_UNKNOWN,
        Reason.PROFILE_MISMATCH,
        Reason.KEY_STATE,
        Reason.KEY_UNKNOWN,
        Reason.KEY_USAGE_MISMATCH,
    }


def test_all_three_pans_are_the_same(world: World) -> None:
    mine, others = envelope(), envelope(pan=OTHER_PAN)
    for new, old, pan in (
        (others, mine, PAN),
        (mine, others, PAN),
        (mine, mine, OTHER_PAN),
        (others, others, PAN),
        (mine, None, OTHER_PAN),
    ):
        refusal = refusal_of(lambda n=new, o=old, p=pan: change(world, n, o, pan=p))
        assert refusal.reason is Reason.PAN_MISMATCH
    assert world.is_untouched()


@pytest.mark.parametrize("bad", ["new", "old"])
def test_one_bad_pin_gives_no_field_and_no_hint_which(world: World, bad: str) -> None:
    forged = replace(envelope(), ciphertext=envelope().ciphertext[:-8] + b"AAAAAAAA")
    sources = (forged, envelope()) if bad == "new" else (envelope(), forged)
    refusal = refusal_of(lambda: change(world, *sources))
    assert (refusal.reason, refusal.field, refusal.cause) == (Reason.PIN_SOURCE_REFUSED, "", "")
    assert world.device.calls["rsa_encrypt"] == 0


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"profiles": frozenset({"sealed"})}, Reason.PROFILE_NOT_GRANTED),
        ({"profiles": frozenset({"partner"})}, Reason.PROFILE_NOT_GRANTED),
        ({"keys": frozenset()}, Reason.KEY_NOT_GRANTED),
        ({"formats": frozenset({Format.ISO_0})}, Reason.FORMAT_NOT_GRANTED),
    ],
)
def test_sources_and_profile_must_be_granted_together(
    tmp_path: Path, lacking: dict, reason: Reason
) -> None:
    world = World(tmp_path, rows=tuple(replace(row, **lacking) for row in EVERYTHING))
    old = world.block(Format.ISO_3)
    assert refusal_of(lambda: change(world, envelope(), old)).reason is reason
    assert world.is_untouched()


def test_notes_name_both_sources_in_order_and_each_key_once(world: World) -> None:
    made = call(METHOD)
    change(world, envelope(), world.block(Format.ISO_3), made=made)
    assert made.notes.sources == ["sealed", "ISO_3"]
    assert made.notes.target == "partner"
    assert [each.id for each in made.notes.keys] == ["zpk/3", "partner/1", "pin-seal/10"]
    assert made.notes.pan_index == world.pans.of(Pan(PAN)).hex()

    made = call(METHOD)
    change(world, envelope(), envelope(), made=made)
    assert [each.id for each in made.notes.keys] == ["partner/1", "pin-seal/10"]


def test_one_change_counts_once_for_its_pan(tmp_path: Path) -> None:
    once = Rate(count=1, period_s=60.0, burst=1)
    world = World(tmp_path, rows=tuple(replace(row, per_pan=once) for row in EVERYTHING))
    change(world, world.block(), world.block())
    with pytest.raises(Refusal) as refused:
        change(world, world.block(), world.block())
    assert refused.value.reason is Reason.PAN_RATE_EXCEEDED

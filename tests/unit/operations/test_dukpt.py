"""DUKPT in every verb: each working key both ways, and a key serial number that is spent once."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from hsm.errors import HsmUnavailable
from pinvault.model.dukpt import Dukpt
from pinvault.model.errors import Reason
from pinvault.model.keys import Algorithm
from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinBlockSource
from pinvault.policy.limits import Rate
from tests.unit.operations.support import (
    EVERYTHING,
    PAN,
    TDES_TRANSACTION,
    World,
    aes_transaction,
    call,
    envelope,
    partner_reads,
    pvv_of,
    refusal_of,
    to_block,
    to_partner,
    value,
    visa,
)

DAY_S = 86_400
WORKING = {
    "TDES": ("bdk", TDES_TRANSACTION, Format.ISO_0),
    "AES to TDES 2": ("bdk-128", aes_transaction(Algorithm.TDES_2KEY), Format.ISO_3),
    "AES to TDES 3": ("bdk-256", aes_transaction(Algorithm.TDES_3KEY), Format.ISO_0),
    "AES to AES 128": ("bdk-128", aes_transaction(Algorithm.AES_128), Format.ISO_4),
    "AES to AES 192": ("bdk-256", aes_transaction(Algorithm.AES_192), Format.ISO_4),
    "AES to AES 256": ("bdk-256", aes_transaction(Algorithm.AES_256), Format.ISO_4),
}
every_key = pytest.mark.parametrize(("base", "dukpt", "form"), WORKING.values(), ids=WORKING)
one_a_family = pytest.mark.parametrize(
    ("base", "dukpt", "form"), [WORKING["TDES"], WORKING["AES to AES 128"]], ids=["TDES", "AES"]
)


def block(
    world: World, base: str, dukpt: Dukpt, form: Format, digits: str = "7392"
) -> PinBlockSource:
    return world.block(form, under=f"{base}/1", digits=digits, dukpt=dukpt)


def matches(world: World, source: PinBlockSource) -> bool:
    reference = value(visa(), pvv_of("7392"))
    return world.verify_pin(
        call("PinBlockService.VerifyPin"), source=source, pan=Pan(PAN), reference=reference
    ).matches


def reason_of(use: Callable[[], object]) -> tuple[Reason, str]:
    refusal = refusal_of(use)
    return refusal.reason, refusal.field


# Both ways


@every_key
def test_a_transaction_is_a_source_and_a_target(
    world: World, base: str, dukpt: Dukpt, form: Format
) -> None:
    target = to_block(base, form, dukpt=dukpt)
    made = world.encrypt_pin(call(), source=envelope("051846"), target=target)
    assert isinstance(made.result, bytes)
    assert world.pin_in(made.result, target, f"{base}/1") == "051846"
    assert made.target_key.id == f"{base}/1"

    source = PinBlockSource(
        key=base, format=form, pan=target.pan, ciphertext=made.result, dukpt=dukpt
    )
    onwards = world.translate_pin(
        call("PinBlockService.TranslatePin"), source=source, target=to_block()
    )
    assert world.pin_in(onwards.pin_block, to_block(), "zpk/3") == "051846"
    assert onwards.source_key.id == f"{base}/1"


@every_key
def test_a_pin_of_a_transaction_is_verified_and_enciphered_for_a_partner(
    world: World, base: str, dukpt: Dukpt, form: Format
) -> None:
    assert matches(world, block(world, base, dukpt, form))
    world.now += DAY_S + 1
    source = block(world, base, dukpt, form)
    made = world.encrypt_pin(call(), source=source, target=to_partner())
    assert partner_reads(str(made.result)) == "7392"


# Spent once


@every_key
def test_a_serial_number_is_spent_once(world: World, base: str, dukpt: Dukpt, form: Format) -> None:
    source = block(world, base, dukpt, form)
    assert matches(world, source)
    refusal = refusal_of(lambda: matches(world, source))
    assert (refusal.reason, refusal.field, refusal.cause) == (Reason.KSN_REPLAYED, "", "replayed")
    another = block(world, base, dukpt, form, digits="7393")
    assert reason_of(lambda: matches(world, another))[0] is Reason.KSN_REPLAYED


@one_a_family
def test_a_serial_number_stays_spent_for_the_window(
    world: World, base: str, dukpt: Dukpt, form: Format
) -> None:
    source = block(world, base, dukpt, form)
    assert matches(world, source)
    world.now += DAY_S - 1
    assert reason_of(lambda: matches(world, source))[0] is Reason.KSN_REPLAYED
    world.now += 2
    assert matches(world, source)


def test_the_same_serial_number_under_two_base_keys_is_two(world: World) -> None:
    dukpt = aes_transaction(Algorithm.AES_128)
    assert matches(world, block(world, "bdk-128", dukpt, Format.ISO_4))
    assert matches(world, block(world, "bdk-256", dukpt, Format.ISO_4))


@one_a_family
def test_a_target_spends_nothing(world: World, base: str, dukpt: Dukpt, form: Format) -> None:
    target = to_block(base, form, dukpt=dukpt)
    for _ in range(2):
        world.encrypt_pin(call(), source=world.block(), target=target)
    assert matches(world, block(world, base, dukpt, form))


@one_a_family
def test_two_blocks_of_one_call_share_a_serial_number(
    world: World, base: str, dukpt: Dukpt, form: Format
) -> None:
    current, new = (block(world, base, dukpt, form, digits) for digits in ("7392", "051846"))
    done = world.encrypt_pin_change(
        call("PinBlockService.EncryptPinChange"),
        profile="partner",
        pan=Pan(PAN),
        new_source=new,
        old_source=current,
    )
    assert partner_reads(done.pin_field) == "051846"
    assert partner_reads(done.old_pin_field) == "7392"
    for spent in (current, new):
        assert reason_of(lambda s=spent: matches(world, s))[0] is Reason.KSN_REPLAYED


@one_a_family
def test_a_block_and_the_one_to_compare_with_share_a_serial_number(
    world: World, base: str, dukpt: Dukpt, form: Format
) -> None:
    one, other = (block(world, base, dukpt, form) for _ in range(2))
    done = world.verify_pin(
        call("PinBlockService.VerifyPin"), source=one, pan=Pan(PAN), reference=other
    )
    assert done.matches


@one_a_family
def test_a_block_that_does_not_open_spends_its_serial_number(
    world: World, base: str, dukpt: Dukpt, form: Format
) -> None:
    good = block(world, base, dukpt, form)
    broken = replace(good, ciphertext=bytes(form.block_bytes))
    assert reason_of(lambda: matches(world, broken)) == (Reason.PIN_SOURCE_REFUSED, "")
    assert reason_of(lambda: matches(world, good))[0] is Reason.KSN_REPLAYED


@one_a_family
def test_an_hsm_that_was_away_has_spent_nothing(
    world: World, base: str, dukpt: Dukpt, form: Format
) -> None:
    source = block(world, base, dukpt, form)
    world.device.failure = HsmUnavailable
    assert reason_of(lambda: matches(world, source))[0] is Reason.HSM_UNAVAILABLE
    world.device.failure = None
    assert matches(world, source)


def test_a_call_that_was_not_let_pass_has_spent_nothing(tmp_path) -> None:
    once = Rate(count=1, period_s=60.0, burst=1)
    world = World(tmp_path, rows=tuple(replace(row, per_pan=once) for row in EVERYTHING))
    source = block(world, *WORKING["TDES"])
    matches(world, world.block())
    assert reason_of(lambda: matches(world, source))[0] is Reason.PAN_RATE_EXCEEDED
    world.now += 60
    assert matches(world, source)


# Refused


ZPK, NO_KSN = "zpk/3", bytes(12)
AES_128 = aes_transaction(Algorithm.AES_128)
REFUSED = {
    "TDES base key without its variant": (
        *("bdk-off", TDES_TRANSACTION, Format.ISO_0, Reason.NOT_SUPPORTED),
        "dukpt",
    ),
    "PIN encryption key": (ZPK, TDES_TRANSACTION, Format.ISO_0, Reason.KEY_USAGE_MISMATCH, "key"),
    "base key without a transaction": (
        *("bdk", None, Format.ISO_0, Reason.KEY_USAGE_MISMATCH),
        "key",
    ),
    "unknown base key": ("bdk/2", TDES_TRANSACTION, Format.ISO_0, Reason.KEY_UNKNOWN, "key"),
    "working key of another family": (
        "bdk",
        replace(TDES_TRANSACTION, working_key=Algorithm.AES_128),
        Format.ISO_4,
        Reason.KSN_INVALID,
        "dukpt.working_key_algorithm",
    ),
    "working key stronger than its base": (
        "bdk-128",
        aes_transaction(Algorithm.AES_256),
        Format.ISO_4,
        Reason.KSN_INVALID,
        "dukpt.working_key_algorithm",
    ),
    "counter 0": (
        *("bdk-128", replace(AES_128, ksn=NO_KSN), Format.ISO_4, Reason.KSN_INVALID),
        "dukpt.key_serial_number",
    ),
    "serial number of the other kind": (
        *("bdk-128", replace(AES_128, ksn=TDES_TRANSACTION.ksn), Format.ISO_4, Reason.KSN_INVALID),
        "dukpt.key_serial_number",
    ),
    "format 4 under a TDES working key": (
        *("bdk", TDES_TRANSACTION, Format.ISO_4, Reason.FORMAT_KEY_MISMATCH),
        "format",
    ),
    "format 0 under an AES working key": (
        *("bdk-128", AES_128, Format.ISO_0, Reason.FORMAT_KEY_MISMATCH),
        "format",
    ),
}


@pytest.mark.parametrize(("base", "dukpt", "form", "reason", "at"), REFUSED.values(), ids=REFUSED)
def test_a_transaction_that_cannot_be_is_refused_on_both_sides(
    world: World, base: str, dukpt: Dukpt | None, form: Format, reason: Reason, at: str
) -> None:
    source = PinBlockSource(
        key=base, format=form, pan=Pan(PAN), ciphertext=bytes(form.block_bytes), dukpt=dukpt
    )
    target = to_block(base, form, dukpt=dukpt)
    assert reason_of(lambda: world.encrypt_pin(call(), source=source, target=to_block())) == (
        reason,
        f"source.pin_block.{at}",
    )
    assert reason_of(lambda: world.encrypt_pin(call(), source=envelope(), target=target)) == (
        reason,
        f"target.pin_block.{at}",
    )
    assert world.is_untouched()


def test_a_base_key_that_is_not_granted_is_refused(tmp_path) -> None:
    granted = frozenset({"zpk", "bdk-128"})
    world = World(tmp_path, rows=tuple(replace(row, keys=granted) for row in EVERYTHING))
    source = block(world, *WORKING["TDES"])
    assert reason_of(lambda: matches(world, source))[0] is Reason.KEY_NOT_GRANTED
    assert world.is_untouched()
    assert matches(world, block(world, *WORKING["AES to AES 128"]))


def test_the_words_of_the_record_tell_a_transaction(world: World) -> None:
    made = call()
    target = to_block("bdk-128", Format.ISO_4, dukpt=AES_128)
    world.encrypt_pin(made, source=block(world, *WORKING["TDES"]), target=target)
    assert (made.notes.sources, made.notes.target) == (["ISO_0-DUKPT"], "ISO_4-DUKPT")
    assert [each.id for each in made.notes.keys] == ["bdk/1", "bdk-variant/1", "bdk-128/1"]

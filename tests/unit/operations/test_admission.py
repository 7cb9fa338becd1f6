"""Grants come before limits, and what is recorded of a PAN is its keyed hash alone."""

import hmac
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.policy.grants import Ask
from pinvault.policy.limits import Rate
from pinvault.policy.pan_index import PanIndex
from tests.unit.operations.support import CALLER, EVERYTHING, OTHER_PAN, PAN, World, call

NOTHING = Ask()
ONCE = Rate(count=1, period_s=60.0, burst=1)


def admit(world: World, made, ask: Ask = NOTHING, pan: str | None = PAN) -> None:
    world.key_service.admission.admit(made, ask, Pan(pan) if pan is not None else None)


def limited(directory: Path, **rates: Rate) -> World:
    return World(directory, rows=tuple(replace(row, **rates) for row in EVERYTHING))


def test_the_index_is_noted(world: World) -> None:
    made = call(caller="other")
    world.admission.note(made, Pan(PAN))
    assert made.notes.pan_index == world.pans.of(Pan(PAN)).hex()


def test_what_was_never_granted_uses_up_nothing(tmp_path: Path) -> None:
    world = limited(tmp_path, per_pan=ONCE)
    for _ in range(3):
        with pytest.raises(Refusal) as caught:
            admit(world, call(), Ask(keys=frozenset({"unknown"})))
        assert caught.value.reason is Reason.KEY_NOT_GRANTED
    admit(world, call())


def test_one_pans_rate_is_not_anothers(tmp_path: Path) -> None:
    world = limited(tmp_path, per_caller=None, per_pan=ONCE)
    admit(world, call())
    admit(world, call(), pan=OTHER_PAN)
    for pan in (PAN, OTHER_PAN):
        with pytest.raises(Refusal) as caught:
            admit(world, call(), pan=pan)
        assert caught.value.reason is Reason.PAN_RATE_EXCEEDED
        assert caught.value.__cause__ is None


def test_a_callers_rate_counts_every_call_of_the_method_and_no_other(tmp_path: Path) -> None:
    """Whatever becomes of a call, and whichever row would cover it."""
    row, other = EVERYTHING[0], EVERYTHING[1]
    rows = (replace(row, per_caller=None), replace(row, per_caller=ONCE), other)
    world = World(tmp_path, rows=rows)
    world.admission.enter(caller=CALLER, method=row.method)
    world.admission.enter(caller=CALLER, method=other.method)
    with pytest.raises(Refusal) as caught:
        world.admission.enter(caller=CALLER, method=row.method)
    assert caught.value.reason is Reason.CALLER_RATE_EXCEEDED
    assert caught.value.retry_after_s
    world.now += ONCE.period_s
    world.admission.enter(caller=CALLER, method=row.method)


def test_a_caller_without_a_row_does_not_enter(world: World) -> None:
    with pytest.raises(Refusal) as caught:
        world.admission.enter(caller="other", method=EVERYTHING[0].method)
    assert caught.value.reason is Reason.METHOD_NOT_GRANTED
    assert world.is_untouched()


@given(
    digits=st.text("0123456789", min_size=12, max_size=19),
    secret=st.binary(min_size=32, max_size=32),
)
def test_the_index_is_the_hmac_of_the_whole_pan(digits: str, secret: bytes) -> None:
    assert PanIndex(secret).of(Pan(digits)) == hmac.digest(secret, digits.encode(), "sha256")


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_the_index_key_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError):
        PanIndex(bytes(length))


def test_an_index_does_not_show_its_key() -> None:
    secret = b"thirty-two bytes of index secret"
    assert repr(PanIndex(secret)) == "<PAN index>"

"""TranslatePin against PCI PIN requirement 3-3: what succeeds is exactly what it leaves.

The requirement is written down here a second time, as a drawing, so that a slip in the table of
the policy is no slip of its test. A PIN that may not pass has not touched the HSM.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinBlockSource
from pinvault.policy.translation import MATRIX, Permission
from tests.unit.operations.support import (
    EVERYTHING,
    OTHER_PAN,
    PAN,
    World,
    call,
    key_for,
    to_block,
)

METHOD = "PinBlockService.TranslatePin"
DRAWING = """
              0 1 3 4
ISO_0         + - + +
ISO_1         b + b b
ISO_3         + - + +
ISO_4         d - d +
OEM_1         + - + +
ECI_2         + - + +
ECI_3         + - + +
VISA_2        + - + +
VISA_3        + - + +
VISA_4        + - + +
PLUS          + - + +
MASTERCARD_35 + - + +
"""
"""From the rows to the columns: free, b to bind, d to step down, or never."""
NEEDS = {"+": None, "b": Permission.ISO_1_TO_PAN, "d": Permission.AES_TO_TDES}
PERMISSIONS = tuple(each for each in Permission if each is not Permission.NONE)
SUBSETS = [
    frozenset(chosen)
    for size in range(len(PERMISSIONS) + 1)
    for chosen in itertools.combinations(PERMISSIONS, size)
]


def drawn() -> dict[tuple[Format, Format], Permission | None]:
    """Read the drawing: what each step that there is needs."""
    head, *rows = DRAWING.strip().splitlines()
    targets = [Format(f"ISO_{number}") for number in head.split()]
    return {
        (Format(name), target): NEEDS[mark]
        for name, *marks in map(str.split, rows)
        for target, mark in zip(targets, marks, strict=True)
        if mark in NEEDS
    }


STEPS = drawn()


@dataclass(frozen=True)
class Step:
    """One translation that somebody asks for."""

    source: Format
    target: Format
    same_pan: bool

    def verdict(
        self, permitted: frozenset[Permission], granted: frozenset[Format]
    ) -> Reason | None:
        """Say what must become of it; None is success."""
        if self.source.carries_pan and self.target.carries_pan and not self.same_pan:
            return Reason.PAN_MISMATCH
        if (self.source, self.target) not in STEPS:
            return Reason.TRANSLATION_FORBIDDEN
        if not {self.source, self.target} <= granted:
            return Reason.FORMAT_NOT_GRANTED
        needs = STEPS[self.source, self.target]
        if needs is not None and needs not in permitted:
            return Reason.TRANSLATION_NOT_GRANTED
        return None


EVERY_STEP = [Step(*each) for each in itertools.product(Format, Format, (True, False))]


def key_under(form: Format) -> str:
    return "zpk-aes/1" if form is Format.ISO_4 else key_for(form)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Format, PinBlockSource]]:
    """A block of every format, all of one PIN."""
    world = World(tmp_path_factory.mktemp("blocks"))
    yield {form: world.block(form, under=key_under(form)) for form in Format}
    world.table.close()


def world_with(folder: Path, permitted: frozenset[Permission], granted: frozenset[Format]) -> World:
    (row,) = (row for row in EVERYTHING if row.method == METHOD)
    folder.mkdir()
    return World(folder, rows=(replace(row, translations=permitted, formats=granted),))


def outcome(world: World, step: Step, source: PinBlockSource) -> Reason | None:
    """Ask for the step; what succeeds must have kept the PIN, and what does not, the HSM."""
    world.device.calls.clear()
    pan = PAN if step.same_pan else OTHER_PAN
    target = to_block(key_under(step.target), step.target, pan)
    try:
        made = world.translate_pin(call(METHOD), source=source, target=target)
    except Refusal as refusal:
        assert not world.device.calls, step
        return refusal.reason
    assert world.pin_in(made.pin_block, target, key_under(step.target)) == "7392"
    return None


def test_the_policys_table_is_the_drawing() -> None:
    assert {step: needs or Permission.NONE for step, needs in STEPS.items()} == MATRIX


@pytest.mark.parametrize(
    "permitted", SUBSETS, ids=lambda permitted: "+".join(sorted(permitted)) or "nothing"
)
def test_exactly_the_drawing_succeeds(
    tmp_path: Path, blocks: dict[Format, PinBlockSource], permitted: frozenset[Permission]
) -> None:
    """Every format to every format, with the PAN and another, under all that can be permitted."""
    everything = frozenset(Format)
    world = world_with(tmp_path / "world", permitted, everything)
    for step in EVERY_STEP:
        expected = step.verdict(permitted, everything)
        assert outcome(world, step, blocks[step.source]) is expected, step
    world.table.close()


@settings(max_examples=60)
@given(
    permitted=st.frozensets(st.sampled_from(PERMISSIONS)),
    granted=st.frozensets(st.sampled_from(Format)),
    steps=st.lists(st.sampled_from(EVERY_STEP), min_size=1, max_size=20),
)
def test_no_format_passes_that_the_row_does_not_name(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: dict[Format, PinBlockSource],
    permitted: frozenset[Permission],
    granted: frozenset[Format],
    steps: list[Step],
) -> None:
    world = world_with(tmp_path_factory.mktemp("row") / "world", permitted, granted)
    for step in steps:
        expected = step.verdict(permitted, granted)
        assert outcome(world, step, blocks[step.source]) is expected, step
    world.table.close()


@settings(max_examples=60)
@given(
    place=st.integers(min_value=0, max_value=len(PAN) - 1),
    step=st.integers(min_value=1, max_value=9),
    pair=st.sampled_from(sorted(each for each in STEPS if all(f.carries_pan for f in each))),
)
def test_one_other_digit_is_another_pan(
    matrix_world: World, blocks: dict[Format, PinBlockSource], place: int, step: int, pair
) -> None:
    source, target = pair
    digit = str((int(PAN[place]) + step) % 10)
    wanted = replace(
        to_block(key_under(target), target), pan=Pan(PAN[:place] + digit + PAN[place + 1 :])
    )
    with pytest.raises(Refusal) as caught:
        matrix_world.translate_pin(call(METHOD), source=blocks[source], target=wanted)
    assert caught.value.reason is Reason.PAN_MISMATCH
    assert not matrix_world.device.calls


@pytest.fixture(scope="module")
def matrix_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = world_with(
        tmp_path_factory.mktemp("matrix") / "world", frozenset(PERMISSIONS), frozenset(Format)
    )
    yield world
    world.table.close()

"""Attack: reformat a block until it no longer says whose PIN it is, or give it another PAN.

Every format to every format, with the same PAN and another, under every permission that a
grant can give. What succeeds is exactly what PCI PIN requirement 3-3 leaves, and a refusal
has not touched the HSM.
"""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from pinvault.model.errors import Reason, Refusal
from pinvault.model.pins import Format
from pinvault.policy.translation import Permission
from tests.unit.operations.support import (
    EVERYTHING,
    OTHER_PAN,
    PAN,
    World,
    call,
    envelope,
    to_block,
)

GRANTABLE = (Permission.ISO_1_TO_PAN, Permission.AES_TO_TDES)
PERMITTED = [
    frozenset(chosen) for size in range(3) for chosen in itertools.combinations(GRANTABLE, size)
]
BOUND = {Format.ISO_0, Format.ISO_3, Format.ISO_4}
KEY = {Format.ISO_4: "zpk-aes"}


def verdict(
    source: Format, target: Format, *, same_pan: bool, permitted: frozenset[Permission]
) -> Reason | None:
    """Say what must happen, in words of the requirement and not of the code."""
    if source in BOUND and target in BOUND and not same_pan:
        return Reason.PAN_MISMATCH
    if source in BOUND and target is Format.ISO_1:
        return Reason.TRANSLATION_FORBIDDEN
    if source is Format.ISO_1 and target in BOUND and Permission.ISO_1_TO_PAN not in permitted:
        return Reason.TRANSLATION_NOT_GRANTED
    steps_down = source is Format.ISO_4 and target in {Format.ISO_0, Format.ISO_3}
    if steps_down and Permission.AES_TO_TDES not in permitted:
        return Reason.TRANSLATION_NOT_GRANTED
    return None


@pytest.mark.parametrize(
    "permitted", PERMITTED, ids=lambda permitted: "+".join(sorted(permitted)) or "nothing"
)
def test_exactly_the_table_succeeds(tmp_path: Path, permitted: frozenset[Permission]) -> None:
    world = World(tmp_path, rows=tuple(replace(row, translations=permitted) for row in EVERYTHING))
    for source, target, same_pan in itertools.product(Format, Format, (True, False)):
        expected = verdict(source, target, same_pan=same_pan, permitted=permitted)
        given = world.block(source, under=f"{KEY[source]}/1" if source in KEY else "zpk/3")
        wanted = to_block(KEY.get(target, "zpk"), target, pan=PAN if same_pan else OTHER_PAN)
        world.device.calls.clear()
        if expected is None:
            done = world.encrypt_pin(call(), source=given, target=wanted)
            assert isinstance(done.result, bytes)
            under = f"{KEY[target]}/1" if target in KEY else "zpk/3"
            assert world.pin_in(done.result, wanted, under) == "7392"
            continue
        with pytest.raises(Refusal) as refused:
            world.encrypt_pin(call(), source=given, target=wanted)
        assert refused.value.reason is expected, (source, target, same_pan)
        assert not world.device.calls, "the HSM was not touched"


def test_a_sealed_pin_that_is_bound_stays_bound(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(Refusal) as refused:
        world.encrypt_pin(call(), source=envelope(), target=to_block("zpk", Format.ISO_1))
    assert refused.value.reason is Reason.TRANSLATION_FORBIDDEN
    assert not world.device.calls
    free = envelope(profile="sealed-free", pan=None)
    assert world.encrypt_pin(call(), source=free, target=to_block("zpk", Format.ISO_1)).result


def test_a_code_book_cannot_be_built_by_way_of_format_1(tmp_path: Path) -> None:
    """Once a block is format 1, one book reads all cards (Berkman and Ostrovsky, 2007)."""
    world = World(tmp_path)
    for form in BOUND:
        given = world.block(form, under=f"{KEY[form]}/1" if form in KEY else "zpk/3")
        with pytest.raises(Refusal) as refused:
            world.encrypt_pin(call(), source=given, target=to_block("zpk", Format.ISO_1))
        assert refused.value.reason is Reason.TRANSLATION_FORBIDDEN

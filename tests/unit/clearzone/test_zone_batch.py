"""A column of PIN blocks at the zone's door: accounts, fill, and what is shown."""

from collections import Counter
from dataclasses import fields

import pytest

from pinvault.clearzone.batch.columns import Grid
from pinvault.clearzone.batch.fields import PinFields
from pinvault.clearzone.batch.fill import draw_letters
from pinvault.clearzone.batch.pans import PanColumn
from pinvault.clearzone.batch.translate import Translated, _Side
from pinvault.clearzone.parcels import BlockToMake, SealedBlock
from pinvault.clearzone.zone import Terms
from pinvault.model.batch import ItemStatus
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from tests.support import blocks
from tests.support.batch import packed
from tests.unit.clearzone.support import PAN, ZPK, ZPK_AES, World

ONCE = [ItemStatus.DONE, ItemStatus.ACCOUNT_REPEATED]
EACH_TIME = [ItemStatus.DONE, ItemStatus.DONE]


def zone_key(form: Format) -> Key:
    return ZPK_AES if form is Format.ISO_4 else ZPK


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (Format.ISO_4, Format.ISO_4, EACH_TIME),
        (Format.ISO_4, Format.ISO_0, ONCE),
        (Format.ISO_0, Format.ISO_4, ONCE),
        (Format.ISO_3, Format.ISO_0, ONCE),
    ],
)
def test_an_account_comes_once_where_either_format_tells_of_it(
    world: World, source: Format, target: Format, expected: list[ItemStatus]
) -> None:
    opener = zone_key(source)
    how = {"under": opener, "form": source, "pan": Pan(PAN)}
    made = world.zone.translate_batch(
        b"".join(blocks.encipher(world.device, pin, **how) for pin in ("7392", "8264")),
        packed(PAN) * 2,
        SealedBlock(key=opener, format=source, pan=None, ciphertext=b""),
        BlockToMake(key=zone_key(target), format=target, pan=None),
        Terms(deadline=Deadline.after(60)),
    )
    assert list(made.statuses) == expected


def test_every_pair_of_letters_comes_of_seven_bytes_and_four_bytes_give_none() -> None:
    every = bytes(range(252, 256)) + bytes(range(252))
    letters = draw_letters(252, random=lambda _: every)
    pairs = {first << 4 | second for first in range(10, 16) for second in range(10, 16)}
    assert Counter(letters) == dict.fromkeys(pairs, 7)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (Grid, {"items"}),
        (PanColumn, {"statuses"}),
        (PinFields, set()),
        (_Side, {"grid", "block_format", "cipher"}),
        (Translated, {"statuses"}),
    ],
)
def test_no_column_is_shown(kind: type, shown: set[str]) -> None:
    assert {each.name for each in fields(kind) if each.repr} == shown

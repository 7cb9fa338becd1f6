"""Attack: send blocks under a wrong key, or random ones, until chance makes one well-formed.

How often that is, follows from the format. Measured through the whole service it is what was
computed, and what a grant's PIN length takes off it. Keys and blocks come of a seed, so that
these tests say the same at every run; their bounds would fail once in 10^6 seeds.
"""

import math
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from pinvault.model.pins import Format
from pinvault.model.profiles import PinLength
from pinvault.policy.translation import Permission
from tests.support.attack import (
    UNDER,
    Attacker,
    attacker,
    batch,
    encrypt,
    matches,
    pb,
    seen,
    to,
    verify,
)
from tests.support.core import Setting, draw_keys

DONE = pb.TRANSLATE_PIN_BATCH_STATUS_DONE
FILL = {Format.ISO_0: 1, Format.ISO_1: 16, Format.ISO_3: 6, Format.ISO_4: 1}
FOUR = PinLength(minimum=4, maximum=4)
BATCH = 6_000
FREELY = Setting(translations=frozenset({Permission.ISO_1_TO_PAN, Permission.AES_TO_TDES}))


def chance(form: Format, lengths: range = range(4, 13)) -> Fraction:
    """Give the share of random blocks that are well-formed: control, length, digits, fill."""
    return sum(
        (
            Fraction(1, 256)
            * Fraction(10, 16) ** length
            * Fraction(FILL[form], 16) ** (14 - length)
            for length in lengths
        ),
        Fraction(0),
    )


def seeded(name: str) -> random.Random:
    return random.Random(f"wrong keys {name}")


def someone_with(tmp_path: Path, name: str, setting: Setting = FREELY) -> Attacker:
    return attacker(tmp_path, setting, zone_keys=draw_keys(seeded(f"of {name}").randbytes))


def accepted(someone: Attacker, form: Format, rng: random.Random) -> int:
    """Count the items that a batch of random blocks has done."""
    width = form.block_bytes
    pans = [] if form is Format.ISO_1 else [f"4{n:05}{n:08}01" for n in range(BATCH)]
    request = batch([rng.randbytes(width) for _ in range(BATCH)], pans, form=form)
    if form is Format.ISO_4:
        request.source.key = request.target.key = "zpk-aes"
    told = someone.ask("TranslatePinBatch", request)
    assert told.reason == "OK"
    return pb.TranslatePinBatchResponse.FromString(told.answer).statuses.count(DONE)


def within(count: int, share: Fraction, of: int) -> bool:
    """Whether chance leaves the middle 999,999 of 10^6 outcomes, by the binomial law."""
    p = float(share)

    def below(k: int) -> float:
        logs = (
            math.lgamma(of + 1) - math.lgamma(i + 1) - math.lgamma(of - i + 1)
            + i * math.log(p) + (of - i) * math.log1p(-p)
            for i in range(k + 1)
        )  # fmt: skip
        return sum(map(math.exp, logs))

    return below(count) > 5e-7 and (count == 0 or 1 - below(count - 1) > 5e-7)


def test_the_computed_shares() -> None:
    assert {form: round(1 / chance(form)) for form in FILL} == {
        Format.ISO_0: 16_602_070,
        Format.ISO_1: 638,
        Format.ISO_3: 207_050,
        Format.ISO_4: 16_602_070,
    }
    four = {form: round(1 / chance(form, range(4, 5))) for form in FILL}
    assert four[Format.ISO_1] == 1_678
    assert all(four[form] > 1 / chance(form) for form in FILL)


@pytest.mark.parametrize("form", FILL)
def test_random_blocks_pass_as_often_as_computed(tmp_path: Path, form: Format) -> None:
    someone, rng = someone_with(tmp_path, form), seeded(form)
    count = sum(accepted(someone, form, rng) for _ in range(3))
    assert within(count, chance(form), 3 * BATCH)
    assert (count > 0) is (form is Format.ISO_1)


def test_a_pin_length_takes_off_what_was_computed(tmp_path: Path) -> None:
    someone = someone_with(tmp_path, "four", replace(FREELY, pin_length=FOUR))
    rng = seeded("four")
    count = sum(accepted(someone, Format.ISO_1, rng) for _ in range(5))
    assert within(count, chance(Format.ISO_1, range(4, 5)), 5 * BATCH)
    assert not within(count, chance(Format.ISO_1), 5 * BATCH), "it is less than without"


@pytest.mark.parametrize(("setting", "share"), [
    (FREELY, Fraction(10, 16) ** 4),
    (replace(FREELY, pin_length=PinLength(minimum=5)), Fraction(0)),
])  # fmt: skip
def test_one_at_a_time_it_is_the_same(tmp_path: Path, setting: Setting, share: Fraction) -> None:
    """By EncryptPin and VerifyPin, with the legacy format that hardly notices a wrong key."""
    someone, rng = someone_with(tmp_path, "ECI-2", setting), seeded("ECI-2")
    known = someone.block("7392", under="zpk")
    opened = found = 0
    for _ in range(400):
        block = seen(rng.randbytes(8), form=Format.ECI_2, under=UNDER[Format.ECI_2])
        opened += someone.ask("EncryptPin", encrypt(block, to())).reason == "OK"
        told = someone.ask("VerifyPin", verify(block, known))
        found += told.reason == "OK" and matches(told)
    if share == 0:
        assert (opened, found) == (0, 0)
    else:
        assert within(opened, share, 400)
        assert within(found, share / 10_000, 400)


@pytest.mark.parametrize("form", [Format.ISO_0, Format.ISO_3, Format.ISO_4])
def test_what_another_key_made_does_not_open(tmp_path: Path, form: Format) -> None:
    """Well-formed blocks of another zone are as random ones."""
    someone = someone_with(tmp_path, f"zone {form}")
    (tmp_path / "other").mkdir()
    other = someone_with(tmp_path / "other", f"other zone {form}")
    rng, under = seeded(f"zone {form}"), UNDER[form]
    other.terminal.draw = rng.randbytes
    told = set()
    for _ in range(100):
        pin = "".join(rng.choices("0123456789", k=rng.randint(4, 12)))
        block = other.block(pin, form=form, under=under)
        told.add(someone.ask("EncryptPin", encrypt(block, to(form=form, under=under))).face)
    assert len(told) == 1
    assert "PIN_SOURCE_REFUSED" in repr(told)

"""Attack: present a block under changed PANs and learn its PIN from what comes back (Clulow, 2003).

A PAN digit that overlays a PIN digit changes it; where it stays decimal, the block still opens.
Whoever is told more than yes or no, or may ask without end, narrows the PIN. Here a refusal is
always the same, an answer counts against the card's rate, and nobody presents two PANs.
"""

import random
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from pinvault.clearzone.batch.pans import admit
from pinvault.clearzone.iso9564 import format0
from pinvault.clearzone.iso9564.fields import pan_field, xor
from pinvault.clearzone.pin import Pin
from pinvault.model.batch import ItemStatus
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.policy.limits import parse_rate
from tests.support.attack import (
    PAN,
    UNDER,
    Attacker,
    Told,
    attacker,
    batch,
    change,
    encrypt,
    pb,
    pvv,
    seen,
    to,
    translate,
    verify,
)
from tests.support.batch import packed
from tests.support.core import Setting

BOUND = (Format.ISO_0, Format.ISO_3, Format.ISO_4)
LIMIT = 10
REFUSED = pb.TRANSLATE_PIN_BATCH_STATUS_REFUSED
REPEATED = pb.TRANSLATE_PIN_BATCH_STATUS_ACCOUNT_REPEATED


def overlaid(first: int, second: int, pan: str = PAN) -> str:
    """Give the PAN with other digits where it overlays the third and fourth PIN digit."""
    return f"{pan[:3]}{first}{second}{pan[5:]}"


OVERLAYS = [overlaid(*digits) for digits in product(range(10), repeat=2)]

Naive = Callable[[str], str]


def naive(block: bytes) -> Naive:
    """Stand in for a service that tells bad digits from a bad PAN, as often as it is asked."""

    def asks(pan: str) -> str:
        nibbles = xor(block, pan_field(Pan(pan))).hex()
        if nibbles[6:] != "f" * 10:
            return "wrong PAN"
        return "done" if nibbles[2:6].isdigit() else "bad digits"

    return asks


def left_after(told: dict[str, str]) -> int:
    """Count the PINs of four digits that would have been told the same of."""
    return (
        sum(
            all(naive(block)(pan) == answer for pan, answer in told.items())
            for block in (format0.encode(Pin(b"00%02d" % n), Pan(PAN)) for n in range(100))
        )
        * 100
    )  # nothing tells of the first two digits


def test_the_attack_is_real_against_a_service_that_counts_nothing() -> None:
    """Of 10,000 PINs 400 to 3,600 are left, as the third and fourth digit fall."""
    for pin, left in ((b"1234", 3600), (b"7392", 1200), (b"0088", 400)):
        asks = naive(format0.encode(Pin(pin), Pan(PAN)))
        assert left_after({pan: asks(pan) for pan in OVERLAYS}) == left
        assert asks(PAN[:14] + "9" + PAN[15]) == "wrong PAN"


def a_pin(rng: random.Random) -> str:
    return "".join(rng.choices("0123456789", k=rng.choice((4, 4, 6, 12))))


def a_pan(rng: random.Random) -> str:
    """Give another PAN: a random one, or one in which a few digits are others."""
    digits = list(PAN)
    for at in rng.sample(range(16), rng.choice((1, 2, 4, 16))):
        digits[at] = rng.choice("0123456789")
    return "".join(digits)


def asking(verb: str) -> Callable[[Attacker, str, str, str, Format], Told]:
    """Give how a block of one PAN is presented for another."""

    def ask(someone: Attacker, pin: str, pan: str, other: str, form: Format) -> Told:
        under = UNDER[form]
        made = someone.block(pin, pan=pan, form=form, under=under)
        given = seen(made.ciphertext, pan=other, form=form, under=under)
        match verb:
            case "TranslatePin":
                return someone.ask(verb, translate(given, to(other, form=form, under=under)))
            case "EncryptPin":
                return someone.ask(verb, encrypt(given, to(other, form=form, under=under)))
            case "VerifyPin":
                return someone.ask(verb, verify(given, pvv("0000"), other))
            case _:
                return someone.ask(verb, change(given, given, pvv("0000"), other))

    return ask


@pytest.mark.parametrize("form", BOUND)
@pytest.mark.parametrize(
    "verb", ["TranslatePin", "EncryptPin", "VerifyPin", "ChangeVerificationValue"]
)
def test_a_refusal_is_the_same_whatever_pin_and_pans_are(
    tmp_path: Path, verb: str, form: Format
) -> None:
    """Code, reason, text, details, trailers, lengths, and what the HSM was asked: one of each."""
    someone, rng, ask = attacker(tmp_path), random.Random(f"{verb}{form}"), asking(verb)
    told = [ask(someone, a_pin(rng), PAN, a_pan(rng), form) for _ in range(200)]
    refused = [each for each in told if each.reason != "OK"]
    assert len(refused) > 60
    assert len({each.face for each in refused}) == 1
    assert {each.reason for each in refused} == {"PIN_SOURCE_REFUSED"}
    assert {each.hsm for each in refused} == {(("decipher", 2 if form is Format.ISO_4 else 1),)}


@pytest.mark.parametrize("at", range(16))
def test_two_pans_in_one_call_are_refused_before_the_hsm(tmp_path: Path, at: int) -> None:
    """Wherever they differ: a block would not notice all of it."""
    someone = attacker(tmp_path)
    other = PAN[:at] + str((int(PAN[at]) + 1) % 10) + PAN[at + 1 :]
    for form in BOUND:
        under = UNDER[form]
        given = someone.block("7392", form=form, under=under)
        target = to(other, form=form, under=under)
        for verb, request in (
            ("TranslatePin", translate(given, target)),
            ("EncryptPin", encrypt(given, target)),
            ("EncryptPin", encrypt(someone.sealed("7392"), target)),
            ("VerifyPin", verify(given, pvv("0000"), other)),
            ("VerifyPin", verify(given, seen(given.ciphertext, pan=other, form=form, under=under))),
            ("ChangeVerificationValue", change(given, given, pvv("0000"), other)),
            ("ChangeVerificationValue", change(given, given, (given, target))),
        ):
            told = someone.ask(verb, request)
            assert (told.reason, told.hsm) == ("PAN_MISMATCH", ()), verb


def test_answers_end_at_the_rate_of_the_card(tmp_path: Path) -> None:
    """All PANs that overlay the PIN otherwise draw on one account: ten answers, whichever."""
    someone = attacker(tmp_path, Setting(per_pan=parse_rate(f"{LIMIT}/h")))
    stolen = someone.block("7392").ciphertext
    pans = random.Random(3).sample(OVERLAYS, len(OVERLAYS))
    told = [someone.ask("TranslatePin", translate(seen(stolen, pan=pan), to(pan))) for pan in pans]
    assert all(each.reason in {"OK", "PIN_SOURCE_REFUSED"} for each in told[:LIMIT])
    assert {(each.reason, each.hsm) for each in told[LIMIT:]} == {("PAN_RATE_EXCEEDED", ())}


def test_no_number_of_answers_tells_more_than_pairs() -> None:
    """What a yes or no can tell at all: a digit and the one it makes a pair with say the same."""

    def accepted(third: int, fourth: int) -> frozenset[str]:
        asks = naive(format0.encode(Pin(b"12%d%d" % (third, fourth)), Pan(PAN)))
        return frozenset(pan for pan in OVERLAYS if asks(pan) == "done")

    for third, fourth in product(range(10), repeat=2):
        assert accepted(third, fourth) == accepted(third ^ 1, fourth) == accepted(third, fourth ^ 1)


# In a batch


def statuses(told: Told) -> bytes:
    return pb.TranslatePinBatchResponse.FromString(told.answer).statuses


def test_an_account_is_opened_once_in_a_batch(tmp_path: Path) -> None:
    someone = attacker(tmp_path)
    stolen = someone.block("7392").ciphertext
    aliases = [*OVERLAYS, *(f"{prefix}{PAN[1:]}" for prefix in "5678"), PAN[:15] + "7", PAN]
    told = statuses(someone.ask("TranslatePinBatch", batch([stolen] * len(aliases), aliases)))
    assert told[0] in (pb.TRANSLATE_PIN_BATCH_STATUS_DONE, REFUSED)
    assert set(told[1:]) == {REPEATED}


def test_a_batch_that_let_accounts_stand_twice_would_tell() -> None:
    """The naive batch, on the same code: what is let through is all of Clulow's answers."""
    rows = b"".join(map(packed, OVERLAYS))
    assert set(admit(rows, accounts_once=False).statuses) == {ItemStatus.DONE}
    once = admit(rows, accounts_once=True).statuses
    assert (once.count(ItemStatus.DONE), once.count(ItemStatus.ACCOUNT_REPEATED)) == (1, 99)


@pytest.mark.parametrize("form", [Format.ISO_0, Format.ISO_3])
def test_a_batch_tells_one_byte_an_item_and_nothing_by_its_work(
    tmp_path: Path, form: Format
) -> None:
    someone, told = attacker(tmp_path), []
    for seed in range(4):
        rng = random.Random(seed)
        pins = [a_pin(rng) for _ in range(500)]
        pans = [f"4{n:05}{rng.randrange(10**8):08}01" for n in range(500)]
        shown = [f"4{n:05}{pan[6:14]}01" for n, pan in enumerate(reversed(pans))]
        blocks = [
            someone.block(pin, pan=pan, form=form).ciphertext
            for pin, pan in zip(pins, pans, strict=True)
        ]
        told.append(someone.ask("TranslatePinBatch", batch(blocks, shown, form=form)))
    for each in told:
        found = statuses(each)
        assert found.count(REFUSED) > 450
        assert set(found) <= {REFUSED, pb.TRANSLATE_PIN_BATCH_STATUS_DONE}
    assert {each.hsm[:2] for each in told} == {(("decipher", 1), ("encipher", 1))}
    assert len({each.face for each in told}) == 1

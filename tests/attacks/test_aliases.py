"""Attack: present one card's block or PIN as another account's, so that no rate ever fills.

The rate of a card is kept by the last eight digits before the check digit. Where a block, a
natural PIN or a format does not depend on all of them, one secret can be asked about under as
many accounts as there are spellings, each with tries of its own.
"""

import itertools
import random
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from pinvault.clearzone.iso9564 import format3
from pinvault.clearzone.legacy import eci2, visa4
from pinvault.clearzone.pin import Pin
from pinvault.client.sealing import seal
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import PinLength, SealedJweProfile
from pinvault.model.verification import Ibm3624Scheme, ValidationLayout
from pinvault.policy.limits import parse_rate
from pinvault.policy.translation import Permission
from pinvault.v1 import resources_pb2 as rs
from tests.support.attack import (
    OTHER_PAN,
    PAN,
    Attacker,
    attacker,
    batch,
    encrypt,
    envelope,
    generate_value,
    matches,
    offset,
    pb,
    seen,
    to,
    translate,
    verify,
)
from tests.support.core import Setting

LIMIT = 10
LIMITED = Setting(per_pan=parse_rate(f"{LIMIT}/h"))
TO_ANY_PAN = replace(LIMITED, translations=frozenset({Permission.ISO_1_TO_PAN}))
N_LAYOUT = Ibm3624Scheme(
    name="five-digits",
    key="offset",
    decimalisation_table="0123456789012345",
    validation=ValidationLayout(template="9230000N0431"),
    check_length=4,
    pin_length=4,
)


def flipped(pan: str) -> Iterable[str]:
    """Give the PANs under which every format 3 block of a PIN of four digits opens as well.

    Fill A to F stays fill when its last bit is flipped, and so does a digit stay a digit.
    """
    for bits in itertools.product((0, 1), repeat=8):
        tail = "".join(str(int(digit) ^ bit) for digit, bit in zip(pan[7:15], bits, strict=True))
        yield f"{pan[:7]}{tail}{pan[15]}"


ALIASES = list(itertools.islice(flipped(PAN), 32))


def answered(someone: Attacker, block: rs.PinBlockSource, form: Format, pans: Iterable[str]) -> int:
    """Count the guesses at the block's PIN that are answered when each is made for another PAN."""
    count = 0
    for number, pan in enumerate(pans):
        stolen = seen(block.ciphertext, pan=pan, form=form, under=block.key)
        guess = someone.sealed(f"{number:04}", pan)
        count += someone.ask("VerifyPin", verify(guess, stolen, pan)).reason == "OK"
    return count


def test_every_format_3_block_opens_under_other_accounts() -> None:
    """This is the standard's, and no codec can help it: only what counts tries can."""
    rng = random.Random(3)
    for _ in range(50):
        fill = "".join(rng.choices("abcdef", k=10)).encode()
        clear = format3.encode(Pin(b"7392"), Pan(PAN), fill)
        for pan in rng.sample(list(flipped(PAN)), 8):
            format3.decode(clear, Pan(pan))


def test_a_format_3_block_has_one_rate(tmp_path: Path) -> None:
    someone = attacker(tmp_path, LIMITED)
    stolen = someone.block("7392", form=Format.ISO_3, under="zpk")
    assert answered(someone, stolen, Format.ISO_3, ALIASES) <= LIMIT


def test_a_format_3_block_is_translated_at_one_rate(tmp_path: Path) -> None:
    """Else each format 0 block that is made is looked up in a small book of its own account."""
    someone = attacker(tmp_path, LIMITED)
    stolen = someone.block("7392", form=Format.ISO_3).ciphertext
    told = [
        someone.ask("TranslatePin", translate(seen(stolen, pan=pan, form=Format.ISO_3), to(pan)))
        for pan in ALIASES
    ]
    assert sum(each.reason == "OK" for each in told) <= LIMIT


@pytest.mark.parametrize("form", [Format.ISO_0, Format.ISO_1, Format.ISO_3])
def test_one_block_stands_once_in_a_batch(tmp_path: Path, form: Format) -> None:
    someone = attacker(tmp_path, TO_ANY_PAN)
    stolen = someone.block("739148205617", form=form).ciphertext
    request = batch([stolen] * len(ALIASES), ALIASES, form=form, target=Format.ISO_4)
    request.target.key = "zpk-aes"
    told = someone.ask("TranslatePinBatch", request)
    statuses = pb.TranslatePinBatchResponse.FromString(told.answer).statuses
    assert statuses[0] == pb.TRANSLATE_PIN_BATCH_STATUS_DONE
    assert set(statuses[1:]) == {pb.TRANSLATE_PIN_BATCH_STATUS_ACCOUNT_REPEATED}


def test_a_short_pin_tells_its_account_itself(tmp_path: Path) -> None:
    """Where a grant takes no PIN of more than six digits, format 0 needs no such rule."""
    someone = attacker(tmp_path, Setting(pin_length=PinLength(minimum=4, maximum=6)))
    stolen = someone.block("739148").ciphertext
    told = someone.ask("TranslatePinBatch", batch([stolen] * len(ALIASES), ALIASES))
    statuses = pb.TranslatePinBatchResponse.FromString(told.answer).statuses
    assert statuses[0] == pb.TRANSLATE_PIN_BATCH_STATUS_DONE
    assert set(statuses[1:]) == {pb.TRANSLATE_PIN_BATCH_STATUS_REFUSED}


def test_a_long_pin_has_one_rate(tmp_path: Path) -> None:
    """PIN digits 7 to 12 are overlaid by digits that the account is told by."""
    someone = attacker(tmp_path, LIMITED)
    stolen = someone.block("739148205617").ciphertext
    pans = [f"{PAN[:at]}{digit}{PAN[at + 1 :]}" for at in range(7, 13) for digit in range(10)]
    told = [someone.ask("TranslatePin", translate(seen(stolen, pan=pan), to(pan))) for pan in pans]
    counted = {"OK", "PIN_SOURCE_REFUSED"}
    assert sum(each.reason in counted for each in told) <= LIMIT


@pytest.mark.parametrize("form", [Format.VISA_4, Format.PLUS])
def test_a_block_of_the_left_end_has_one_rate(tmp_path: Path, form: Format) -> None:
    """VISA-4 does not depend on the last digits of a PAN, of which the account has three."""
    someone = attacker(tmp_path, replace(LIMITED, legacy_formats={"zpk": form}))
    clear = visa4.encode(Pin(b"7392"), Pan(PAN))
    stolen = seen(someone.raw(clear, under="zpk"), form=form, under="zpk")
    pans = [f"{PAN[:12]}{number:03}{PAN[15]}" for number in range(32)]
    assert answered(someone, stolen, form, pans) <= LIMIT


@pytest.mark.parametrize("form", [Format.VISA_4, Format.PLUS])
def test_a_format_0_block_is_not_one_of_the_left_end(tmp_path: Path, form: Format) -> None:
    """A PAN that begins with the account is VISA-4's spelling of it, with digits to spare."""
    someone = attacker(tmp_path, replace(LIMITED, legacy_formats={"zpk": form}))
    block = someone.block("7392", under="zpk")
    pans = [f"{Pan(PAN).account()}{number:06}0" for number in range(32)]
    assert answered(someone, block, form, pans) <= LIMIT


@pytest.mark.parametrize("form", [Format.ISO_0, Format.ISO_1, Format.ISO_3])
def test_a_block_is_of_one_format(tmp_path: Path, form: Format) -> None:
    """Read as ECI-2 it is four digits: control, length, and the first two of the PIN."""
    someone = attacker(tmp_path)
    stolen = seen(
        someone.block("7392", form=form, under="zpk").ciphertext, form=Format.ECI_2, under="zpk"
    )
    told = someone.ask("EncryptPin", encrypt(stolen, to()))
    assert told.reason == "FORMAT_KEY_MISMATCH"


def test_a_key_of_a_legacy_format_opens_no_other(tmp_path: Path) -> None:
    someone = attacker(tmp_path, Setting(legacy_formats={"zpk": Format.ECI_2}))
    told = someone.ask("EncryptPin", encrypt(someone.block("7392", under="zpk"), to()))
    assert told.reason == "FORMAT_KEY_MISMATCH"


@pytest.mark.parametrize("form", [Format.ISO_1, Format.ECI_2])
def test_a_block_without_a_pan_has_one_rate(tmp_path: Path, form: Format) -> None:
    """Leave to give a PIN any PAN is not leave to ask about it without end."""
    kept = {"zpk": form} if form.is_legacy else {}
    someone = attacker(tmp_path, replace(TO_ANY_PAN, legacy_formats=kept))
    stolen = someone.block("7392", form=Format.ISO_1, under="zpk")
    if form is Format.ECI_2:
        clear = eci2.encode(Pin(b"7392"), bytes(6))
        stolen = seen(someone.raw(clear, under="zpk"), form=form, under="zpk")
    pans = [f"40000012{number:07}3" for number in range(32)]
    assert answered(someone, stolen, form, pans) <= LIMIT


def test_a_natural_pin_has_one_rate(tmp_path: Path) -> None:
    """A layout that takes five digits of the account gives 1,000 accounts one natural PIN."""
    someone = attacker(tmp_path, replace(LIMITED, verification=(N_LAYOUT,)))
    reasons = []
    for number in range(32):
        pan = f"{PAN[:7]}{number:03}{PAN[10:]}"
        guess = verify(someone.sealed(f"{number:04}", pan), offset("0000", N_LAYOUT.name), pan)
        reasons.append(someone.ask("VerifyPin", guess).reason)
    assert reasons.count("OK") <= LIMIT


def test_cards_with_natural_pins_of_their_own_have_rates_of_their_own(tmp_path: Path) -> None:
    """By a layout that takes the whole account, the same PANs are as many cards."""
    someone = attacker(tmp_path, LIMITED)
    for number in range(32):
        pan = f"{PAN[:7]}{number:03}{PAN[10:]}"
        guess = verify(someone.sealed("0000", pan), offset("0000"), pan)
        assert someone.ask("VerifyPin", guess).reason == "OK"


def test_what_was_sealed_for_a_pan_cannot_be_opened_as_if_it_were_not(tmp_path: Path) -> None:
    """A profile beside it, of the same key, does not bind: named, it takes the PAN away."""
    free = SealedJweProfile(name="sealed-free", key="pin-seal", bind_pan=False)
    someone = attacker(tmp_path, replace(TO_ANY_PAN, profiles=(free,)))
    broken = envelope(b"x" * 700, "sealed-free", None)
    faces = {someone.ask("EncryptPin", encrypt(broken, to(form=Format.ISO_1))).face}
    for pan in (PAN, OTHER_PAN, None):
        stolen = someone.sealed("7392", PAN)
        lied = envelope(stolen.envelope.ciphertext, "sealed-free", pan)
        faces.add(someone.ask("EncryptPin", encrypt(lied, to(form=Format.ISO_1))).face)
    assert len(faces) == 1
    assert "PIN_SOURCE_REFUSED" in repr(faces)
    expires = int(time.time()) + 60
    unbound = seal("7392", key=someone.core.sealing_key, pan=None, expires=expires)
    told = someone.ask("EncryptPin", encrypt(envelope(unbound, "sealed-free", None), to()))
    assert told.reason == "OK"


def test_the_offset_of_a_chosen_pin_does_not_tell_the_natural_pin(tmp_path: Path) -> None:
    """Seal 0000, ask for its offset, take it from ten: with the card's own offset, its PIN."""
    someone = attacker(tmp_path, LIMITED)
    told = someone.ask("GenerateVerificationValue", generate_value(someone.sealed("0000"), "ibm"))
    assert (told.reason, told.hsm) == ("TRANSLATION_NOT_GRANTED", ())
    told = someone.ask("GenerateVerificationValue", generate_value(someone.sealed("0000"), "visa"))
    assert told.reason == "OK", "a PVV tells of no natural PIN"


def test_with_leave_the_offset_of_a_chosen_pin_does(tmp_path: Path) -> None:
    """The attack is real, and so the leave is one of its own."""
    leave = frozenset({Permission.CHOSEN_PIN_TO_OFFSET})
    someone = attacker(tmp_path, replace(LIMITED, translations=leave))
    told = someone.ask("GenerateVerificationValue", generate_value(someone.sealed("0000"), "ibm"))
    value = pb.GenerateVerificationValueResponse.FromString(told.answer).verification_value
    natural = "".join(str(-int(digit) % 10) for digit in value.ibm_3624_offset.offset)
    right = verify(someone.sealed(natural), offset("0000"))
    assert matches(someone.ask("VerifyPin", right))


def test_a_block_that_was_made_anew_has_no_rate_of_its_own(tmp_path: Path) -> None:
    """Under a key of both directions, fresh fill would give one PIN block after the other."""
    someone = attacker(tmp_path, LIMITED)
    stolen = someone.block("7392", form=Format.ISO_3, under="zpk")
    anew = someone.ask("TranslatePin", translate(stolen, to(PAN, form=Format.ISO_3, under="zpk")))
    made = pb.TranslatePinResponse.FromString(anew.answer).pin_block
    copy = seen(made, form=Format.ISO_3, under="zpk")
    assert answered(someone, copy, Format.ISO_3, ALIASES) <= LIMIT
    assert answered(someone, copy, Format.ISO_3, [PAN]) + 1 <= LIMIT


def test_a_format_1_block_that_was_made_anew_is_bound_to_nobody(tmp_path: Path) -> None:
    """Else each fresh copy would be asked about for an account of its own."""
    someone = attacker(tmp_path, TO_ANY_PAN)
    stolen = someone.block("7392", form=Format.ISO_1, under="zpk")
    anew = someone.ask("TranslatePin", translate(stolen, to(form=Format.ISO_1, under="zpk")))
    made = pb.TranslatePinResponse.FromString(anew.answer).pin_block
    copy = seen(made, form=Format.ISO_1, under="zpk")
    assert anew.reason == "OK"
    assert answered(someone, copy, Format.ISO_1, ALIASES) == 0

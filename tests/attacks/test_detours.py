"""Attack: have the service make a block under a key that it opens blocks with as well.

What comes back is a new spelling of an old secret: of another format, without the PAN that it was
shown for, or as if nobody had sealed it. No detour may tell more than the straight way.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.message import Message

from pinvault.model.pins import Format
from pinvault.v1 import resources_pb2 as rs
from tests.attacks.test_aliases import ALIASES, LIMIT, LIMITED, TO_ANY_PAN, answered
from tests.support.attack import (
    PAN,
    Attacker,
    Ksn,
    attacker,
    batch,
    change,
    dukpt_of,
    encrypt,
    generate_value,
    pb,
    seen,
    to,
    translate,
)
from tests.support.core import draw_keys
from tests.support.software_device import key


def target() -> rs.PinTarget:
    return rs.PinTarget(pin_block=to(form=Format.ISO_3, under="zpk"))


MAKES: dict[str, Callable[[Attacker], tuple[str, Message]]] = {
    "encrypted": lambda who: (
        "EncryptPin",
        pb.EncryptPinRequest(source=who.sealed("7392"), target=target()),
    ),
    "translated": lambda who: (
        "TranslatePin",
        translate(who.block("7392"), target().pin_block),
    ),
    "generated": lambda _: (
        "GeneratePin",
        pb.GeneratePinRequest(pan=PAN, random=pb.RandomPin(length=4), target=target()),
    ),
    "changed": lambda who: (
        "ChangeVerificationValue",
        change(who.block("7392"), who.sealed("4831"), (who.block("7392"), target().pin_block)),
    ),
}
RESPONSES = {
    "EncryptPin": pb.EncryptPinResponse,
    "TranslatePin": pb.TranslatePinResponse,
    "GeneratePin": pb.GeneratePinResponse,
    "ChangeVerificationValue": pb.ChangeVerificationValueResponse,
}


@pytest.mark.parametrize("way", MAKES)
@pytest.mark.parametrize("under", ["zpk", "zpk-copy"])
def test_a_block_that_is_made_for_a_pan_stays_that_pans(
    tmp_path: Path, way: str, under: str
) -> None:
    """By whatever verb; also under another name of the key that made it."""
    keys = draw_keys(random.Random("detours").randbytes)
    copy = key("zpk-copy", "P0", "TDES_2KEY", "D"), keys["zpk"]
    someone = attacker(tmp_path, replace(LIMITED, keys=(copy,)), zone_keys=keys)
    verb, request = MAKES[way](someone)
    made = RESPONSES[verb].FromString(someone.ask(verb, request).answer).pin_block
    for pan in ALIASES[1:]:
        lied = seen(made, pan=pan, form=Format.ISO_3, under=under)
        told = someone.ask("TranslatePin", translate(lied, to(pan)))
        assert (told.reason, told.hsm) == ("PAN_RATE_EXCEEDED", ())
    mine = seen(made, form=Format.ISO_3, under=under)
    assert someone.ask("TranslatePin", translate(mine)).reason == "OK"


def guessed(someone: Attacker, copies: Iterable[bytes], form: Format, pans: Iterable[str]) -> int:
    """Count the guesses that are answered at copies of one PIN, each shown for another account."""
    return sum(
        answered(someone, seen(copy, form=form, under="zpk"), form, [pan] * 2 * LIMIT)
        for copy, pan in zip(copies, pans, strict=False)
    )


def test_what_is_made_into_a_key_kept_for_a_legacy_format_is_not_read_as_it(
    tmp_path: Path,
) -> None:
    """Translate a block of another zone into the key, read it as ECI-2: two digits of its PIN."""
    someone = attacker(tmp_path, replace(LIMITED, legacy_formats={"zpk": Format.ECI_2}))
    stolen = someone.block("7392")
    told = someone.ask("TranslatePin", translate(stolen, to(under="zpk")))
    made = pb.TranslatePinResponse.FromString(told.answer).pin_block
    if told.reason == "OK":
        read = seen(made, form=Format.ECI_2, under="zpk")
        told = someone.ask("EncryptPin", encrypt(read, to()))
    assert told.reason == "FORMAT_KEY_MISMATCH"


def test_blocks_made_in_batches_have_no_rates_of_their_own(tmp_path: Path) -> None:
    """Each batch makes of every copy of the block another one, for another account."""
    someone = attacker(tmp_path, LIMITED)
    copies = [someone.block("7392", form=Format.ISO_3, under="zpk").ciphertext]
    for _ in range(3):
        request = batch(copies, ALIASES[: len(copies)], form=Format.ISO_3)
        request.source.key = request.target.key = "zpk"
        told = someone.ask("TranslatePinBatch", request)
        made = pb.TranslatePinBatchResponse.FromString(told.answer).pin_blocks
        copies += [made[at : at + 8] for at in range(0, len(made), 8) if any(made[at : at + 8])]
    assert guessed(someone, copies, Format.ISO_3, ALIASES) <= 2 * LIMIT


def test_blocks_made_without_a_pan_have_no_rates_of_their_own(tmp_path: Path) -> None:
    someone = attacker(tmp_path, TO_ANY_PAN)
    stolen = someone.block("7392", form=Format.ISO_1, under="zpk")
    anew = translate(stolen, to(form=Format.ISO_1, under="zpk"))
    told = [someone.ask("TranslatePin", anew).answer for _ in range(4)]
    copies = [pb.TranslatePinResponse.FromString(each).pin_block for each in told]
    assert guessed(someone, copies, Format.ISO_1, ALIASES) <= LIMIT


def test_blocks_made_under_dukpt_have_no_rates_of_their_own(tmp_path: Path) -> None:
    """Out under a serial number of the attacker's, and back into the zone for another account."""
    someone = attacker(tmp_path, LIMITED)
    stolen = someone.block("7392", form=Format.ISO_3, under="zpk")
    copies = []
    for number, pan in enumerate(ALIASES[1:5], start=1):
        ksn = Ksn(bytes.fromhex("1234567890123456") + number.to_bytes(4))
        out = to(form=Format.ISO_3, under="bdk")
        out.dukpt.CopyFrom(dukpt_of(ksn))
        told = someone.ask("TranslatePin", translate(stolen, out))
        made = pb.TranslatePinResponse.FromString(told.answer).pin_block
        lied = seen(made, pan=pan, form=Format.ISO_3, under="bdk", ksn=ksn)
        back = translate(lied, to(pan, form=Format.ISO_3, under="zpk"))
        told = someone.ask("TranslatePin", back)
        copies += [pb.TranslatePinResponse.FromString(told.answer).pin_block]
    assert guessed(someone, copies, Format.ISO_3, ALIASES[1:]) <= LIMIT


def test_a_chosen_pin_does_not_become_an_offset_by_way_of_a_block(tmp_path: Path) -> None:
    someone = attacker(tmp_path, LIMITED)
    told = someone.ask("EncryptPin", encrypt(someone.sealed("0000"), to(under="zpk")))
    made = pb.EncryptPinResponse.FromString(told.answer).pin_block
    told = someone.ask("GenerateVerificationValue", generate_value(seen(made, under="zpk"), "ibm"))
    assert told.reason == "TRANSLATION_NOT_GRANTED"

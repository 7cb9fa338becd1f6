"""Attack: encipher every PIN once and look ciphertexts up: a book of 10,000 entries reads cards.

What is enciphered for a partner, and every PIN block that can be, never looks the same twice.
Where the standard leaves a block no randomness, format 0, the rate of the card bounds the book.
"""

from dataclasses import replace
from typing import get_args

import pytest

from pinvault.config.profiles import OutgoingSection
from pinvault.model.pins import Format
from pinvault.v1 import resources_pb2 as rs
from tests.support.attack import (
    OTHER_PAN,
    PAN,
    Attacker,
    attacker,
    batch,
    encrypt,
    pb,
    source,
    to,
    translate,
)
from tests.support.core import Setting
from tests.unit.clearzone import other_ends as ends

PROFILES = {
    f"outgoing-{number}": replace(kind.profile, name=f"outgoing-{number}", key=key.name)
    for number, kind in enumerate(ends.OUTGOING.values())
    for key in (ends.PARTNER_EC if kind.profile.usage == "K3" else ends.PARTNER,)
}
NAMES = dict(zip(PROFILES, ends.OUTGOING, strict=True))
RANDOM = {Format.ISO_1: "zpk", Format.ISO_3: "zpk", Format.ISO_4: "zpk-aes"}
TIMES = 4


@pytest.fixture(scope="module")
def someone(tmp_path_factory: pytest.TempPathFactory) -> Attacker:
    keys = tuple(
        (each, ends.private_key(each.id).public_key()) for each in (ends.PARTNER, ends.PARTNER_EC)
    )
    setting = Setting(keys=keys, profiles=tuple(PROFILES.values()))
    return attacker(tmp_path_factory.mktemp("book"), setting)


def envelope_to(profile: str) -> rs.PinTarget:
    return rs.PinTarget(envelope=rs.EnvelopeTarget(profile=profile, pan=PAN))


def test_the_attack_is_real_against_raw_rsa() -> None:
    """One entry a PIN, whoever enciphered it and when."""
    numbers = ends.private_key(ends.PARTNER.id).public_key().public_numbers()
    book = {pow(int(f"{n:04}".encode().hex(), 16), numbers.e, numbers.n): n for n in range(300)}
    seen = pow(int(b"0173".hex(), 16), numbers.e, numbers.n)
    assert book[seen] == 173


@pytest.mark.parametrize("profile", PROFILES, ids=NAMES.get)
def test_no_partner_is_sent_one_text_twice(someone: Attacker, profile: str) -> None:
    given = source(someone.block("7392", under="zpk"))
    request = pb.EncryptPinRequest(source=given, target=envelope_to(profile))
    texts = set()
    for _ in range(TIMES):
        told = someone.ask("EncryptPin", request)
        assert told.reason == "OK"
        texts.add(pb.EncryptPinResponse.FromString(told.answer).envelope)
    assert len(texts) == TIMES


@pytest.mark.parametrize("profile", PROFILES, ids=NAMES.get)
def test_the_two_fields_of_a_change_differ_even_when_the_pins_do_not(
    someone: Attacker, profile: str
) -> None:
    """Else the partner's wire would tell that a cardholder kept the PIN."""
    given = source(someone.block("7392", under="zpk"))
    request = pb.EncryptPinChangeRequest(
        profile=profile, pan=PAN, new_source=given, old_source=given
    )
    told = someone.ask("EncryptPinChange", request)
    answer = pb.EncryptPinChangeResponse.FromString(told.answer)
    assert answer.pin_field != answer.old_pin_field


def test_every_kind_of_outgoing_profile_is_here() -> None:
    kinds = {kind.__name__ for kind in get_args(OutgoingSection)}
    assert {type(p).__name__.removesuffix("Profile") for p in PROFILES.values()} == kinds


@pytest.mark.parametrize(("form", "under"), RANDOM.items(), ids=RANDOM)
def test_blocks_with_random_fill_never_repeat(someone: Attacker, form: Format, under: str) -> None:
    """By each way to make one, PINs of four digits; one of twelve leaves format 3 two nibbles."""
    given = someone.block("7392", form=form, under=under)
    target = to(form=form, under=under)
    made = set()
    for verb, request in (("TranslatePin", translate(given, target)),) * 6 + (
        ("EncryptPin", encrypt(given, target)),
    ) * 6:
        told = someone.ask(verb, request)
        assert told.reason == "OK"
        made.add(pb.TranslatePinResponse.FromString(told.answer).pin_block)
    assert len(made) == 12
    assert given.ciphertext not in made


@pytest.mark.parametrize("form", [Format.ISO_1, Format.ISO_3])
def test_equal_items_of_a_batch_come_out_unlike(someone: Attacker, form: Format) -> None:
    pans = [f"40000012{number:07}3" for number in range(200)]
    blocks = [someone.block("7392", pan=pan, form=form).ciphertext for pan in pans]
    request = batch(blocks, [] if form is Format.ISO_1 else pans, form=form)
    told = someone.ask("TranslatePinBatch", request)
    packed = pb.TranslatePinBatchResponse.FromString(told.answer).pin_blocks
    assert len({packed[at : at + 8] for at in range(0, len(packed), 8)}) == 200


def test_format_0_is_the_one_that_repeats(someone: Attacker) -> None:
    """So a book can be made of it, card by card: `test_guessing` holds how fast."""
    given = someone.block("7392")
    first, second = (
        pb.TranslatePinResponse.FromString(
            someone.ask("TranslatePin", translate(given)).answer
        ).pin_block
        for _ in range(2)
    )
    assert first == second
    other = someone.ask(
        "TranslatePin", translate(someone.block("7392", pan=OTHER_PAN), to(OTHER_PAN))
    )
    assert pb.TranslatePinResponse.FromString(other.answer).pin_block != first

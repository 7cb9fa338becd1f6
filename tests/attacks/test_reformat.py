"""Attack: reformat a block until it no longer says whose PIN it is, or give it another PAN.

Every format to every format, with the same PAN and another, under every permission that a
grant can give, by every method that makes PIN blocks of PIN blocks. What succeeds is exactly
what PCI PIN requirement 3-3 leaves, and a refusal has not touched the HSM.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pinvault.clearzone.iso9564 import format2
from pinvault.clearzone.legacy import eci2, eci3, mastercard35, oem1, visa2, visa3, visa4
from pinvault.clearzone.pin import Pin
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import SealedJweProfile
from pinvault.policy.translation import MATRIX, Permission
from pinvault.v1 import resources_pb2 as rs
from tests.support.attack import (
    COLUMNS,
    OTHER_PAN,
    PAN,
    UNDER,
    Attacker,
    Told,
    attacker,
    batch,
    change,
    encrypt,
    generate_value,
    pb,
    pvv,
    seen,
    source,
    to,
    translate,
    verify,
)
from tests.support.core import ORDINARY, Setting

GRANTABLE = (Permission.ISO_1_TO_PAN, Permission.AES_TO_TDES)
PERMITTED = [
    frozenset(chosen) for size in range(3) for chosen in itertools.combinations(GRANTABLE, size)
]
BOUND = {Format.ISO_0, Format.ISO_3, Format.ISO_4}
BOUND_LEGACY = {Format.VISA_4, Format.PLUS, Format.MASTERCARD_35}
CARRY_PAN = BOUND | BOUND_LEGACY
COMES_IN = set(Format) - {Format.ISO_2}
GOES_OUT = BOUND | {Format.ISO_1}
FREE = SealedJweProfile(name="sealed-free", key="pin-seal", bind_pan=False)

# Blocks in which no PIN goes out of the service, written by their codecs.
WRITE: dict[Format, Callable[[Pin], bytes]] = {
    Format.ISO_2: format2.encode,
    Format.OEM_1: oem1.encode,
    Format.ECI_2: lambda pin: eci2.encode(pin, bytes(6)),
    Format.ECI_3: lambda pin: eci3.encode(pin, bytes(5)),
    Format.VISA_2: lambda pin: visa2.encode(pin, b"000000000"),
    Format.VISA_3: lambda pin: visa3.encode(pin, b"f"),
    Format.VISA_4: lambda pin: visa4.encode(pin, Pan(PAN)),
    Format.PLUS: lambda pin: visa4.encode(pin, Pan(PAN)),
    Format.MASTERCARD_35: lambda pin: mastercard35.encode(pin, Pan(PAN)),
}


def block(someone: Attacker, form: Format, pin: str = "7392") -> rs.PinBlockSource:
    """Give a block of any format."""
    if form in GOES_OUT:
        return someone.block(pin, form=form, under=UNDER[form])
    made = someone.raw(WRITE[form](Pin(pin.encode())), under=UNDER[form])
    return seen(made, form=form, under=UNDER[form])


def outward(form: Format) -> str:
    """Name a key that may encipher blocks of a format, as far as its algorithm goes."""
    return "zpk-aes" if form is Format.ISO_4 else "zpk"


def verdict(
    given: Format, wanted: Format, *, same_pan: bool, permitted: frozenset[Permission]
) -> str:
    """Say what must happen, in words of the requirement and not of the code."""
    if given in CARRY_PAN and wanted in CARRY_PAN and not same_pan:
        return "PAN_MISMATCH"
    if given not in COMES_IN or wanted not in GOES_OUT:
        return "TRANSLATION_FORBIDDEN"
    if wanted is Format.ISO_1 and given is not Format.ISO_1:
        return "TRANSLATION_FORBIDDEN"
    if given is Format.ISO_1 and wanted in BOUND and Permission.ISO_1_TO_PAN not in permitted:
        return "TRANSLATION_NOT_GRANTED"
    steps_down = given is Format.ISO_4 and wanted in {Format.ISO_0, Format.ISO_3}
    if steps_down and Permission.AES_TO_TDES not in permitted:
        return "TRANSLATION_NOT_GRANTED"
    return "OK"


def verdict_on_change(
    given: Format, wanted: Format, *, same_pan: bool, permitted: frozenset[Permission]
) -> str:
    """Say the same for a change, whose sources must all be bound to the PAN of the call."""
    if given not in COMES_IN:
        return "TRANSLATION_FORBIDDEN"
    if given not in CARRY_PAN:
        return "SOURCE_UNBOUND"
    return verdict(given, wanted, same_pan=same_pan, permitted=permitted)


permissions = pytest.mark.parametrize(
    "permitted", PERMITTED, ids=lambda permitted: "+".join(sorted(permitted)) or "nothing"
)
EVERYTHING = list(itertools.product(Format, Format, (True, False)))


def succeeded(told: Told, expected: str, case: object) -> bool:
    assert told.reason == expected, case
    if told.reason != "OK":
        assert told.hsm == (), (case, "the HSM was touched")
    return told.reason == "OK"


@permissions
@pytest.mark.parametrize("verb", ["EncryptPin", "TranslatePin"])
def test_exactly_the_table_succeeds(
    tmp_path: Path, verb: str, permitted: frozenset[Permission]
) -> None:
    someone = attacker(tmp_path, Setting(translations=permitted))
    done = set()
    for given, wanted, same_pan in EVERYTHING:
        pan = PAN if same_pan else OTHER_PAN
        target = to(pan, form=wanted, under=outward(wanted))
        made = block(someone, given)
        # Both answers have the block as their first field.
        request = encrypt(made, target) if verb == "EncryptPin" else translate(made, target)
        expected = verdict(given, wanted, same_pan=same_pan, permitted=permitted)
        told = someone.ask(verb, request)
        if succeeded(told, expected, (given, wanted, same_pan)):
            made_of = pb.TranslatePinResponse.FromString(told.answer).pin_block
            assert someone.pin_in(made_of, pan=pan, form=wanted, under=target.key) == "7392"
            done.add((given, wanted))
    assert done == {
        step for step, needs in MATRIX.items() if needs in permitted | {Permission.NONE}
    }


@permissions
def test_exactly_the_table_succeeds_in_a_batch(
    tmp_path: Path, permitted: frozenset[Permission]
) -> None:
    """One column of PANs is that of both sides, so there is no other PAN to name."""
    someone = attacker(tmp_path, Setting(translations=permitted))
    for given, wanted in itertools.product(COLUMNS, COLUMNS):
        made = block(someone, given)
        pans = [PAN] if {given, wanted} & BOUND else []
        request = batch([made.ciphertext], pans, form=given, target=wanted)
        # Nothing made in a batch is kept, so it goes under a key that nothing deciphers with.
        target = "zpk-aes" if wanted is Format.ISO_4 else "zpk-switch"
        request.source.key, request.target.key = made.key, target
        told = someone.ask("TranslatePinBatch", request)
        expected = verdict(given, wanted, same_pan=True, permitted=permitted)
        if succeeded(told, expected, (given, wanted)):
            answer = pb.TranslatePinBatchResponse.FromString(told.answer)
            assert answer.statuses == bytes([pb.TRANSLATE_PIN_BATCH_STATUS_DONE])


@permissions
def test_exactly_the_table_succeeds_in_a_change(
    tmp_path: Path, permitted: frozenset[Permission]
) -> None:
    someone = attacker(tmp_path, Setting(translations=permitted))
    for given, wanted, same_pan in EVERYTHING:
        target = to(PAN if same_pan else OTHER_PAN, form=wanted, under=outward(wanted))
        current, new = block(someone, given), block(someone, given, "4831")
        told = someone.ask("ChangeVerificationValue", change(current, new, (current, target)))
        expected = verdict_on_change(given, wanted, same_pan=same_pan, permitted=permitted)
        if succeeded(told, expected, (given, wanted, same_pan)):
            answer = pb.ChangeVerificationValueResponse.FromString(told.answer)
            assert answer.result == rs.PIN_VERIFICATION_MATCH


@permissions
def test_format_1_goes_into_an_envelope_by_leave_alone(
    tmp_path: Path, permitted: frozenset[Permission]
) -> None:
    """The envelope names the PAN of the call, whose the PIN then is; a legacy block tells more."""
    someone = attacker(tmp_path, Setting(translations=permitted))
    envelope = rs.PinTarget(envelope=rs.EnvelopeTarget(profile="interswitch", pan=PAN))
    for given in Format:
        made, bound = source(block(someone, given)), source(block(someone, Format.ISO_0))
        leave = given is not Format.ISO_1 or Permission.ISO_1_TO_PAN in permitted
        expected = "OK" if leave else "TRANSLATION_NOT_GRANTED"
        if given not in COMES_IN:
            expected = "TRANSLATION_FORBIDDEN"
        for verb, request in (
            ("EncryptPin", pb.EncryptPinRequest(source=made, target=envelope)),
            ("EncryptPinChange", into_fields(made, None)),
            ("EncryptPinChange", into_fields(made, bound)),
            ("EncryptPinChange", into_fields(bound, made)),
        ):
            succeeded(someone.ask(verb, request), expected, (verb, given))


def into_fields(new: rs.PinSource, old: rs.PinSource | None) -> pb.EncryptPinChangeRequest:
    return pb.EncryptPinChangeRequest(
        profile="interswitch", pan=PAN, new_source=new, old_source=old
    )


def test_a_pin_is_generated_into_what_is_bound_to_its_pan(tmp_path: Path) -> None:
    someone = attacker(tmp_path, Setting(translations=frozenset(GRANTABLE)))
    for wanted in Format:
        target = rs.PinTarget(pin_block=to(form=wanted, under=outward(wanted)))
        request = pb.GeneratePinRequest(pan=PAN, random=pb.RandomPin(length=4), target=target)
        expected = "OK" if wanted in BOUND else "TRANSLATION_FORBIDDEN"
        succeeded(someone.ask("GeneratePin", request), expected, wanted)


@pytest.mark.parametrize("read_as", Format)
def test_a_key_opens_the_legacy_format_it_is_kept_for_and_nothing_else(
    tmp_path: Path, read_as: Format
) -> None:
    """Read as another format, a block opens and tells digits: whatever leave, by every verb."""
    someone = attacker(tmp_path, Setting(translations=frozenset(Permission) - {Permission.NONE}))
    known = source(block(someone, Format.ISO_0))
    for kept in Format:
        made = block(someone, kept).ciphertext
        given = seen(made, form=read_as, under=UNDER[kept])
        if read_as is Format.ISO_2 or UNDER[kept] == UNDER[read_as]:
            continue
        for verb, request in (
            ("EncryptPin", encrypt(given)),
            ("TranslatePin", translate(given)),
            ("EncryptPinChange", into_fields(source(given), None)),
            ("VerifyPin", verify(given, pvv("0000"))),
            ("VerifyPin", verify(known, given)),
            ("GenerateVerificationValue", generate_value(given, "visa")),
            ("ChangeVerificationValue", change(known, given, pvv("0000"))),
            ("ChangeVerificationValue", change(known, known, (given, to()))),
        ):
            told = someone.ask(verb, request)
            assert (told.reason, told.hsm) == ("FORMAT_KEY_MISMATCH", ()), (kept, verb)


def test_a_sealed_pin_that_is_bound_stays_bound(tmp_path: Path) -> None:
    someone = attacker(tmp_path, replace(ORDINARY, profiles=(FREE,)))
    told = someone.ask("EncryptPin", encrypt(someone.sealed("7392"), to(form=Format.ISO_1)))
    assert (told.reason, told.hsm) == ("TRANSLATION_FORBIDDEN", ())
    for other in (OTHER_PAN, PAN[:-1] + "1", PAN[1:]):
        told = someone.ask("EncryptPin", encrypt(someone.sealed("7392"), to(other)))
        assert (told.reason, told.hsm) == ("PAN_MISMATCH", ())
        lied = someone.sealed("7392")
        lied.envelope.pan = other
        assert someone.ask("EncryptPin", encrypt(lied, to(other))).reason == "PIN_SOURCE_REFUSED"


@pytest.mark.parametrize("form", sorted(CARRY_PAN))
def test_a_code_book_cannot_be_built_by_way_of_format_1(tmp_path: Path, form: Format) -> None:
    """Once a block is format 1, one book reads all cards (Berkman and Ostrovsky, 2007)."""
    someone = attacker(tmp_path, Setting(translations=frozenset(GRANTABLE)))
    given = block(someone, form)
    for verb, request in (
        ("TranslatePin", translate(given, to(form=Format.ISO_1, under="zpk"))),
        ("EncryptPin", encrypt(source(given), to(form=Format.ISO_1, under="zpk"))),
    ):
        told = someone.ask(verb, request)
        assert (told.reason, told.hsm) == ("TRANSLATION_FORBIDDEN", ())

"""Attack: have an offset, a PVV or a script made of a block that is not the card's.

A block that names no PAN can be said to be anybody's: with one known PIN in it, the offset that
a service gives for the victim's PAN is the victim's natural PIN (Berkman and Ostrovsky, 2007).
Verification values are made of sources that are bound to the PAN of the call, and of no other.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.message import Message

from pinvault.clearzone.iso9564 import format1
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.verification import ibm3624
from pinvault.client.sealing import seal
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import SealedJweProfile
from pinvault.policy.translation import Permission
from pinvault.v1 import resources_pb2 as rs
from tests.support.attack import (
    OTHER_PAN,
    PAN,
    UNDER,
    Attacker,
    attacker,
    change,
    generate_value,
    offset,
    pb,
    pvv,
    seen,
    source,
    verify,
)
from tests.support.core import VERIFICATION, Setting

FREE = SealedJweProfile(name="sealed-free", key="pin-seal", bind_pan=False)
LEAVE = frozenset(Permission) - {Permission.NONE}
UNBOUND = [form for form in Format if not form.carries_pan and form is not Format.ISO_2]
BOUND = (Format.ISO_0, Format.ISO_3, Format.ISO_4)


def naive_offset(block: bytes, pan: str, encipher: Callable[[bytes], bytes]) -> str:
    """Stand in for a service that takes an unbound block for that of any PAN."""
    scheme = VERIFICATION["ibm"]
    with format1.decode(block) as pin:
        return ibm3624.offset(pin, pan=Pan(pan), scheme=scheme, encipher=encipher).value


def test_the_attack_is_real_against_a_service_that_binds_nothing() -> None:
    keyed = random.Random(2007).randbytes
    cryptograms: dict[bytes, bytes] = {}

    def encipher(block: bytes) -> bytes:
        return cryptograms.setdefault(block, keyed(8))

    own = format1.encode(Pin(b"1234"), bytes(5))
    for pan in (PAN, OTHER_PAN):
        told = naive_offset(own, pan, encipher)
        natural = "".join(
            str((int(known) - int(by)) % 10) for known, by in zip("1234", told, strict=True)
        )
        scheme = VERIFICATION["ibm"]
        with ibm3624.natural_pin(pan=Pan(pan), scheme=scheme, encipher=encipher) as right:
            assert natural.encode() == digits_of(right)


@dataclass(frozen=True)
class Verb:
    """A method that makes something of a PIN, and a request to it with a source in one place."""

    name: str
    request: Callable[[Attacker, rs.PinSource], Message]


def script(new: rs.PinSource, pan: str = PAN) -> pb.EncryptPinChangeScriptRequest:
    return pb.EncryptPinChangeScriptRequest(
        script="chip",
        pan=pan,
        application_cryptogram=bytes(8),
        message_data=bytes.fromhex("8424000210"),
        new_source=new,
    )


def stored(someone: Attacker) -> tuple[rs.PinBlockSource, rs.PinBlockTarget]:
    block = someone.block("7392", under="zpk")
    return block, rs.PinBlockTarget(key="zpk", format=block.format)


VERBS = {
    "PVV": Verb("GenerateVerificationValue", lambda _, given: generate_value(given, "visa")),
    "offset": Verb("GenerateVerificationValue", lambda _, given: generate_value(given, "ibm")),
    "change, current": Verb(
        "ChangeVerificationValue",
        lambda someone, given: change(given, someone.sealed("4831"), offset("0000")),
    ),
    "change, new": Verb(
        "ChangeVerificationValue",
        lambda someone, given: change(someone.sealed("4831"), given, pvv("0000")),
    ),
    "change of a block": Verb(
        "ChangeVerificationValue",
        lambda someone, given: change(someone.sealed("7392"), given, stored(someone)),
    ),
    "script": Verb("EncryptPinChangeScript", lambda _, given: script(given)),
}
verbs = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


@verbs
def test_what_is_bound_to_no_pan_is_refused_before_the_hsm(tmp_path: Path, verb: Verb) -> None:
    """Whatever leave the grant gives."""
    someone = attacker(tmp_path, Setting(translations=LEAVE, profiles=(FREE,)))
    free = someone.sealed("7392", profile="sealed-free")
    blocks = [source(seen(bytes(8), form=form, under=UNDER[form])) for form in UNBOUND]
    for given in (free, *blocks):
        told = someone.ask(verb.name, verb.request(someone, given))
        assert (told.reason, told.hsm) == ("SOURCE_UNBOUND", ())


@verbs
def test_format_2_is_no_source_at_all(tmp_path: Path, verb: Verb) -> None:
    someone = attacker(tmp_path, Setting(translations=LEAVE))
    given = source(seen(bytes(8), form=Format.ISO_2, under="zpk"))
    told = someone.ask(verb.name, verb.request(someone, given))
    assert (told.reason, told.hsm) == ("TRANSLATION_FORBIDDEN", ())


@verbs
def test_the_pan_of_the_call_is_that_of_the_source(tmp_path: Path, verb: Verb) -> None:
    someone = attacker(tmp_path, Setting(translations=LEAVE))
    for form in BOUND:
        given = source(someone.block("7392", pan=OTHER_PAN, form=form, under=UNDER[form]))
        told = someone.ask(verb.name, verb.request(someone, given))
        assert (told.reason, told.hsm) == ("PAN_MISMATCH", ())
    told = someone.ask(verb.name, verb.request(someone, someone.sealed("7392", OTHER_PAN)))
    assert (told.reason, told.hsm) == ("PAN_MISMATCH", ())


@verbs
def test_another_cards_source_does_not_open_under_this_pan(tmp_path: Path, verb: Verb) -> None:
    """What was made for one PAN and is said to be for another: one face, for every format."""
    someone = attacker(tmp_path, Setting(translations=LEAVE))
    faces = set()
    for form in BOUND:
        made = someone.block("7392", pan=OTHER_PAN, form=form, under=UNDER[form]).ciphertext
        if form is Format.ISO_3:  # opens where its random fill happens to stay fill
            continue
        given = source(seen(made, form=form, under=UNDER[form]))
        faces.add(someone.ask(verb.name, verb.request(someone, given)).face)
    lied = someone.sealed("7392", OTHER_PAN)
    lied.envelope.pan = PAN
    faces.add(someone.ask(verb.name, verb.request(someone, lied)).face)
    assert len(faces) == 1
    assert "PIN_SOURCE_REFUSED" in repr(faces)


@pytest.mark.parametrize("form", UNBOUND)
def test_to_verify_what_is_unbound_takes_leave(tmp_path: Path, form: Format) -> None:
    someone = attacker(tmp_path, Setting(profiles=(FREE,)))
    given = seen(bytes(8), form=form, under=UNDER[form])
    known = someone.block("7392", under="zpk")
    free = envelope_for_no_pan(someone)
    for request in (
        *(verify(given, reference) for reference in (pvv("0000"), offset("0000"), known)),
        verify(known, given),
        verify(free, pvv("0000")),
    ):
        told = someone.ask("VerifyPin", request)
        assert (told.reason, told.hsm) == ("TRANSLATION_NOT_GRANTED", ())


def envelope_for_no_pan(someone: Attacker) -> rs.PinSource:
    ciphertext = seal("7392", key=someone.core.sealing_key, pan=None, expires=2**31)
    return rs.PinSource(envelope=rs.EnvelopeSource(profile="sealed-free", ciphertext=ciphertext))

"""What is noted of a call fits its audit record, whatever the call names."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from pinvault.audit.record import encode
from pinvault.clearzone.emv import ScriptToMake
from pinvault.clearzone.parcels import (
    BlockToMake,
    EnvelopeToMake,
    PvvMethod,
    Sealed,
    SealedBlock,
    SealedEnvelope,
    ToMake,
    Transaction,
)
from pinvault.model.call import Call, Notes
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import PinLength
from pinvault.model.references import SchemeRef
from pinvault.model.verification import VisaPvvScheme
from pinvault.operations.passage import Passage
from pinvault.policy.grants import Ask, Grant
from pinvault.server.gate import _Visit
from tests.support.software_device import key
from tests.unit.operations.support import (
    BOUND,
    PAN,
    PROFILES,
    RULES,
    SCRIPTS,
    TDES_TRANSACTION,
    UNBOUND,
    Make,
    World,
    call,
    envelope,
    ibm,
    pvv_of,
    to_block,
    to_partner,
    value,
    visa,
)

NAME = "profile-or-scheme-of-most-lette"
"""As long as the configuration lets a name be: 31 characters."""


def recorded(method: str, notes: Notes) -> bytes:
    """Give the record of a call as the gate writes it, or raise RecordRefused."""
    visit = _Visit(method, caller="switch", notes=notes)
    return encode(visit.record(datetime(2026, 6, 15, tzinfo=UTC), 0.001))


CALLS: dict[str, Callable[[World, Call], object]] = {
    "EncryptPin": lambda world, made: world.encrypt_pin(
        made, source=envelope(), target=to_partner()
    ),
    "EncryptPinChange": lambda world, made: world.encrypt_pin_change(
        made, profile="partner", pan=Pan(PAN), new_source=envelope(), old_source=world.block()
    ),
    "TranslatePin": lambda world, made: world.translate_pin(
        made,
        source=world.block(under="bdk/1", dukpt=TDES_TRANSACTION),
        target=to_block("zpk-aes", Format.ISO_4),
    ),
    "VerifyPin": lambda world, made: world.verify_pin(
        made, source=envelope(), pan=Pan(PAN), reference=world.block()
    ),
    "GenerateVerificationValue": lambda world, made: world.generate_value(
        made, source=envelope(), pan=Pan(PAN), scheme=visa()
    ),
    "ChangeVerificationValue": lambda world, made: world.change_value(
        made,
        current_source=world.block(),
        new_source=envelope(),
        pan=Pan(PAN),
        reference=value(visa(), pvv_of("7392")),
    ),
    "GeneratePin": lambda world, made: world.generate_pin(
        made, pan=Pan(PAN), method=ibm(), target=to_partner(), scheme=SchemeRef(name="ibm")
    ),
    "EncryptPinChangeScript": lambda world, made: world.encrypt_script(
        made,
        script="vsdc-current",
        pan=Pan(PAN),
        sequence=0,
        cryptogram=bytes(8),
        message=bytes(5),
        new_source=envelope(),
        current_source=world.block(),
    ),
}


@pytest.mark.parametrize("method", CALLS)
def test_every_call_has_a_record_that_names_nothing_but_words_and_keys(
    world: World, method: str
) -> None:
    made = call(f"PinBlockService.{method}")
    CALLS[method](world, made)
    record = recorded(made.method, made.notes)
    assert PAN.encode() not in record
    for each in made.notes.keys:
        assert f'"{each.id}"'.encode() in record


SOURCES = BOUND | UNBOUND


@pytest.mark.parametrize("word", SOURCES)
def test_every_source_is_recorded_by_its_word(world: World, word: str) -> None:
    make: Make = SOURCES[word]
    made = call()
    world.encrypt_pin(made, source=make(world, "7392"), target=to_partner())
    assert made.notes.sources == [word]
    assert f'"source":"{word}"'.encode() in recorded(made.method, made.notes)


# The longest names


def long_key(place: str) -> Key:
    return key(f"{place}-{NAME}"[:31], "P0", "TDES_2KEY", "B", version=9999)


def long_block(place: str) -> SealedBlock:
    return SealedBlock(
        key=long_key(place),
        format=Format.MASTERCARD_35,
        pan=Pan(PAN),
        ciphertext=bytes(8),
        transaction=Transaction(dukpt=TDES_TRANSACTION),
    )


def long_envelope() -> SealedEnvelope:
    profile = replace(PROFILES["sealed"], name=NAME)
    return SealedEnvelope(profile=profile, keys={}, pan=Pan(PAN), caller="", ciphertext=b"")


BLOCK = BlockToMake(
    key=long_key("target"),
    format=Format.ISO_0,
    pan=Pan(PAN),
    transaction=Transaction(dukpt=TDES_TRANSACTION),
)
ENVELOPE = EnvelopeToMake(
    key=long_key("partner"), profile=replace(PROFILES["partner"], name=NAME), pan=Pan(PAN)
)
METHODS = tuple(
    PvvMethod(
        scheme=VisaPvvScheme(name=f"{letter}{NAME[1:]}", keys={0: "pvk"}),
        key=long_key(letter),
        key_index=0,
    )
    for letter in "xy"
)
SCRIPT = ScriptToMake(
    profile=replace(SCRIPTS["vsdc"], name=NAME),
    confidentiality=long_key("smc"),
    integrity=long_key("smi"),
    cryptograms=long_key("ac"),
    pan=Pan(PAN),
    sequence=0,
    cryptogram=bytes(8),
    message=bytes(5),
)


def passage(
    *sources: Sealed,
    target: ToMake | None = None,
    methods: int = 0,
    script: ScriptToMake | None = None,
) -> Passage:
    return Passage(
        sources=sources,
        targets=(target,) if target is not None else (),
        methods=METHODS[:methods],
        script=script,
        pan=Pan(PAN),
    )


LONGEST = {
    "EncryptPin": passage(long_envelope(), target=ENVELOPE),
    "EncryptPinChange": passage(long_envelope(), long_envelope(), target=ENVELOPE),
    "TranslatePin": passage(long_block("source"), target=BLOCK),
    "VerifyPin by value": passage(long_envelope(), methods=1),
    "VerifyPin by block": passage(long_envelope(), long_block("reference")),
    "GenerateVerificationValue": passage(long_envelope(), methods=1),
    "ChangeVerificationValue by value": passage(long_envelope(), long_envelope(), methods=1),
    "ChangeVerificationValue by block": passage(
        long_envelope(), long_envelope(), long_block("reference"), target=BLOCK
    ),
    "GeneratePin": passage(target=ENVELOPE, methods=2),
    "EncryptPinChangeScript": passage(long_envelope(), long_envelope(), script=SCRIPT),
}


@dataclass
class Open:
    """An admission that lets everything pass."""

    grant: Grant

    def note(self, made: Call, pan: Pan | None) -> None:
        made.notes.pan_index = "5a" * 32 if pan is not None else ""

    def admit(self, made: Call, ask: Ask, pan: Pan | None = None, **_: object) -> Grant:
        return self.grant


ROW = Grant(
    callers=frozenset(),
    method="",
    pin_length=PinLength(minimum=4, maximum=4),
    pin_rules=RULES,
)


@pytest.mark.parametrize("name", LONGEST)
def test_the_longest_names_fit_the_record(name: str) -> None:
    made = call()
    LONGEST[name].admit(made, Open(ROW))  # type: ignore[arg-type]
    made.notes.opened_by(long_key("opened"), long_key("too"))
    assert recorded("PinBlockService.EncryptPin", made.notes)


def test_the_terms_are_those_of_the_row() -> None:
    made = call()
    terms = LONGEST["TranslatePin"].admit(made, Open(ROW))  # type: ignore[arg-type]
    assert (terms.deadline, terms.pin_length, terms.rules) == (
        *(made.deadline, ROW.pin_length, ROW.pin_rules),
    )


def test_the_index_of_the_pan_is_noted_of_a_step_that_is_refused(world: World) -> None:
    made = call()
    to_format_1 = to_block(form=Format.ISO_1)
    with pytest.raises(Refusal):
        world.translate_pin(made, source=world.block(), target=to_format_1)
    assert made.notes.pan_index == world.pans.of(Pan(PAN)).hex()


def test_both_halves_of_a_base_key_are_noted(world: World) -> None:
    made = call()
    CALLS["TranslatePin"](world, made)
    assert {each.id for each in made.notes.keys} >= {"bdk/1", "bdk-variant/1"}


def test_a_step_that_is_refused_is_noted_all_the_same() -> None:
    made = call()
    to_format_1 = replace(BLOCK, format=Format.ISO_1, pan=None)
    with pytest.raises(Refusal) as caught:
        passage(long_block("source"), target=to_format_1).admit(
            made,
            Open(ROW),  # type: ignore[arg-type]
        )
    assert caught.value.reason is Reason.TRANSLATION_FORBIDDEN
    assert len(made.notes.keys) == 2
    assert made.notes.target == "ISO_1-DUKPT"

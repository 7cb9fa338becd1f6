"""Attack: read a PIN from what any verb answers, logs, records, or holds outside the clear zone.

Every verb is run with a marked PIN of twelve digits, well and badly; its answers, the log, the
audit records and the table are searched, and so is every local variable of every function that
the call runs through outside the clear zone.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from google.protobuf.message import Message

import pinvault
from pinvault.audit.record import encode
from pinvault.model.pins import Format
from pinvault.model.verification import Ibm3624Scheme, ValidationLayout
from pinvault.policy.translation import Permission
from pinvault.v1 import resources_pb2 as rs
from tests.support.attack import (
    OTHER_PAN,
    PAN,
    Attacker,
    Ksn,
    attacker,
    batch,
    change,
    encrypt,
    generate_value,
    offset,
    pb,
    pvv,
    seen,
    source,
    to,
    translate,
    verify,
)
from tests.support.core import METHODS, Setting
from tests.support.leaks import found_in

PIN, OTHER_PIN = "739148205617", "739120561748"
HOME = str(Path(pinvault.__file__).parent)
ZONE = os.path.join(HOME, "clearzone")  # noqa: PTH118 - compared with file names as text
LONG = Ibm3624Scheme(
    name="long",
    key="offset",
    decimalisation_table="0123456789012345",
    validation=ValidationLayout(template="{last16}"),
    check_length=12,
    pin_length=12,
)
SETTING = Setting(verification=(LONG,), translations=frozenset({Permission.CHOSEN_PIN_TO_OFFSET}))
COUNTERS = itertools.count(1)
Make = Callable[[Attacker], tuple[str, Message]]


def pin_block(who: Attacker, pan: str = PAN, pin: str = PIN) -> rs.PinBlockSource:
    return who.block(pin, pan=pan, form=Format.ISO_3, under="zpk")


def under_dukpt(who: Attacker) -> rs.PinBlockSource:
    serial = Ksn(bytes.fromhex("1234567890123456") + next(COUNTERS).to_bytes(4))
    return who.block(PIN, under="bdk", ksn=serial)


def script(who: Attacker) -> pb.EncryptPinChangeScriptRequest:
    return pb.EncryptPinChangeScriptRequest(
        script="chip",
        pan=PAN,
        application_cryptogram=bytes(8),
        message_data=bytes.fromhex("8424000210"),
        new_source=who.sealed(PIN),
    )


def to_block() -> rs.PinTarget:
    return rs.PinTarget(pin_block=to())


def batch_of_two(who: Attacker) -> pb.TranslatePinBatchRequest:
    good, bad = (who.block(PIN, pan=pan, form=Format.ISO_3).ciphertext for pan in (PAN, OTHER_PAN))
    return batch([good, bad], [PAN, PAN[:5] + "999" + PAN[8:]], form=Format.ISO_3)


# Each verb, well and badly. By name, since a request holds what cannot stand in a test's id.
WAYS: dict[str, Make] = {
    "encrypt a seal": lambda who: ("EncryptPin", encrypt(who.sealed(PIN), to())),
    "encrypt a block": lambda who: ("EncryptPin", encrypt(pin_block(who), to())),
    "encrypt under DUKPT": lambda who: ("EncryptPin", encrypt(under_dukpt(who), to())),
    "encrypt badly": lambda who: ("EncryptPin", encrypt(seen(bytes(8)), to())),
    "encrypt for a partner": lambda who: (
        "EncryptPin",
        pb.EncryptPinRequest(
            source=who.sealed(PIN),
            target=rs.PinTarget(envelope=rs.EnvelopeTarget(profile="interswitch", pan=PAN)),
        ),
    ),
    "encrypt two fields": lambda who: (
        "EncryptPinChange",
        pb.EncryptPinChangeRequest(
            profile="interswitch",
            pan=PAN,
            new_source=who.sealed(PIN),
            old_source=source(pin_block(who, pin=OTHER_PIN)),
        ),
    ),
    "translate": lambda who: ("TranslatePin", translate(pin_block(who))),
    "translate for another PAN": lambda who: (
        "TranslatePin",
        translate(seen(who.block(PIN, form=Format.ISO_0).ciphertext, pan=OTHER_PAN), to(OTHER_PAN)),
    ),
    "translate a batch": lambda who: ("TranslatePinBatch", batch_of_two(who)),
    "verify by PVV": lambda who: ("VerifyPin", verify(who.sealed(PIN), pvv("7391"))),
    "verify by offset": lambda who: (
        "VerifyPin",
        verify(who.sealed(PIN), offset("000000000000", "long")),
    ),
    "verify by block": lambda who: ("VerifyPin", verify(who.sealed(PIN), pin_block(who))),
    "verify a wrong one": lambda who: ("VerifyPin", verify(who.sealed(OTHER_PIN), pin_block(who))),
    "verify one of another length": lambda who: (
        "VerifyPin",
        verify(who.sealed(PIN), offset("0000")),
    ),
    "make a PVV": lambda who: (
        "GenerateVerificationValue",
        generate_value(who.sealed(PIN), "visa"),
    ),
    "make an offset": lambda who: (
        "GenerateVerificationValue",
        generate_value(who.sealed(PIN), "long"),
    ),
    "make no offset": lambda who: (
        "GenerateVerificationValue",
        generate_value(who.sealed(PIN), "ibm"),
    ),
    "change": lambda who: (
        "ChangeVerificationValue",
        change(who.sealed(PIN), who.sealed(OTHER_PIN), (pin_block(who), to(form=Format.ISO_3))),
    ),
    "change with a wrong PIN": lambda who: (
        "ChangeVerificationValue",
        change(who.sealed(OTHER_PIN), who.sealed(PIN), pvv("7391")),
    ),
    "generate": lambda who: (
        "GeneratePin",
        pb.GeneratePinRequest(pan=PAN, random=pb.RandomPin(length=12), target=to_block()),
    ),
    "generate of an offset": lambda who: (
        "GeneratePin",
        pb.GeneratePinRequest(
            pan=PAN,
            ibm_3624_offset=offset("000000000000", "long").ibm_3624_offset,
            target=to_block(),
        ),
    ),
    "script": lambda who: ("EncryptPinChangeScript", script(who)),
}


def shown(value: object) -> bytes:
    """Give what a value shows of itself; of bytes, the bytes."""
    return bytes(value) if isinstance(value, bytes | bytearray) else repr(value).encode()


@contextmanager
def locals_outside_the_zone(found: set[str]) -> Iterator[None]:
    """Note what every function of ours outside the clear zone holds when it returns."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(HOME) or name.startswith(ZONE):
            return trace
        if event == "return":
            values = b" ".join(map(shown, frame.f_locals.values()))
            for digits in (PIN, OTHER_PIN):
                found.update(f"{name}: {form}" for form in found_in(values, digits))
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


@pytest.fixture(scope="module")
def who(tmp_path_factory: pytest.TempPathFactory) -> Attacker:
    return attacker(tmp_path_factory.mktemp("leaks"), SETTING)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_outside_the_clear_zone_holds_a_pin(who: Attacker, way: str) -> None:
    verb, request = WAYS[way](who)
    held: set[str] = set()
    with locals_outside_the_zone(held):
        told = who.ask(verb, request)
    assert held == set()
    record = who.core.log.records[-1]
    assert record.method == f"PinBlockService.{verb}"
    written = {
        "answer": told.answer + repr((told, told.face)).encode(),
        "record": encode(record) + repr(record).encode(),
        "log": who.log.getvalue().encode(),
    }
    for place, content in written.items():
        for digits in (PIN, OTHER_PIN):
            assert not found_in(content, digits), place
        assert PAN.encode() not in content, place


def test_every_verb_is_run_and_most_of_them_well(who: Attacker) -> None:
    """Else a verb that refused everything would leak nothing."""
    well, badly = set(), set()
    for way, make in WAYS.items():
        verb, request = make(who)
        if who.ask(verb, request).reason == "OK":
            well.add(verb)
        else:
            badly.add(way)
    assert well == {name.partition(".")[2] for name in METHODS if name.startswith("PinBlock")}
    assert badly == {"encrypt badly", "translate for another PAN", "make no offset"}


def test_the_look_into_functions_finds_what_is_there() -> None:
    """Of a function that would read as one of ours."""
    program = compile("def careless(pin):\n    return len(pin)\n", f"{HOME}/careless.py", "exec")
    scope: dict[str, Any] = {}
    exec(program, scope)
    held: set[str] = set()
    with locals_outside_the_zone(held):
        scope["careless"](PIN)
    assert any("ASCII" in place for place in held)


def test_the_table_of_the_host_holds_no_pin(tmp_path: Path) -> None:
    someone = attacker(tmp_path, SETTING)
    for make in WAYS.values():
        someone.ask(*make(someone))
    content = (tmp_path / "limits.table").read_bytes()
    assert any(content)
    assert not found_in(content, PIN)
    assert PAN.encode() not in content

"""Attack: ask an acquiring server to set, change, generate or reveal a PIN.

PCI PIN 29-4.2: a device that serves acquirers has no such functions. They are not refused by a
row that could be written otherwise: they are not there, and that they were asked for is recorded.
"""

from pathlib import Path

import pytest

from pinvault.server.role import ACQUIRING, Role
from pinvault.v1 import key_pb2, pin_block_pb2
from tests.support.attack import attacker, pb, pvv, translate, verify
from tests.support.core import CALLER, METHODS, FakeContext, Setting

SERVICES = [
    service
    for file in (pin_block_pb2, key_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]
EVERY = sorted(f"{service.name}.{each.name}" for service in SERVICES for each in service.methods)
MAKES_PINS = [name for name in EVERY if any(verb in name for verb in ("Generate", "Change"))]


def test_every_method_that_is_served_has_a_row_here() -> None:
    assert set(METHODS) <= set(EVERY)
    assert set(METHODS) >= ACQUIRING


def test_what_makes_pins_is_not_for_acquirers() -> None:
    assert not ACQUIRING & set(MAKES_PINS)
    assert len(MAKES_PINS) == 5


@pytest.mark.parametrize("method", [name for name in EVERY if name not in ACQUIRING])
def test_an_issuing_method_is_not_there_and_the_call_is_recorded(
    tmp_path: Path, method: str
) -> None:
    someone = attacker(tmp_path, Setting(role=Role.ACQUIRING))
    context = FakeContext()
    someone.core.device.calls.clear()
    assert someone.core.call(method, b"", context) == b""
    assert context.code is not None
    assert context.code.name == "UNIMPLEMENTED"
    assert not someone.core.device.calls
    (record,) = someone.core.log.records
    assert (record.outcome, record.caller) == ("METHOD_UNKNOWN", CALLER)


def test_a_made_up_method_is_told_the_same(tmp_path: Path) -> None:
    someone = attacker(tmp_path, Setting(role=Role.ACQUIRING))
    hidden, made_up = (
        someone.ask(verb, pb.GeneratePinRequest()) for verb in ("GeneratePin", "RevealEverything")
    )
    assert (hidden.face, hidden.hsm) == (made_up.face, ())


def test_an_acquiring_server_still_does_its_work(tmp_path: Path) -> None:
    someone = attacker(tmp_path, Setting(role=Role.ACQUIRING))
    given = someone.block("7392")
    assert someone.ask("TranslatePin", translate(given)).reason == "OK"
    assert someone.ask("VerifyPin", verify(given, pvv("0000"))).reason == "OK"

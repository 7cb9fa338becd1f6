"""Attack: find an input or a fault by which something of a PIN leaves the clear zone."""

from dataclasses import replace
from pathlib import Path

import pytest

from pinvault.clearzone.iso9564 import format1
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.errors import Reason
from pinvault.model.faults import ClearedFault
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from tests.unit.clearzone import test_zone as zones
from tests.unit.clearzone.bad_envelopes import FORGED
from tests.unit.clearzone.support import PAN, PROFILE, World, content, envelope, forge, header
from tests.unit.clearzone.test_zone import made_pins

__all__ = ["made_pins"]

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def zone(tmp_path: Path) -> World:
    return World(tmp_path)


UNREADABLE = {
    "header is no UTF-8": lambda: forge(header_bytes=header().replace(b'"kid":"', b'"kid":"\xff')),
    "content is no UTF-8": lambda: forge(
        content_bytes=content().replace(b'"nonce":"', b'"nonce":"\xff')
    ),
    "PAN ends in a newline": lambda: forge(content_bytes=content(pan=PAN + "\n")),
    "content nests without end": lambda: forge(
        content_bytes=b'{"pin":' + b"[" * 1500 + b"]" * 1500 + b"}"
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_no_parser_can_read_has_the_one_face(zone: World, name: str) -> None:
    compact = UNREADABLE[name]().compact()
    assert zones.reason_of(zone, envelope(compact)) is Reason.PIN_SOURCE_REFUSED


def test_an_envelope_can_be_written_in_one_way_only(zone: World) -> None:
    """Else bits of base64 that carry nothing could be flipped, and it would still open."""
    compact = zones.sealed()
    last = ALPHABET[ALPHABET.index(compact[-1:]) ^ 1 :][:1]
    assert zones.reason_of(zone, envelope(compact[:-1] + last)) is Reason.PIN_SOURCE_REFUSED


def test_the_first_pin_is_wiped_when_the_second_source_fails(
    zone: World, made_pins: list[Pin]
) -> None:
    bad = envelope(FORGED["tag short"]())
    zones.refusal_of(lambda: zones.to_fields(zone, envelope(zones.sealed()), bad))
    assert made_pins
    assert all(set(digits_of(pin)) == {0} for pin in made_pins)


def test_a_pin_of_a_length_that_is_not_let_through_is_wiped_at_once(
    zone: World, made_pins: list[Pin]
) -> None:
    longer = replace(PROFILE, pin_length=zones.PinLength(minimum=6))
    zones.refusal_of(lambda: zones.to_block(zone, envelope(zones.sealed(), profile=longer)))
    assert [digits_of(pin) for pin in made_pins] == [bytes(4)]


def test_a_fault_of_our_own_leaves_as_text(zone: World) -> None:
    """The key is not in the token: a fault that nobody foresaw, raised while the PIN is open."""
    gone = zones.BlockToMake(key=replace(zones.ZPK, name="gone"), format=Format.ISO_0, pan=Pan(PAN))
    with pytest.raises(ClearedFault) as caught:
        zones.to_block(zone, envelope(zones.sealed()), gone)
    assert caught.value.kind == "UnknownKey"
    assert any("zone.py" in frame for frame in caught.value.frames)
    assert caught.value.__context__ is None
    assert zones.pins_within(caught.value.__traceback__) == []


def test_codecs_take_whole_fields_only() -> None:
    with pytest.raises(Malformed):
        format1.decode(bytes.fromhex("141234ABCDEF01"))


@pytest.mark.parametrize("value", [Pin(b"1234"), Pan("4111111111111111")], ids=["PIN", "PAN"])
def test_the_state_of_an_object_is_not_to_be_had(value: Pin | Pan) -> None:
    with pytest.raises(TypeError):
        value.__getstate__()

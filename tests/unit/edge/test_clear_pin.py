"""Clear PINs at the edge: taken by the decoder, sealed once, never shown."""

import copy
import pickle
from dataclasses import replace

import msgspec
import pytest

from pinvault.client import SealedPin
from pinvault.edge.body import decode
from pinvault.edge.clear_pin import ClearPin, FourDigitPin
from pinvault.edge.dialect import Arrived, Refused
from tests.support.toy_edge import ARRIVED

SECRET = "4831"


class Asked(msgspec.Struct):
    """A request with a PIN."""

    pin: ClearPin


class AskedFour(msgspec.Struct):
    """A request with a PIN of four digits."""

    pin: FourDigitPin


class Sealer:
    """A vault that only seals, and remembers for whom."""

    def seal(self, pin: str, *, card: str) -> SealedPin:
        self.saw = (pin, card)
        return SealedPin(profile="sealed-card", ciphertext=b"jwe")


def arrived(body: bytes) -> Arrived:
    return replace(ARRIVED, body=body)


def taken(pin: str = SECRET) -> ClearPin:
    return decode(arrived(msgspec.json.encode({"pin": pin})), Asked).pin


def test_it_is_sealed_for_its_card_and_then_gone() -> None:
    vault, pin = Sealer(), taken()
    assert pin.seal(vault, card_id="card-1").ciphertext == b"jwe"
    assert vault.saw == (SECRET, "card-1")
    with pytest.raises(RuntimeError, match="once"):
        pin.seal(vault, card_id="card-1")


def test_it_is_gone_also_when_it_could_not_be_sealed() -> None:
    class Refusing:
        def seal(self, pin: str, *, card: str) -> SealedPin:
            raise ValueError("no")

    pin = taken()
    digits = pin._digits
    with pytest.raises(ValueError, match="no"):
        pin.seal(Refusing(), card_id="card-1")
    assert digits == bytes(4)
    assert not pin._digits


def test_it_cannot_be_shown_compared_or_carried_away() -> None:
    pin = taken()
    asked = Asked(pin)
    assert SECRET not in f"{pin!r} {pin} {[pin]} {asked!r} {dir(pin)}"
    with pytest.raises(TypeError):
        _ = pin == taken()
    for carry in (pickle.dumps, copy.copy, copy.deepcopy, hash, msgspec.json.encode, vars, list):
        with pytest.raises((TypeError, NotImplementedError)):
            carry(pin)
    with pytest.raises((TypeError, NotImplementedError)):
        msgspec.json.encode(asked)


@pytest.mark.parametrize("pin", ["", "123", "1234567890123", "12a4", "١٢٣٤", " 1234", "1234\n"])
def test_what_is_no_pin_is_refused_without_it(pin: str) -> None:
    with pytest.raises(Refused) as refused:
        taken(pin)
    assert refused.value.reason == "BODY_INVALID"
    assert refused.value.context["path"] == "$.pin"
    assert not pin or pin not in str(refused.value.context)
    assert refused.value.__context__ is None


@pytest.mark.parametrize("pin", ["12345", "123456", "123456789012"])
def test_a_vendors_length_is_its_own(pin: str) -> None:
    assert isinstance(taken(pin), ClearPin)
    with pytest.raises(Refused):
        decode(arrived(msgspec.json.encode({"pin": pin})), AskedFour)


@pytest.mark.parametrize("value", [4831, 4831.0, None, True, ["4831"], {"a": "4831"}])
def test_a_pin_is_a_text(value: object) -> None:
    with pytest.raises(Refused) as refused:
        decode(arrived(msgspec.json.encode({"pin": value})), Asked)
    assert SECRET not in str(refused.value.context)


def test_the_name_of_an_unknown_member_is_not_repeated() -> None:
    class Strict(msgspec.Struct, forbid_unknown_fields=True):
        card: str

    with pytest.raises(Refused) as refused:
        decode(arrived(b'{"card": "c", "4831": 1}'), Strict)
    assert refused.value.context == {"path": "$", "problem": "Object contains unknown field"}

"""Visa PVV by hand: what is enciphered, and how the cryptogram becomes four digits."""

import pytest

from pinvault.clearzone.pin import Pin
from pinvault.clearzone.verification import pvv
from pinvault.model.pan import Pan
from pinvault.model.verification import Pvv

PAN = Pan("4000001234562000")


class Cipher:
    """Gives a chosen cryptogram, and remembers what it was asked to encipher."""

    def __init__(self, cryptogram: str) -> None:
        self.cryptogram = bytes.fromhex(cryptogram)
        self.asked: list[str] = []

    def __call__(self, block: bytes) -> bytes:
        self.asked.append(block.hex())
        return self.cryptogram


@pytest.mark.parametrize(
    ("pan", "pin", "key_index", "parameter"),
    [
        ("4000001234562000", b"7392", 1, "00123456200" + "1" + "7392"),
        ("4000001234562000", b"739205184627", 6, "00123456200" + "6" + "7392"),
        ("5060990000000151002", b"0000", 0, "00000015100" + "0" + "0000"),
        ("400000123452", b"7392", 3, "40000012345" + "3" + "7392"),
    ],
)
def test_the_parameter_is_pan_index_and_pin(
    pan: str, pin: bytes, key_index: int, parameter: str
) -> None:
    cipher = Cipher("0123456789ABCDEF")
    made = pvv.pvv(Pin(pin), pan=Pan(pan), key_index=key_index, encipher=cipher)
    assert made == Pvv(value="0123", key_index=key_index)
    assert cipher.asked == [parameter]


@pytest.mark.parametrize(
    ("cryptogram", "value"),
    [
        ("1234567890ABCDEF", "1234"),
        ("ABCDEFABCDEF1234", "1234"),
        ("ABCDEFABCDEFA123", "1230"),
        ("9ABCDEFABCDEFABC", "9012"),
        ("FEDCBAFEDCBAFEDC", "5432"),
        ("AAAAAAAAAAAAAAAA", "0000"),
    ],
)
def test_digits_come_before_letters(cryptogram: str, value: str) -> None:
    assert pvv.decimalise(bytes.fromhex(cryptogram)) == value


@pytest.mark.parametrize(("value", "right"), [("1234", True), ("1235", False), ("4321", False)])
def test_a_value_is_compared_with_the_one_made(value: str, right: bool) -> None:
    cipher = Cipher("1234567890ABCDEF")
    found = pvv.verify(Pin(b"7392"), value=Pvv(value=value, key_index=5), pan=PAN, encipher=cipher)
    assert found is right
    assert cipher.asked == ["00123456200" + "5" + "7392"]

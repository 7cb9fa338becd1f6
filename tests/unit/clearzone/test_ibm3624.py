"""IBM 3624 by hand: digits modulo 10, lengths that do not fit, and PINs that are wiped."""

import pytest

from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.clearzone.verification import ibm3624
from pinvault.model.pan import Pan
from pinvault.model.verification import Ibm3624Scheme, PinOffset, ValidationLayout

PAN = Pan("4000001234562000")
CRYPTOGRAM = "5C90E3A17B2D4F68"
TABLE = "0123456789012345"
NATURAL = "5290"  # 5, C as 2, 9, 0


class Cipher:
    """Gives the same cryptogram always, and remembers what it was asked to encipher."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, block: bytes) -> bytes:
        self.asked.append(block.hex())
        return bytes.fromhex(CRYPTOGRAM)


@pytest.fixture
def cipher() -> Cipher:
    return Cipher()


def scheme(check_length: int = 4, pin_length: int = 4) -> Ibm3624Scheme:
    return Ibm3624Scheme(
        name="programme",
        key="pvk",
        decimalisation_table=TABLE,
        validation=ValidationLayout(template="{account12}", pad="0"),
        check_length=check_length,
        pin_length=pin_length,
    )


def read(pin: Pin) -> str:
    with pin:
        return digits_of(pin).decode()


def test_the_natural_pin_is_the_decimalised_cryptogram_of_the_validation_block(
    cipher: Cipher,
) -> None:
    found = ibm3624.natural_pin(pan=PAN, scheme=scheme(12, 12), encipher=cipher)
    assert read(found) == "529043017123"
    assert cipher.asked == ["0001234562000000"]


@pytest.mark.parametrize(
    ("pin", "offset"),
    [
        (NATURAL, "0000"),
        ("6301", "1111"),
        ("4189", "9999"),
        ("0000", "5810"),
        ("9999", "4709"),
    ],
)
def test_an_offset_is_a_difference_without_borrows(cipher: Cipher, pin: str, offset: str) -> None:
    how = {"pan": PAN, "scheme": scheme(), "encipher": cipher}
    assert ibm3624.offset(Pin(pin.encode()), **how) == PinOffset(value=offset)
    assert read(ibm3624.pin_from_offset(PinOffset(value=offset), **how)) == pin


def test_where_fewer_digits_are_checked_they_are_the_last(cipher: Cipher) -> None:
    how = {"pan": PAN, "scheme": scheme(4, 6), "encipher": cipher}
    offset = PinOffset(value="1111")
    assert ibm3624.offset(Pin(b"770154"), **how) == offset
    assert read(ibm3624.pin_from_offset(offset, **how)) == "520154"
    found = [ibm3624.verify(Pin(pin), offset=offset, **how) for pin in (b"770154", b"770155")]
    assert found == [True, False]


@pytest.mark.parametrize("pin", [b"52904", b"529043017123"])
def test_a_pin_of_another_length_has_no_offset_and_is_wrong(cipher: Cipher, pin: bytes) -> None:
    """The HSM is asked all the same, so that neither the answer nor its time tells the length."""
    how = {"pan": PAN, "scheme": scheme(), "encipher": cipher}
    with pytest.raises(Malformed) as caught:
        ibm3624.offset(Pin(pin), **how)
    assert caught.value.args == ()
    assert ibm3624.verify(Pin(pin), offset=PinOffset(value="0000"), **how) is False
    assert len(cipher.asked) == 2


@pytest.mark.parametrize("value", ["00000", "000000000000"])
def test_an_offset_of_another_length_is_refused_before_anything_is_enciphered(
    cipher: Cipher, value: str
) -> None:
    how = {"pan": PAN, "scheme": scheme(), "encipher": cipher}
    with pytest.raises(ValueError, match="as many digits"):
        ibm3624.pin_from_offset(PinOffset(value=value), **how)
    with pytest.raises(ValueError, match="as many digits"):
        ibm3624.verify(Pin(b"5290"), offset=PinOffset(value=value), **how)
    assert cipher.asked == []


def test_the_pins_that_are_made_on_the_way_are_wiped(
    cipher: Cipher, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Pin] = []
    make = Pin.__init__

    def watched(self: Pin, digits: bytes | bytearray) -> None:
        make(self, digits)
        made.append(self)

    how = {"pan": PAN, "scheme": scheme(), "encipher": cipher}
    pin, offset = Pin(b"7392"), PinOffset(value="1111")
    monkeypatch.setattr(Pin, "__init__", watched)
    ibm3624.offset(pin, **how)
    ibm3624.verify(pin, offset=offset, **how)
    assert len(made) == 3
    assert all(set(digits_of(each)) == {0} for each in made)

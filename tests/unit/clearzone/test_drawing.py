"""Random PINs: every digit equally likely, none of them weak, and an end to the drawing."""

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinvault.clearzone.drawing import DRAWS, draw
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.strength import weak
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pin_rules import PinRules
from pinvault.model.profiles import PinLength

RULES = PinRules(name="cards")
bounded = settings(max_examples=200)


class Source:
    """Random bytes from a list, whose asked-for lengths are noted."""

    def __init__(self, *drawn: bytes) -> None:
        self.left: Iterator[bytes] = iter(drawn)
        self.asked: list[int] = []

    def __call__(self, length: int) -> bytes:
        self.asked.append(length)
        return next(self.left)


def digits(random: Callable[[int], bytes], length: int = 4, rules: PinRules | None = None) -> str:
    with draw(length, rules=rules, random=random) as pin:
        return digits_of(pin).decode()


def test_of_all_bytes_each_digit_comes_from_as_many() -> None:
    """25 of 256 each, and the six left over are drawn again."""
    counts: Counter[str] = Counter()
    for byte in range(256):
        source = Source(bytes([byte] * 4), b"\x01" * 4)
        found = digits(source)
        if len(source.asked) == 1:
            counts[found[0]] += 1
    assert counts == dict.fromkeys("0123456789", 25)


@bounded
@given(drawn=st.binary(min_size=64, max_size=64), length=st.integers(min_value=4, max_value=12))
def test_the_digits_are_those_of_the_bytes_below_250_in_their_order(
    drawn: bytes, length: int
) -> None:
    source = Source(*(drawn[at : at + 2 * length] for at in range(0, 64, 2 * length)), bytes(24))
    expected = "".join(str(byte % 10) for byte in drawn + bytes(24) if byte < 250)[:length]
    assert digits(source, length) == expected
    assert set(source.asked) == {2 * length}


@bounded
@given(seed=st.integers(), length=st.sampled_from([4, 6, 8, 12]))
def test_a_drawn_pin_is_never_weak(seed: int, length: int) -> None:
    with draw(length, rules=RULES, random=Random(seed).randbytes) as pin:
        assert not weak(pin, rules=RULES, current=None)


def test_without_rules_the_first_is_taken() -> None:
    assert digits(Source(bytes([1, 1, 1, 1]))) == "1111"


def test_weak_ones_are_wiped_and_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Pin] = []
    make = Pin.__init__

    def watched(self: Pin, chosen: bytes | bytearray) -> None:
        make(self, chosen)
        made.append(self)

    monkeypatch.setattr(Pin, "__init__", watched)
    source = Source(bytes([1, 1, 1, 1]), bytes([1, 2, 3, 4]), bytes([7, 3, 9, 2]))
    pin = draw(4, rules=RULES, random=source)
    assert digits_of(pin) == b"7392"
    assert [set(digits_of(each)) for each in made[:-1]] == [{0}, {0}]


def test_rules_that_allow_none_end_the_drawing() -> None:
    source = Source(*[bytes([1, 1, 1, 1])] * (DRAWS + 1))
    with pytest.raises(Refusal) as caught:
        draw(4, rules=RULES, random=source)
    assert (caught.value.reason, caught.value.field) == (Reason.PIN_WEAK, "")
    assert len(source.asked) == DRAWS


def test_a_length_that_the_rules_do_not_allow_is_never_drawn() -> None:
    six = PinRules(name="six", pin_length=PinLength(minimum=6, maximum=6))
    with pytest.raises(Refusal) as caught:
        draw(4, rules=six, random=lambda length: bytes([7, 3, 9, 2]).ljust(length, b"\xff"))
    assert caught.value.reason is Reason.PIN_WEAK

"""A PIN opens at one door and nowhere else: nothing shows, compares or copies its digits."""

import copy
import dataclasses
import io
import json
import logging
import operator
import pickle
import pprint
import random
import reprlib
import traceback

import msgspec
import pytest
import rich.pretty
import structlog
from hypothesis import given
from hypothesis import strategies as st

from pinvault.clearzone.opening import digits_of, length_of
from pinvault.clearzone.pin import MAX_DIGITS, MIN_DIGITS, Malformed, Pin

SECRET = "".join(random.Random(12).choices("0123456789", k=12))
PARTS = {SECRET[start : start + 4] for start in range(9)}


@dataclasses.dataclass(frozen=True)
class Carrier:
    pin: Pin


@pytest.fixture
def pin() -> Pin:
    return Pin(SECRET.encode())


def shows_nothing(text: str) -> bool:
    return not any(part in text for part in PARTS)


WAYS_TO_WRITE = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": lambda pin: format(pin, ">40"),
    "f-string": lambda pin: f"{pin} {pin!r} {pin!s} {pin!a} {pin:>20} {pin=}",
    "str.format": lambda pin: "{} {!r} {:<9}".format(pin, pin, pin),  # noqa: UP032
    "percent": lambda pin: "%s %r %.3s" % (pin, pin, pin),  # noqa: UP031
    "list": lambda pin: repr([pin]),
    "dict": lambda pin: str({"pin": pin}),
    "dataclass": lambda pin: repr(Carrier(pin)),
    "pprint": lambda pin: pprint.pformat({"pin": Carrier(pin)}),
    "reprlib": reprlib.repr,
    "rich": lambda pin: rich.pretty.pretty_repr({"pin": [pin]}, expand_all=True),
    "exception": lambda pin: repr(ValueError(pin)),
}


@pytest.mark.parametrize("write", WAYS_TO_WRITE.values(), ids=WAYS_TO_WRITE)
def test_no_way_of_writing_shows_a_digit(pin: Pin, write) -> None:
    text = write(pin)
    assert shows_nothing(text)
    assert not any(digit.isdigit() for digit in text)
    assert "<PIN>" in text


def test_logs_show_no_digit(pin: Pin) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger(__name__)
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning("%s %r", pin, [pin])
    logger.warning("%(pin)s", {"pin": pin})
    for renderer in (structlog.processors.JSONRenderer(), structlog.processors.LogfmtRenderer()):
        structlog.wrap_logger(
            structlog.PrintLogger(stream), processors=[renderer], context_class=dict
        ).warning("event", pin=pin)
    assert stream.getvalue().count("<PIN>") == 5
    assert shows_nothing(stream.getvalue())


def test_a_traceback_with_locals_shows_no_digit(pin: Pin) -> None:
    def fails(inner: Pin) -> None:
        raise RuntimeError

    try:
        fails(pin)
    except RuntimeError as error:
        told = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert "inner = <PIN>" in told
    assert shows_nothing(told)


FORBIDDEN = {
    "==": lambda pin: pin == pin,
    "== bytes": lambda pin: pin == SECRET.encode(),
    "bytes ==": lambda pin: SECRET.encode() == pin,
    "!=": lambda pin: pin != Pin(SECRET.encode()),
    "in": lambda pin: operator.contains([Pin(SECRET.encode())], pin),
    "<": lambda pin: operator.lt(pin, Pin(SECRET.encode())),
    "hash": hash,
    "set": lambda pin: {pin},
    "bool": bool,
    "not": operator.not_,
    "len": len,
    "iter": iter,
    "index": lambda pin: pin[0],
    "contains": lambda pin: b"1" in pin,
    "int": int,
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "asdict": lambda pin: dataclasses.asdict(Carrier(pin)),
    "vars": vars,
    "json": json.dumps,
    "msgspec": msgspec.json.encode,
    "to_builtins": msgspec.to_builtins,
    "reduce": lambda pin: pin.__reduce__(),
    **{
        f"pickle {protocol}": lambda pin, protocol=protocol: pickle.dumps(pin, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("use", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_would_compare_copy_or_spell_it_is_an_error_without_digits(pin: Pin, use) -> None:
    with pytest.raises(TypeError) as caught:
        use(pin)
    assert shows_nothing(str(caught.value))
    assert digits_of(pin) == SECRET.encode()


def test_a_pin_is_neither_true_nor_false_and_says_so(pin: Pin) -> None:
    with pytest.raises(TypeError, match="tested for truth"):
        bool(pin)


def test_a_pin_takes_no_attributes_and_has_no_dictionary(pin: Pin) -> None:
    with pytest.raises(AttributeError):
        pin.note = "x"  # type: ignore[attr-defined]
    assert not hasattr(pin, "__dict__")


@given(st.binary(max_size=20))
def test_a_pin_is_4_to_12_ascii_digits_and_nothing_else(digits: bytes) -> None:
    well_formed = MIN_DIGITS <= len(digits) <= MAX_DIGITS and set(digits) <= set(b"0123456789")
    try:
        made = digits_of(Pin(digits))
    except Malformed:
        made = None
    assert made == (digits if well_formed else None)


@given(st.text("0123456789", min_size=4, max_size=12))
def test_the_door_gives_the_digits_and_their_number(digits: str) -> None:
    for given_as in (digits.encode(), bytearray(digits, "ascii")):
        with Pin(given_as) as pin:
            assert digits_of(pin) == digits.encode()
            assert length_of(pin) == len(digits)


def test_a_pin_keeps_its_own_copy_of_what_it_was_given() -> None:
    given_as = bytearray(SECRET, "ascii")
    pin = Pin(given_as)
    given_as[:] = bytes(12)
    assert digits_of(pin) == SECRET.encode()


def test_a_pin_is_overwritten_in_place_when_its_block_ends(pin: Pin) -> None:
    storage = pin._digits
    with pin as same:
        assert same is pin
    assert storage == bytearray(12)
    assert digits_of(pin) == bytes(12)


def test_a_pin_is_overwritten_when_its_block_fails(pin: Pin) -> None:
    storage = pin._digits
    with pytest.raises(RuntimeError), pin:
        raise RuntimeError
    assert storage == bytearray(12)


@pytest.mark.parametrize(
    "digits", [b"", b"1" * 3, b"1" * 13, b"12a4"], ids=["0", "3", "13", "letter"]
)
def test_malformed_carries_nothing(digits: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        Pin(digits)
    assert caught.value.args == ()
    assert str(caught.value) == ""
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert vars(caught.value) == {"cause": ""}


def test_the_cause_is_for_the_record_alone() -> None:
    malformed = Malformed("lives-too-long")
    assert malformed.cause == "lives-too-long"
    assert malformed.args == ()
    assert str(malformed) == ""

"""A PAN can be compared and asked for its digits on purpose; nothing else shows or copies them."""

import copy
import dataclasses
import json
import logging
import pickle
import pprint

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinBlockSource

NUMBER = "5060990000000151002"
PARTS = {NUMBER[start : start + 4] for start in range(16)}

pans = st.text("0123456789", min_size=12, max_size=19)


@pytest.fixture
def pan() -> Pan:
    return Pan(NUMBER)


def shows_nothing(text: str) -> bool:
    return not any(part in text for part in PARTS)


WAYS_TO_WRITE = {
    "repr": repr,
    "str": str,
    "format": lambda pan: format(pan, ">40"),
    "f-string": lambda pan: f"{pan} {pan!r} {pan!s} {pan!a} {pan:>20} {pan=}",
    "percent": lambda pan: "%s %r" % (pan, pan),  # noqa: UP031
    "list": lambda pan: repr([pan]),
    "pprint": lambda pan: pprint.pformat({"pan": pan}),
    "exception": lambda pan: repr(ValueError(pan)),
    "log record": lambda pan: logging.LogRecord(
        "n", logging.INFO, "p", 1, "%s %r", (pan, [pan]), None
    ).getMessage(),
    "dataclass": lambda pan: repr(
        PinBlockSource(key="k", format=Format.ISO_0, pan=pan, ciphertext=b"ciphertext")
    ),
}


@pytest.mark.parametrize("write", WAYS_TO_WRITE.values(), ids=WAYS_TO_WRITE)
def test_no_way_of_writing_shows_a_digit(pan: Pan, write) -> None:
    text = write(pan)
    assert shows_nothing(text)
    assert "<PAN>" in text


FORBIDDEN = {
    "hash": hash,
    "set": lambda pan: {pan},
    "len": len,
    "iter": iter,
    "index": lambda pan: pan[0],
    "<": lambda pan: pan < Pan("4111111111111111"),
    "bytes": bytes,
    "int": int,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "asdict": lambda pan: dataclasses.asdict(
        PinBlockSource(key="k", format=Format.ISO_0, pan=pan, ciphertext=b"")
    ),
    "vars": vars,
    "json": json.dumps,
    "msgspec": msgspec.json.encode,
    **{
        f"pickle {protocol}": lambda pan, protocol=protocol: pickle.dumps(pan, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("use", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_would_copy_or_spell_it_is_an_error_without_digits(pan: Pan, use) -> None:
    with pytest.raises(TypeError) as caught:
        use(pan)
    assert shows_nothing(str(caught.value))


@given(pans, pans)
def test_pans_are_equal_when_their_whole_texts_are(one: str, other: str) -> None:
    assert Pan(one).same_as(Pan(other)) is (one == other)
    assert (Pan(one) == Pan(other)) is (one == other)
    assert Pan(one) == Pan(one)
    assert Pan(one) != Pan(one[::-1]) or one == one[::-1]


def test_a_pan_is_not_equal_to_its_text(pan: Pan) -> None:
    assert pan != NUMBER
    assert pan not in (NUMBER, NUMBER.encode())


@given(pans)
def test_the_digits_are_given_on_request(digits: str) -> None:
    assert Pan(digits).digits() == digits


@given(st.text(max_size=24))
def test_texts_that_are_no_pan_are_refused_without_being_repeated(text: str) -> None:
    well_formed = 12 <= len(text) <= 19 and set(text) <= set("0123456789")
    if not well_formed:
        with pytest.raises(ValueError) as caught:
            Pan(text)
        assert str(caught.value) == "a PAN has 12 to 19 decimal digits"


@pytest.mark.parametrize(
    "text",
    [
        "4" * 11,
        "4" * 20,
        "4111111111111111\n",
        " 4111111111111111",
        "4111-1111-1111-1111",
        "\u0664" * 16,
        "\u00b2" * 16,
        "\uff14" * 16,
    ],
    ids=["11", "20", "newline", "space", "dashes", "arabic", "superscript", "fullwidth"],
)
def test_what_only_looks_like_a_pan_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Pan(text)


def test_ciphertexts_do_not_stand_in_the_repr_of_a_source(pan: Pan) -> None:
    source = PinBlockSource(key="k", format=Format.ISO_0, pan=pan, ciphertext=b"ciphertext")
    assert "ciphertext" not in repr(source)

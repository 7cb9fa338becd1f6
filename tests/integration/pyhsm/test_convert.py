"""Conversions there and back, and refusals that do not repeat what they refuse."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsm.pyhsm.convert import bytes_to_hex, bytes_to_str, hex_to_bytes, str_to_bytes
from hsm.pyhsm.hsmerror import HsmError

SECRET = "\N{LATIN SMALL LETTER E WITH ACUTE}-4711"


@given(st.binary(min_size=1))
def test_hexadecimal_there_and_back(data):
    assert hex_to_bytes(bytes_to_hex(data)) == hex_to_bytes(bytes_to_hex(data).upper()) == data
    assert bytes_to_hex(bytearray(data)) == data.hex()


@given(st.text(st.characters(max_codepoint=127)))
def test_text_there_and_back(text):
    assert bytes_to_str(str_to_bytes(text)) == text


@given(st.text())
@example("0")
@example("00 11")
@example("0x11")
def test_what_is_no_hexadecimal_is_refused(text):
    try:
        expected = bytes.fromhex(text) if "".join(text.split()) == text else None
    except ValueError:
        expected = None
    if expected is None:
        with pytest.raises(HsmError):
            hex_to_bytes(text)
    else:
        assert hex_to_bytes(text) == (expected or "")


@pytest.mark.parametrize(
    ("function", "value"),
    [
        *[(bytes_to_hex, value) for value in (b"", bytearray(), SECRET, None)],
        *[(hex_to_bytes, value) for value in (SECRET, b"4711", None)],
        *[(bytes_to_str, value) for value in (SECRET, SECRET.encode(), None)],
        (str_to_bytes, SECRET),
    ],
)
def test_refusals(function, value):
    with pytest.raises(HsmError) as caught:
        function(value)
    assert "4711" not in str(caught.value)
    assert caught.value.__context__ is None


def test_what_is_no_text_passes():
    assert str_to_bytes(b"\xff") == b"\xff"

"""Bodies that are not what is asked for: told by place and kind, with nothing of what they hold."""

from dataclasses import replace
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.edge.body import decode
from pinvault.edge.dialect import Refused
from tests.support.toy_edge import ARRIVED

PAN = "4000001234562000"
UNKNOWN = {"path": "$", "problem": "Object contains unknown field"}
NONE_OF_THEM = "Invalid enum value"


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member that has members."""

    kind: Literal["one", "two"] = "one"


class Tagged(msgspec.Struct, frozen=True, tag="tagged"):
    """One of two that are told by their tags."""


class Other(msgspec.Struct, frozen=True, tag="other"):
    """The other."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """A request of members of all sorts."""

    kind: Literal["one", "two"] = "one"
    number: Literal[1, 2] = 1
    inner: Inner = Inner()
    either: Tagged | Other = Other()
    text: Annotated[str, msgspec.Meta(pattern="^[a-z]*$")] = ""
    counts: dict[str, int] = {}


def told(content: object) -> dict[str, str]:
    with pytest.raises(Refused) as caught:
        decode(replace(ARRIVED, body=msgspec.json.encode(content)), Asked)
    assert caught.value.reason == "BODY_INVALID"
    assert caught.value.__context__ is None
    return dict(caught.value.context)


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"kind": PAN}, "$.kind"),
        ({"number": int(PAN)}, "$.number"),
        ({"inner": {"kind": PAN}}, "$.inner.kind"),
        ({"either": {"type": PAN}}, "$.either.type"),
    ],
    ids=range(4),
)
def test_a_value_that_is_none_of_several_is_not_repeated(content: object, path: str) -> None:
    assert told(content) == {"path": path, "problem": NONE_OF_THEM}


@pytest.mark.parametrize("content", [{PAN: 1}, {"inner": {PAN: 1}}], ids=range(2))
def test_the_name_of_an_unknown_member_is_not_repeated(content: object) -> None:
    assert told(content) == UNKNOWN


@given(st.text() | st.from_regex(r"[0-9]{4}'? - at `\$\.[a-z]{1,3}`?", fullmatch=True))
def test_nothing_of_a_value_or_a_name_comes_back(text: str) -> None:
    """Also where it looks like what the decoder says."""
    if text not in {"one", "two"}:
        assert told({"kind": text}) == {"path": "$.kind", "problem": NONE_OF_THEM}
    assert told({f"x{text}": 1}) == UNKNOWN


def test_what_is_asked_for_is_told() -> None:
    assert told({"text": 5}) == {"path": "$.text", "problem": "Expected `str`, got `int`"}
    assert told({"text": PAN})["problem"] == "Expected `str` matching regex '^[a-z]*$'"
    assert told({"counts": {PAN: PAN}})["path"] == "$.counts[...]"
    assert told([PAN]) == {"path": "$", "problem": "Expected `object`, got `array`"}

"""Only the clear zone reveals a key component, and nothing shows one."""

import ast
import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pinvault
from pinvault.model.custody import COMPONENT_BYTES, KeyComponent

HOME = Path(pinvault.__file__).parent
VALUES = st.sampled_from(COMPONENT_BYTES).flatmap(
    lambda size: st.binary(min_size=size, max_size=size)
)
SECRET = bytes.fromhex("C1D0F8FB4958670DBA40AB1F3752EF0D")


def reveals(source: str) -> bool:
    """Whether a program names what opens a component."""
    nodes = ast.walk(ast.parse(source))
    return any(isinstance(node, ast.Attribute) and node.attr == "in_the_clear" for node in nodes)


def test_only_the_clear_zone_reveals_components() -> None:
    found = {
        path.relative_to(HOME).parts[0]
        for path in HOME.rglob("*.py")
        if reveals(path.read_text(encoding="utf-8"))
    }
    assert found == {"clearzone"}


@given(VALUES)
def test_a_component_is_what_was_typed(value: bytes) -> None:
    grouped = " ".join(f"{value.hex()[at : at + 4]}" for at in range(0, 2 * len(value), 4))
    for text in (
        value.hex(),
        value.hex().upper(),
        grouped,
        grouped.encode(),
        bytearray(grouped, "ascii"),
    ):
        assert KeyComponent.from_hex(text).in_the_clear() == value
    component = KeyComponent(value)
    assert component.length == len(value)
    assert component.is_zero == (not any(value))
    assert component.has_odd_parity == all(f"{byte:b}".count("1") % 2 for byte in value)
    assert component.same_as(KeyComponent.from_hex(value.hex()))


@given(VALUES, st.integers(0))
def test_every_bit_tells_components_apart(value: bytes, place: int) -> None:
    at, bit = divmod(place % (8 * len(value)), 8)
    other = bytearray(value)
    other[at] ^= 1 << bit
    assert not KeyComponent(value).same_as(KeyComponent(other))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "00",
        "00" * 15,
        "00" * 17,
        "00" * 33,
        "0g" * 16,
        "00" * 15 + "0",
        "\u0660" * 32,
        "0x" * 16,
    ],
)
def test_what_is_no_component_is_told_without_it(text: str) -> None:
    for given_text in (text, text.encode()):
        with pytest.raises(ValueError, match="a key component is") as refused:
            KeyComponent.from_hex(given_text)
        assert str(refused.value) == "a key component is 32, 48 or 64 hex digits"
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__


@pytest.mark.parametrize("show", [repr, str, format, "{:>40}".format, "%r".__mod__, ascii])
def test_a_component_shows_nothing(show: Callable[[object], str]) -> None:
    assert show(KeyComponent(SECRET)).strip() == "<key component>"


@pytest.mark.parametrize(
    "use",
    [
        lambda component: component == component,
        lambda component: component != SECRET,
        hash,
        bool,
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        lambda component: component.__getstate__(),
    ],
    ids=["==", "!=", "hash", "bool", "pickle", "copy", "deepcopy", "getstate"],
)
def test_a_component_cannot_be_used_up_or_copied(use: Callable[[KeyComponent], object]) -> None:
    with pytest.raises(TypeError) as refused:
        use(KeyComponent(SECRET))
    assert SECRET.hex() not in str(refused.value).lower()


def test_a_wiped_component_is_gone() -> None:
    component = KeyComponent(SECRET)
    component.wipe()
    assert component.is_zero
    assert component.in_the_clear() == bytes(16)

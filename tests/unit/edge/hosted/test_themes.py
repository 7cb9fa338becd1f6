"""Texts that are complete in every language, and themes that everybody can read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pinvault.edge.files import EdgeError
from pinvault.edge.hosted import themes
from tests.unit.edge.hosted.asking import LANGUAGES, ROOT


def shape(value: object) -> object:
    """What of a catalogue must be the same in all: names, lists, and the numbers in texts."""
    if isinstance(value, dict):
        plural = "other" in value
        return "plural" if plural else {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return sorted(re.findall(r"\{\w+\}", str(value)))


def test_every_catalogue_says_everything() -> None:
    shapes = {
        path.stem: shape(json.loads(path.read_text())) for path in (ROOT / "catalogue").iterdir()
    }
    assert set(shapes) == set(LANGUAGES)
    assert shapes["fr"] == shapes["en"] == shapes["ar"]


THEMES = sorted(path.name for path in (ROOT / "themes").iterdir())


@pytest.mark.parametrize("name", THEMES)
def test_every_theme_can_be_read_by_everybody(name: str) -> None:
    themes.load(ROOT / "themes" / name)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda theme: theme.pop("letter"), "missing required field `letter`"),
        (lambda theme: theme.update(css="x"), "unknown field `css`"),
        (lambda theme: theme.update(radius="calc(1px)"), "radius"),
        (lambda theme: theme.update(font="a; background: url(b)"), "font"),
        (lambda theme: theme["dark"].update(accent="red"), "dark.accent"),
        (lambda theme: theme["light"].update(muted="#999999"), "light.muted: stands out too"),
        (lambda theme: theme["dark"].update(line="#222222"), "dark.line: stands out too"),
    ],
)
def test_what_is_no_theme_is_told_with_its_place(tmp_path: Path, change: Any, told: str) -> None:
    theme = json.loads((ROOT / "themes/default.json").read_text())
    change(theme)
    path = tmp_path / "theme.json"
    path.write_text(json.dumps(theme))
    with pytest.raises(EdgeError) as error:
        themes.load(path)
    assert told in str(error.value)


def test_a_theme_that_is_no_json_is_told(tmp_path: Path) -> None:
    path = tmp_path / "theme.json"
    path.write_bytes(b"\xff")
    with pytest.raises(EdgeError, match="is not JSON"):
        themes.load(path)

"""How a program's page looks: a name, a letter, corners, a font, and colours for light and dark.

Rules:
- A theme holds plain values, never CSS: colours as #rrggbb, a radius in px, names of fonts.
- What cannot be read is no theme: WCAG 2.2 asks for a contrast of 4.5 to 1 of texts (1.4.3) and of
  3 to 1 of what outlines a field (1.4.11), in both schemes.
"""

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pinvault.edge.files import EdgeError, Section, into, read_bytes

EXAMPLE: Final = "pinvault/edge/hosted/themes/default.json"
TEXT, OUTLINE = 4.5, 3.0
_PAIRS: Final = (
    *((name, "surface", TEXT) for name in ("text", "muted", "accent", "danger", "success")),
    ("on_accent", "accent", TEXT),
    ("line", "surface", OUTLINE),
)
Colour = Annotated[str, Meta(pattern=r"^#[0-9A-Fa-f]{6}\Z")]


class Scheme(Section, frozen=True, kw_only=True):
    """The colours of one scheme."""

    accent: Colour
    on_accent: Colour
    page: Colour
    surface: Colour
    text: Colour
    muted: Colour
    line: Colour
    danger: Colour
    success: Colour


class Theme(Section, frozen=True, kw_only=True):
    """A theme as the page takes it; `letter` stands in the sign beside the name."""

    name: Annotated[str, Meta(min_length=1, max_length=40)]
    letter: Annotated[str, Meta(min_length=1, max_length=2)]
    radius: Annotated[str, Meta(pattern=r"^[0-9]{1,2}px\Z")]
    font: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_ ,'\"-]+\Z")]
    light: Scheme
    dark: Scheme


def load(path: Path) -> Theme:
    """Read a theme; EdgeError, with the remedy, when it is none or cannot be read by everybody."""
    try:
        data = msgspec.json.decode(read_bytes(path))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise EdgeError(path, "", f"is not JSON in UTF-8: see {EXAMPLE}") from None
    theme: Theme = into(Theme, data, path=path, example=EXAMPLE)
    for name, scheme in (("light", theme.light), ("dark", theme.dark)):
        for one, other, least in _PAIRS:
            if contrast(getattr(scheme, one), getattr(scheme, other)) < least:
                text = f"stands out too little from {other}: {least} to 1 at least"
                raise EdgeError(path, f"{name}.{one}", text)
    return theme


def contrast(one: str, other: str) -> float:
    """Give the contrast ratio of two colours (WCAG 2.2, "contrast ratio"), 1.0 to 21.0.

    >>> round(contrast("#000000", "#ffffff"), 1)
    21.0
    """
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)

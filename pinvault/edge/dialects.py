"""The dialects there are, and what the core needs of each: its options, its callers, itself.

Rules:
- A dialect's package gives `Options` (its section), `Caller` (an entry of its credentials) and
  `build(ground)`; it is imported when the configuration has it.
- The hosted page is served as a dialect is. It has a section and no callers, and its package gives
  `build(page, vault, *, now, log, folder)`.
- `build` raises `Unfit` for an option that cannot be.
"""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Final

PACKAGES: Final[Mapping[str, str]] = {
    kind: f"pinvault.edge.{kind}"
    for kind in ("connectfi", "hashdt", "interswitch", "marqeta", "rapyd")
}


def package(kind: str) -> ModuleType | None:
    """Import a dialect's package; None when there is no dialect of this kind."""
    name = PACKAGES.get(kind)
    return importlib.import_module(name) if name is not None else None


def hosted() -> ModuleType:
    """Import the hosted page's package."""
    return importlib.import_module("pinvault.edge.hosted")

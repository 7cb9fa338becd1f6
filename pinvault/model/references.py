"""Verification values as calls name them: a scheme by name, and what belongs to the card."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeRef:
    """A verification scheme of the configuration; `key_index` is given for a Visa PVV alone."""

    name: str
    key_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRef:
    """A card's PVV or offset by a scheme."""

    scheme: SchemeRef
    digits: str = field(repr=False)

"""Verification values as calls name them: a scheme by name, and what belongs to the card."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeRef:
    """A verification scheme of the configuration; `key_index` is given for a Visa PVV alone."""

    name: str
    key_index: int | None = None

    @property
    def kind(self) -> str:
        """The field that a request has for the scheme."""
        return "ibm_3624" if self.key_index is None else "visa_pvv"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRef:
    """A card's PVV or offset by a scheme."""

    scheme: SchemeRef
    digits: str = field(repr=False)

    @property
    def kind(self) -> str:
        """The field that a request has for the value."""
        return "ibm_3624_offset" if self.scheme.key_index is None else "visa_pvv"

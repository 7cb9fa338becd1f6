"""What a vendor's answers tell besides PINs, from a file that the program's own systems write.

    {"defaults": {"programType": "debit"}, "cards": {"icrd_575fma7w": {"customerId": "cus_1"}}}

Rules:
- The PIN vault knows no customers; what is not in this file is not in an answer.
- A card's facts stand by its external id, over the defaults, member by member.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pinvault.edge.files import EdgeError, read_bytes


class _File(msgspec.Struct, forbid_unknown_fields=True):
    defaults: dict[str, Any] = {}
    cards: dict[str, dict[str, Any]] = {}


class Facts:
    """The facts of one program's cards."""

    def __init__(self, defaults: Mapping[str, Any], cards: Mapping[str, Mapping[str, Any]]) -> None:
        self._defaults, self._cards = defaults, cards

    def of(self, external_id: str | None) -> Mapping[str, Any]:
        """Give what is known of a card; the defaults, of one that the file does not name."""
        own = self._cards.get(external_id, {}) if external_id is not None else {}
        return {**self._defaults, **own}

    def tell_of(self, member: str) -> bool:
        """Say whether a member is told of any card."""
        return any(member in told for told in (self._defaults, *self._cards.values()))


def load(path: Path | None) -> Facts:
    """Read a file of facts; without one nothing is known."""
    if path is None:
        return Facts({}, {})
    try:
        found = msgspec.json.decode(read_bytes(path), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = 'is not JSON with "defaults" and "cards", objects both: see edge.example.toml'
        raise EdgeError(path, "", text) from None
    return Facts(found.defaults, found.cards)

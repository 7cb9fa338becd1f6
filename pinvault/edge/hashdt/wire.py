"""HashDT's JSON: what is answered, with the vendor's names and order of members.

Rules:
- An address opens a session: it is printed by its type alone.
"""

from typing import Any, Literal

import msgspec


class PinUrl(msgspec.Struct, frozen=True):
    """Where the page is; the member has this name for all three actions."""

    set_pin_url: str

    def __repr__(self) -> str:
        return "<PinUrl>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Keep rich from looking inside."""
        return []


class Fetched(msgspec.Struct, frozen=True):
    """A session was made; `data` has one address."""

    status: Literal["Success"]
    message: str
    code: int
    data: tuple[PinUrl, ...]


class NotDone(msgspec.Struct, frozen=True):
    """Why it was not done; `code` is the HTTP status."""

    code: int
    message: str
    status: Literal["error"]

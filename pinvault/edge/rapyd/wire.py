"""Rapyd's JSON: what is asked and answered, with the vendor's names and order of members.

Rules:
- A member that the documents do not name is passed over.
- A request is printed by its type alone: a card's number may stand in it.
"""

from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from pinvault.edge.clear_pin import ClearPin

_REFUSED_IN_SANDBOX = "1111"


class SandboxPin(ClearPin):
    """A clear PIN that the vendor's sandbox takes: any but one."""

    __slots__ = ()

    @classmethod
    def taken(cls, value: object) -> Self:
        """Take what the decoder found, as every clear PIN is taken."""
        if value == _REFUSED_IN_SANDBOX:
            raise ValueError("Expected another PIN, in the sandbox")
        return super().taken(value)


class PinRequest(msgspec.Struct, frozen=True):
    """Which card, by id or number, and the PIN that it shall have."""

    card: Annotated[str, Meta(min_length=1, max_length=64)]
    new_pin: ClearPin

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Keep rich from looking inside."""
        return []


class SandboxPinRequest(PinRequest, frozen=True):
    """The same, in the sandbox."""

    new_pin: SandboxPin


class Status(msgspec.Struct, frozen=True):
    """What came of it; `operation_id` is a UUID, `response_code` the error's code again."""

    error_code: str
    status: Literal["SUCCESS", "ERROR"]
    message: str
    response_code: str
    operation_id: str


class Done(msgspec.Struct, frozen=True):
    """It was done; `data` tells of the issued card."""

    status: Status
    data: dict[str, Any]


class NotDone(msgspec.Struct, frozen=True):
    """It was not done."""

    status: Status

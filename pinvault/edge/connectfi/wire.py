"""ConnectFi's JSON: what is asked and answered, with the vendor's names and order of members.

Rules:
- A member that the schema does not name is passed over.
- An answer holds no PIN, and no error repeats one.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pinvault.edge.clear_pin import FourDigitPin

CARD_ID_PATTERN = "^[0-9a-zA-Z_]+$"
CARD_ID_LENGTH = 36

CardId = Annotated[
    str,
    # `$` of Python takes a line feed after it; `$` of JSON Schema does not
    Meta(pattern=rf"{CARD_ID_PATTERN}(?!\n)", min_length=1, max_length=CARD_ID_LENGTH),
]


class PinRequest(msgspec.Struct, frozen=True, rename={"card_id": "cFiCardId"}):
    """The body of set-pin and of check-pin."""

    card_id: CardId
    pin: FourDigitPin


class Done(msgspec.Struct, frozen=True, rename="camel"):
    """It was done; `data` tells of the card, `request_id` is 32 hex digits."""

    code: str
    data: dict[str, Any]
    request_id: str


class SchemaFault(msgspec.Struct, frozen=True, rename="camel"):
    """Where a body breaks its JSON Schema, in the words of the validator Ajv."""

    instance_path: str
    schema_path: str
    keyword: str
    params: dict[str, str | int]
    message: str


class NotDone(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """It was not done; a breach of the schema has its faults as `context`, and no message."""

    request_id: str
    code: str
    context: dict[str, str] | tuple[SchemaFault, ...] | UnsetType = UNSET
    message: str | UnsetType = UNSET

"""Interswitch's JSON: what is asked and answered, with the vendor's names and order of members.

Rules:
- A member that the documents do not name is passed over.
- A request is printed by its type alone: there is a PAN in it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

# `$` of Python takes a line feed after it; `$` of JSON Schema does not
_END = r"$(?!\n)"
UserId = Annotated[str, Meta(min_length=3, max_length=20)]
PanText = Annotated[str, Meta(pattern=rf"^[0-9]{{16,19}}{_END}")]
SequenceNumber = Annotated[str, Meta(pattern=rf"^[0-9]{{3}}{_END}")]
Expiry = Annotated[str, Meta(pattern=rf"^[0-9]{{2}}(0[1-9]|1[0-2]){_END}")]
AccountType = Annotated[str, Meta(pattern=rf"^[0-9]{{2}}{_END}")]
Cvv2 = Annotated[str, Meta(pattern=rf"^([0-9]{{3}})?{_END}")]
InstitutionId = Annotated[str, Meta(pattern=rf"^[0-9]{{0,11}}{_END}")]
PinField = Annotated[str, Meta(pattern=rf"^([0-9a-fA-F]{{2}}){{256,512}}{_END}")]
BlankPinField = Annotated[str, Meta(pattern=rf"^(([0-9a-fA-F]{{2}}){{256,512}})?{_END}")]

FORMS: Final[Mapping[str, str]] = {
    "issuerNr": "must be a number of up to 3 digits",
    "pan": "must have 16 to 19 digits",
    "seqNr": "must have 3 digits",
    "expiryDate": "must be YYMM",
    "pin": "must be an RSA ciphertext in hex, of 512 digits for 2048 bits",
    "oldPin": "must be an RSA ciphertext in hex, of 512 digits for 2048 bits",
    "accountType": "must have 2 digits",
    "userId": "must have 3 to 20 characters",
    "cvv2": "must have 3 digits",
    "rid": "must have up to 11 digits",
    "customerId": "must have up to 25 characters",
    "mobileNr": "must have up to 25 characters",
}
"""What a caller is told of a member that is not so."""


class _Quiet(msgspec.Struct, frozen=True, rename="camel"):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Keep rich from looking inside."""
        return []


class ChangeRequest(_Quiet, frozen=True, kw_only=True):
    """Which card, its PINs in cipher, and what is passed over; `expiry_date` is YYMM."""

    pan: PanText
    seq_nr: SequenceNumber
    expiry_date: Expiry
    pin: PinField
    account_type: AccountType
    user_id: UserId
    old_pin: BlankPinField | None = None
    cvv2: Cvv2 | None = None
    rid: InstitutionId | None = None


class ReissueRequest(_Quiet, frozen=True, kw_only=True):
    """Which card, and what is passed over."""

    issuer_nr: Annotated[int, Meta(ge=0, le=999)]
    pan: PanText
    seq_nr: SequenceNumber
    expiry_date: Expiry
    user_id: UserId
    customer_id: Annotated[str, Meta(max_length=25)] | None = None
    mobile_nr: Annotated[str, Meta(max_length=25)] | None = None


class Changed(msgspec.Struct, frozen=True, rename="camel"):
    """It was done; `correlation_id` is 32 hex digits."""

    code: str
    description: str
    correlation_id: str


class Reissued(_Quiet, frozen=True):
    """There is a new PIN, here in cipher under the caller's key."""

    code: str
    description: str
    correlation_id: str
    pin: str
    pin_offset: str | UnsetType = UNSET


class Fault(msgspec.Struct, frozen=True):
    """What was wrong: a code of ISO 8583, and a text."""

    code: str
    message: str


class NotDone(msgspec.Struct, frozen=True, rename="camel"):
    """It was not done."""

    code: str
    description: str
    correlation_id: str
    errors: tuple[Fault, ...] | UnsetType = UNSET

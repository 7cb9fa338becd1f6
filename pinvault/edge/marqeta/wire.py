"""Marqeta's JSON: what is asked and answered, with the vendor's names.

Rules:
- A member that the documents do not name is passed over.
- Nothing here is printed but by its type: there is a token or a PIN in it.
- `Revealed` is the one answer that has a PIN.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pinvault.client.card_values import TokenType, VerifiedBy
from pinvault.edge.clear_pin import FourDigitPin

Token = Annotated[str, Meta(min_length=1, max_length=36)]


class _Quiet(msgspec.Struct, frozen=True):
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Keep rich from looking inside."""
        return []


class TokenRequest(_Quiet, frozen=True):
    """Which card, and what the token is for."""

    card_token: Token
    controltoken_type: TokenType = "SET_PIN"


class TokenIssued(_Quiet, frozen=True):
    """A token for one use."""

    control_token: str


class PinRequest(_Quiet, frozen=True):
    """A token, and the PIN that its card shall have."""

    control_token: Token
    pin: FourDigitPin


class RevealRequest(_Quiet, frozen=True):
    """A token, and how it was made sure that the cardholder asks."""

    control_token: Token
    cardholder_verification_method: VerifiedBy


class Revealed(_Quiet, frozen=True):
    """The PIN of a card, in the clear."""

    pin: str


class NotDone(msgspec.Struct, frozen=True):
    """Why it was not done; the first three digits of the code are the HTTP status."""

    error_code: str
    error_message: str

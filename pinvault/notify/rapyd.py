"""Tells of a PIN that was set as Rapyd does: its webhook ISSUED_CARD_PIN_SET, by its signature.

Rules:
- Rapyd has one type for what happens to PINs, so an endpoint is told of `pin.set` and of nothing
  else. A receiver finds it under the card's external id, which is Rapyd's id of the card.
- What pinvault does not know of a card, such as its BIN, the configuration says, the same for all
  cards of the endpoint; what pinvault knows stands above it.
- The signature covers the whole URL, a salt, the time and the body, and is the base64 of the hex
  digits of the digest. The secret stands in its text too, so one secret signs, not two.

Rapyd does not document where all of it comes from. The id of the issued card is `ci_` and the first
32 hex digits of the SHA-256 of our card id, as in the answers of the edge: a card has one id.
`created_at` of the card is when it was registered here.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from pinvault.model.cards import CardEvent, CardStatus, EventType
from pinvault.notify.bodies import TEST
from pinvault.notify.endpoints import Endpoint
from pinvault.notify.signing import BadSecret, Signs, read_line

EVENTS: Final = frozenset({EventType.PIN_SET})
_TYPE: Final = "ISSUED_CARD_PIN_SET"
_STATUSES: Final[Mapping[CardStatus, str]] = {
    CardStatus.INACTIVE: "INA",
    CardStatus.ACTIVE: "ACT",
    CardStatus.SUSPENDED: "BLO",
    CardStatus.CLOSED: "BLO",
}
_SECRET: Final = re.compile(r"[!-~]{16,256}")
_LINE: Final = "the secret key, 16 to 256 printable characters without a space"
_SALT_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RapydEndpoint(Endpoint):
    """A receiver of Rapyd's webhooks; `data` is what the configuration says of every card."""

    access_key: str = field(repr=False)
    data: Mapping[str, Any] = field(default_factory=dict)

    secrets_at: ClassVar[str] = "secret_file"

    def body(self, event: CardEvent) -> str:
        """Write the webhook of an event."""
        return _written(_TYPE, self._card(event), operation=event.operation, at=event.at)

    def test_body(self, *, at: float) -> str:
        """Write what tells of nothing; `at` in Unix seconds."""
        return _written(TEST, {}, operation="", at=at)

    def signer(self) -> Signs:
        """Read the secret key, or raise BadSecret."""
        (path,) = self.secret_files
        secret = read_line(path, line=_LINE)
        if not _SECRET.fullmatch(secret):
            raise BadSecret(path, "the file holds no secret", line=_LINE)
        return RapydSigner(url=self.target.url, access_key=self.access_key, secret=secret)

    def _card(self, event: CardEvent) -> dict[str, Any]:
        """Give what is told of the card; `expiration` is MMYY."""
        public = self.data.get("public_details", {})
        known = {
            "id": f"ci_{hashlib.sha256(event.card_id.encode()).hexdigest()[:32]}",
            "status": _STATUSES[event.status],
            "card_id": event.external_id or event.card_id,
            "public_details": {
                **public,
                "last4": event.last_four,
                "expiration": event.expiry[2:] + event.expiry[:2],
            },
            "created_at": int(event.registered_at),
        }
        return {**known, **self.data, **known}  # known first, and not overridden


@dataclass(frozen=True, slots=True, kw_only=True)
class RapydSigner:
    """Signs with the keys of one account; `salt` draws 8 to 16 characters."""

    url: str = field(repr=False)
    access_key: str = field(repr=False)
    secret: str = field(repr=False)
    salt: Callable[[], str] = lambda: secrets.token_hex(_SALT_BYTES)

    def headers(self, message: str, body: str, *, at: float) -> dict[str, str]:
        """Give the headers of an attempt; the message's id stands in its body."""
        del message
        salt, timestamp = self.salt(), str(int(at))
        signed = f"{self.url}{salt}{timestamp}{self.access_key}{self.secret}{body}"
        digest = hmac.new(self.secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
        return {
            "salt": salt,
            "timestamp": timestamp,
            "signature": base64.b64encode(digest.encode()).decode(),
        }


def _written(what: str, data: Mapping[str, Any], *, operation: str, at: float) -> str:
    """Write a webhook; its id is its own, and stays as long as it is sent again."""
    told = {
        "id": f"wh_{uuid.uuid4().hex}",
        "type": what,
        "data": data,
        "trigger_operation_id": operation,
        "status": "NEW",
        "created_at": int(at),
        "extended_timestamp": int(at * 1000),
    }
    return json.dumps(told, separators=(",", ":"))

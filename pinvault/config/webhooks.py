"""The sections that say who is told what of cards' PINs, and how the sender works.

Rules:
- Only the names of secret files stand here: who reads the configuration reads no secret.
- A receiver inside is reached by leave alone: its network is named, and is a private one.
"""

import json
from pathlib import Path
from typing import Annotated, Any, TypedDict

from msgspec import Meta, field

from pinvault.config.section import Address, Name, Seconds, Section
from pinvault.model.cards import EventType
from pinvault.notify.endpoints import Endpoint
from pinvault.notify.guard import BadUrl, Network, Target, read_network, read_url
from pinvault.notify.rapyd import EVENTS, RapydEndpoint


class WebhookFault(ValueError):
    """A webhook cannot be: the option that is to blame, what is wrong and what to do."""

    def __init__(self, option: str, text: str) -> None:
        super().__init__(text)
        self.option = option


class Shared(TypedDict):
    """What every kind's model is given."""

    name: str
    target: Target
    programs: frozenset[str]
    private: tuple[Network, ...]
    ca_file: Path | None
    timeout_s: float


class Webhook(Section, frozen=True, kw_only=True, tag_field="kind"):
    """What every kind says."""

    url: str
    programs: Annotated[tuple[Name, ...], Meta(min_length=1)]
    private_networks: tuple[str, ...] = ()
    ca_file: str | None = None
    timeout_s: Annotated[float, Meta(ge=1, le=30)] = 15.0

    def shared(self, name: str, folder: Path, *, is_development: bool) -> Shared:
        """Give the model's form of it, or raise WebhookFault."""
        try:
            private = tuple(map(read_network, self.private_networks))
        except ValueError as error:
            raise WebhookFault("private_networks", str(error)) from None
        return Shared(
            name=name,
            target=self._target(is_development=is_development),
            programs=frozenset(self.programs),
            private=private,
            ca_file=folder / self.ca_file if self.ca_file is not None else None,
            timeout_s=self.timeout_s,
        )

    def _target(self, *, is_development: bool) -> Target:
        try:
            target = read_url(self.url)
        except BadUrl as error:
            raise WebhookFault("url", str(error)) from None
        if target.scheme == "http" and not is_development:
            text = "messages go under TLS: write https://, http is for development on one host"
            raise WebhookFault("url", text)
        return target


class StandardWebhook(Webhook, frozen=True, kw_only=True, tag="standard"):
    """A receiver of messages that are signed as Standard Webhooks says."""

    secret_files: Annotated[tuple[str, ...], Meta(min_length=1, max_length=4)]
    events: Annotated[tuple[EventType, ...], Meta(min_length=1)] = tuple(EventType)

    def to_model(self, name: str, folder: Path, *, is_development: bool) -> Endpoint:
        """Give the model's form, or raise WebhookFault."""
        return Endpoint(
            **self.shared(name, folder, is_development=is_development),
            secret_files=tuple(folder / path for path in self.secret_files),
            events=frozenset(self.events),
        )


class RapydWebhook(Webhook, frozen=True, kw_only=True, tag="rapyd"):
    """A receiver of Rapyd's webhook ISSUED_CARD_PIN_SET, signed as Rapyd signs."""

    access_key: Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z")]
    secret_file: str
    data: dict[str, Any] = field(default_factory=dict)

    def to_model(self, name: str, folder: Path, *, is_development: bool) -> Endpoint:
        """Give the model's form, or raise WebhookFault."""
        try:
            json.dumps(self.data, allow_nan=False)
        except (TypeError, ValueError):
            text = "JSON has no dates, and no numbers but finite ones: write them as text"
            raise WebhookFault("data", text) from None
        if "id" in self.data:
            text = "the issued card's id is made of our card id, as the edge tells it: take it out"
            raise WebhookFault("data.id", text)
        if not isinstance(self.data.get("public_details", {}), dict):
            raise WebhookFault("data.public_details", "it is a table: write it as one")
        return RapydEndpoint(
            **self.shared(name, folder, is_development=is_development),
            secret_files=(folder / self.secret_file,),
            events=EVENTS,
            access_key=self.access_key,
            data=self.data,
        )


WebhookSection = StandardWebhook | RapydWebhook
"""All kinds; a kind is a way to write messages, and to sign them."""


class NotifySection(Section, frozen=True):
    """How `pinvault notify` works; delivered messages are kept for `keep_delivered_s` seconds.

    Endpoints have equal shares of the `at_once` attempts, and so there are no more of them.
    """

    listen: Address = "127.0.0.1:9444"
    at_once: Annotated[int, Meta(ge=1, le=1024)] = 64
    grace_s: Seconds = 20.0
    keep_delivered_s: Annotated[float, Meta(ge=0, le=366 * 86_400)] = 7 * 86_400.0

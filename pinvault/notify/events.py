"""What endpoints are told: an event in JSON, without anything that is worth stealing.

Rules:
- A body says which card, what happened and when, in the words of its receiver: no PAN, no PIN, no
  token, and not how many tries are left.
- A body is made once and kept as it was made: what is signed is what is sent.
"""

from collections.abc import Iterable

from pinvault.model.cards import CardEvent
from pinvault.notify.endpoints import Endpoint


class Endpoints:
    """All endpoints of the configuration."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)

    def of(self, event: CardEvent) -> tuple[tuple[str, str], ...]:
        """Give the name of every endpoint that is told, with the body for it."""
        return tuple(
            (one.name, one.body(event))
            for one in self._endpoints
            if one.wants(event.type, event.program)
        )

"""What endpoints are told: an event in JSON, without anything that is worth stealing.

Rules:
- A body names the card and its program, and says what happened and when: no PAN, no PIN, no token,
  and not how many tries are left.
- A body is made once and kept as it was made: what is signed is what is sent.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from pinvault.model.cards import EventType
from pinvault.notify.endpoints import Endpoint

TEST = "webhook.test"
"""The type of what `pinvault webhook test` sends; it tells of nothing."""


class Endpoints:
    """All endpoints of the configuration."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)

    def of(
        self, event: EventType, *, card_id: str, program: str, external_id: str | None, at: float
    ) -> tuple[tuple[str, str], ...]:
        """Give the name of every endpoint that is told, with the body for it; `at` in Unix s."""
        told = [one.name for one in self._endpoints if one.wants(event, program)]
        data = {"card_id": card_id, "program": program}
        if external_id is not None:
            data["external_id"] = external_id
        return tuple((name, body(event, data, at=at)) for name in told)


def body(event: str, data: dict[str, str], *, at: float) -> str:
    """Write an event's body.

    >>> body("pin.set", {"card_id": "card_g"}, at=0.5)
    '{"type":"pin.set","timestamp":"1970-01-01T00:00:00.500Z","data":{"card_id":"card_g"}}'
    """
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    told = {"type": event, "timestamp": when.replace("+00:00", "Z"), "data": data}
    return json.dumps(told, separators=(",", ":"))

"""The body of a message as we write it ourselves: what happened, when, and to which card.

Nothing else of the card is in it than its names.
"""

import json
from datetime import UTC, datetime
from typing import Final

from pinvault.model.cards import CardEvent

TEST: Final = "webhook.test"
"""The type of what `pinvault webhook test` sends; it tells of nothing."""


def body_of(event: CardEvent) -> str:
    """Write the body of an event."""
    data = {"card_id": event.card_id, "program": event.program}
    if event.external_id is not None:
        data["external_id"] = event.external_id
    return body(event.type, data, at=event.at)


def body(event: str, data: dict[str, str], *, at: float) -> str:
    """Write a body; `at` in Unix seconds.

    >>> body("pin.set", {"card_id": "card_g"}, at=0.5)
    '{"type":"pin.set","timestamp":"1970-01-01T00:00:00.500Z","data":{"card_id":"card_g"}}'
    """
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    told = {"type": event, "timestamp": when.replace("+00:00", "Z"), "data": data}
    return json.dumps(told, separators=(",", ":"))

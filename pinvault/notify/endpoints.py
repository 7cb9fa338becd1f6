"""Endpoints of the configuration: where messages go, and what of.

Rules:
- An endpoint is told of the programs and events that it is given, and of nothing else.
- Who decides what an endpoint is told needs none of its secrets: they stay in their files until
  somebody sends.
"""

from dataclasses import dataclass, field
from pathlib import Path

from pinvault.model.cards import EventType
from pinvault.notify.guard import Network, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A receiver of messages.

    `private` are the networks that it may be in beside the public one; without a `ca_file` the
    system's authorities vouch for it; an attempt takes `timeout_s` seconds at most.
    """

    name: str
    target: Target = field(repr=False)  # a path may be a secret too
    secret_files: tuple[Path, ...]
    programs: frozenset[str]
    events: frozenset[EventType]
    private: tuple[Network, ...] = ()
    ca_file: Path | None = None
    timeout_s: float = 15.0

    def wants(self, event: EventType, program: str) -> bool:
        """Tell whether it is told of an event of a program."""
        return event in self.events and program in self.programs

"""Endpoints of the configuration: where messages go, and what of.

Rules:
- An endpoint is told of the programs and events that it is given, and of nothing else.
- Who decides what an endpoint is told needs none of its secrets: they stay in their files until
  somebody sends.
- A kind of endpoint is how bodies are written for it, and how they are signed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pinvault.model.cards import CardEvent, EventType
from pinvault.notify import bodies
from pinvault.notify.guard import Network, Target
from pinvault.notify.signing import Signer, Signs, read_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A receiver of messages by Standard Webhooks.

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

    secrets_at: ClassVar[str] = "secret_files"
    """The option that names its secrets."""

    def wants(self, event: EventType, program: str) -> bool:
        """Tell whether it is told of an event of a program."""
        return event in self.events and program in self.programs

    def body(self, event: CardEvent) -> str:
        """Write what it is told of an event."""
        return bodies.body_of(event)

    def test_body(self, *, at: float) -> str:
        """Write what tells of nothing; `at` in Unix seconds."""
        return bodies.body(bodies.TEST, {}, at=at)

    def signer(self) -> Signs:
        """Read its secrets, or raise BadSecret."""
        return Signer([read_secret(path) for path in self.secret_files])

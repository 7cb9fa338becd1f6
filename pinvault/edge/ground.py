"""What a dialect stands on: the server, its settings, its callers, its cards' facts, its rates.

Rules:
- A caller is counted as soon as it is known, before anything else of its request is looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pinvault.client import Vault
from pinvault.edge.credentials import AnyCaller, Credentials
from pinvault.edge.facts import Facts
from pinvault.edge.log import Log
from pinvault.edge.rates import Rates
from pinvault.edge.sections import HostedPage, Options

AnyOptions = TypeVar("AnyOptions", bound=Options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground(Generic[AnyOptions, AnyCaller]):
    """Given to a dialect's `build`.

    `name` is that of the dialect's section. `vault` seals under the profile that binds cards
    (`server.sealing_profile`). `page` is the hosted page, where there is one. `now` gives Unix
    seconds.
    """

    name: str
    vault: Vault
    settings: AnyOptions
    credentials: Credentials[AnyCaller]
    facts: Facts
    rates: Rates
    page: HostedPage | None
    now: Callable[[], float]
    log: Log

    def admitted(self, caller: AnyCaller) -> AnyCaller:
        """Count a call of a caller that was authenticated; refuse one too many, or elsewhere's."""
        self.rates.spend(caller.name)
        caller.require(self.settings.program)
        return caller

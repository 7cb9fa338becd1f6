"""The ground that all sections of the configuration stand on: closed tables and bounded words."""

from typing import Annotated

import msgspec
from msgspec import Meta

# Without runs of digits or hex digits that the audit record would take for something secret.
Name = Annotated[str, Meta(pattern=r"^(?!.*[0-9]{12})(?!.*[0-9a-f]{16})[a-z][a-z0-9-]{0,30}\Z")]
Address = Annotated[str, Meta(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; an option that it does not know is an error."""


def split_address(address: str) -> tuple[str, int]:
    """Give host and port of `host:port` or `[v6]:port`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)

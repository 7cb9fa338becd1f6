"""Keys that are about to end, by day or by blocks: who they are, and what to say of them.

Rules:
- The last day counts: a key ends when it is over. Days are UTC days.
- What an end means depends on the state: an active key then enciphers nothing more, and what was
  made under a decipher-only key no longer opens.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from pinvault.config import Loaded
from pinvault.model.keys import Key, State
from pinvault.policy.block_counts import BlockCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A key that ends in so many days; below 0 it has ended."""

    key: Key
    days: int

    @property
    def text(self) -> str:
        """What it means, and what to do."""
        when = "has ended" if self.days < 0 else f"ends in {self.days} days"
        if self.key.state is State.DECIPHER_ONLY:
            return f"{self.key.id} {when}: what was made under it then no longer opens; retire it"
        return f"{self.key.id} {when}: it then enciphers nothing more; rotate it before"


def days_left(key: Key, *, today: date) -> int | None:
    """Give the days to a key's last day, below 0 when it is past; None when it has none."""
    if key.valid_until is None or key.state is State.RETIRED:
        return None
    return (key.valid_until - today).days


def endings(keys: Iterable[Key], *, today: date, warn_days: int) -> tuple[Ending, ...]:
    """Give the keys to warn of, those that end first before the others."""
    left = ((key, days_left(key, today=today)) for key in keys)
    found = [Ending(key=key, days=days) for key, days in left if days is not None]
    near = (ending for ending in found if ending.days <= warn_days)
    return tuple(sorted(near, key=lambda ending: ending.days))


def open_counts(loaded: Loaded) -> BlockCounts:
    """Open the host's counts of enciphered blocks."""
    life = loaded.config.key_life
    path = loaded.file(loaded.config.state.directory) / "blocks.table"
    return BlockCounts.open(path, warn=life.tdes_warn_blocks, refuse=life.tdes_refuse_blocks)

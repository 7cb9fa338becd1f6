"""One call on its way through the floors: who, what, until when, and what is to be recorded."""

import time
from dataclasses import dataclass, field

from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which an answer is due, on the monotonic clock, in seconds."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Set a deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Give the seconds left, or refuse: nothing irreversible starts after the deadline."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise Refusal(Reason.DEADLINE_EXCEEDED)
        return left


@dataclass(slots=True)
class Notes:
    """What the audit record will say of a call: words of closed sets, keys, a card, a keyed hash.

    Operations add to it as they go, so that a refusal is recorded with all that was
    known when it came. There is no place for a PIN, a block, a ciphertext or a PAN.
    """

    keys: list[Key] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    target: str = ""
    pan_index: str = ""
    card: str = ""
    program: str = ""
    items: int = 0
    items_not_done: int = 0

    def opened_by(self, *keys: Key) -> None:
        """Add the keys that opened the sources, where they were not known before."""
        self.keys.extend(key for key in keys if key not in self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that passed the gate: an authenticated caller with a grant for the method."""

    call_id: str
    caller: str
    method: str
    deadline: Deadline
    notes: Notes = field(default_factory=Notes)

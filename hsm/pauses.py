"""Pauses: how long something lost is left alone before it is tried again.

Rules:
- A pause never changes; the next one is another, twice as long up to a bound.
"""

import math
from typing import Final

FIRST_PAUSE: Final = 0.5
"""Seconds before the first trial of a lost key, and before each of a lost device."""
LONGEST_PAUSE: Final = 30.0
"""Seconds that the pauses of a lost key grow to, by doubling."""


class Pause:
    """When something lost may be tried again, and how long the last pause was.

    >>> pause = Pause().longer(100.0)
    >>> pause.is_running(100.4), pause.is_running(100.5), pause.longer(101.0).is_running(101.9)
    (True, False, True)
    """

    __slots__ = ("_length", "_until")

    def __init__(self, until: float = -math.inf, length: float = 0.0) -> None:
        self._until = until
        self._length = length

    @classmethod
    def for_ever(cls) -> "Pause":
        """A pause that does not end."""
        return cls(math.inf, math.inf)

    @property
    def is_set(self) -> bool:
        """Whether something is lost at all."""
        return self._length > 0

    def is_running(self, now: float) -> bool:
        """Whether it is too early to try."""
        return now < self._until

    def longer(self, now: float) -> "Pause":
        """The pause after a trial that failed."""
        length = min(max(self._length * 2, FIRST_PAUSE), LONGEST_PAUSE)
        return Pause(now + length, length)

"""When to try again: later and later, and never all at once.

Rules:
- Exponential with full jitter: a pause is drawn between the shortest and a bound that doubles, so
  that senders and messages that failed together come back apart.
- A message is tried for about three days, then it is dead.
"""

from collections.abc import Callable
from typing import Final

SHORTEST_S: Final = 5.0
LONGEST_S: Final = 6 * 3600.0
LAST_ATTEMPT: Final = 36
"""The mean of the 35 pauses between so many is 74.8 hours in all."""

Draw = Callable[[float, float], float]
"""Draws a number between two, as `random.uniform` does."""


def pause_s(attempt: int, *, draw: Draw, asked_s: float = 0.0) -> float:
    """Give the seconds to wait after an attempt, 1 the first, failed.

    `asked_s` is what the receiver asked for; it is heeded up to the longest pause.

    >>> pause_s(1, draw=max), pause_s(2, draw=max), pause_s(30, draw=max)
    (10.0, 20.0, 21600.0)
    """
    bound = min(LONGEST_S, SHORTEST_S * 2 ** min(attempt, LAST_ATTEMPT))
    return max(draw(SHORTEST_S, bound), min(asked_s, LONGEST_S))

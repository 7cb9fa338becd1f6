"""Tells what is our own and does not open from what a caller gave."""

from collections.abc import Callable
from typing import TypeVar

from hsm.errors import HsmDataRefused
from pinvault.clearzone.pin import Malformed

T = TypeVar("T")


class StoredUnreadable(Exception):
    """What is stored of a card does not open for it, or is not what was registered."""


def ours(work: Callable[[], T]) -> T:
    """Do what only a fault of ours can make fail: StoredUnreadable when something does not open."""
    try:
        return work()
    except (Malformed, HsmDataRefused):
        raise StoredUnreadable from None

"""What a batch of PIN blocks is, and how each of its items ended.

Rules:
- One byte an item says how it ended, and of an item that could not be opened only that.
"""

from enum import IntEnum, unique

MAX_ITEMS = 10_000
"""Most items of one batch."""
PAN_BYTES = 10
"""A PAN in a batch: its 12 to 19 digits as nibbles, first digit first, then F to the end."""


@unique
class ItemStatus(IntEnum):
    """How an item of a batch ended."""

    DONE = 0
    REFUSED = 1
    """Its PIN block could not be opened, whatever was wrong with it."""
    PAN_MALFORMED = 2
    """Its PAN is not 12 to 19 digits and fill; its PIN block was not opened."""
    ACCOUNT_REPEATED = 3
    """An earlier item has the same account, or the very block; its PIN block was not opened."""

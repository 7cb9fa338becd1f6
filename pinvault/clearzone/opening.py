"""The one door to the digits of a PIN.

Rules:
- Nothing outside the clear zone imports this module; the import contracts say so.
- What comes out is used within the calling function and goes nowhere else.
"""

from pinvault.clearzone.pin import Pin


def digits_of(pin: Pin) -> bytes:
    """Give the PIN's digits as 4 to 12 ASCII bytes."""
    return bytes(pin._digits)  # noqa: SLF001 - this is the door


def length_of(pin: Pin) -> int:
    """Give the number of digits. It is part of the secret: compare it with bounds and drop it."""
    return len(pin._digits)  # noqa: SLF001 - this is the door

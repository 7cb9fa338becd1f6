"""Comparison of two PINs, in a time that tells neither where they differ nor which is longer."""

import hmac

from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import MAX_DIGITS, Pin

_FILL = b"F"


def same_pin(left: Pin, right: Pin) -> bool:
    """Tell whether two PINs have the same digits.

    >>> same_pin(Pin(b"1234"), Pin(b"1234")), same_pin(Pin(b"1234"), Pin(b"12340"))
    (True, False)
    """
    return hmac.compare_digest(_widened(left), _widened(right))


def _widened(pin: Pin) -> bytes:
    """Give twelve characters, so that what is compared has always the same length."""
    return digits_of(pin).ljust(MAX_DIGITS, _FILL)

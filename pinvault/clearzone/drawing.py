"""Draws random digits in the HSM, and PINs of them, each that the rules allow equally likely."""

from collections.abc import Callable

from pinvault.clearzone.pin import Pin
from pinvault.clearzone.strength import weak
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pin_rules import PinRules

DRAWS = 200
"""Weak PINs in a row before it is given up: rules that leave one PIN in ten fail once in 10^9."""

_EVEN = 250
_TO_DIGIT = bytes(ord("0") + value % 10 for value in range(256))
_UNEVEN = bytes(range(_EVEN, 256))


def draw(length: int, *, rules: PinRules | None, random: Callable[[int], bytes]) -> Pin:
    """Give a PIN of 4 to 12 digits; PIN_WEAK when the rules allow none, or next to none."""
    for _ in range(DRAWS):
        pin = Pin(digits(length, random))
        if rules is None or not weak(pin, rules=rules, current=None):
            return pin
        pin.wipe()
    raise Refusal(Reason.PIN_WEAK)


def digits(length: int, random: Callable[[int], bytes]) -> bytes:
    """Draw digits, each equally likely: bytes of 250 and more are passed over.

    >>> digits(4, lambda _: bytes([255, 7, 250, 19, 249, 0, 1]))
    b'7990'
    """
    drawn = b""
    while len(drawn) < length:
        drawn += random(2 * length).translate(_TO_DIGIT, _UNEVEN)
    return drawn[:length]

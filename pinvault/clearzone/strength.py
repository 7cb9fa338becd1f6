"""Tells whether a chosen PIN is one that others would guess.

Rules:
- Every rule is evaluated whatever the others say, so that the time does not tell which one
  the PIN broke; the answer does not tell either.
- Repeated: one digit only. Mostly repeated: one digit more than half of the time.
- Sequential: each digit one more than the one before, or each one less, 0 and 9 being
  neighbours (0123, 8901, 3210, 1098).
- Dates: of the layouts below, day and month of the calendar (29 February in every year), years
  of four digits from 1900 to 2099. Other lengths hold no date.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.verification.compare import same_pin
from pinvault.model.pin_rules import PinRules

_UP, _DOWN = 1, 9

# A short year says nothing, so y is any digit.
_DATE_LAYOUTS: Mapping[int, tuple[str, ...]] = {
    4: ("DDMM", "MMDD", "YYYY"),
    6: ("DDMMyy", "MMDDyy", "yyMMDD"),
    8: ("DDMMYYYY", "MMDDYYYY", "YYYYMMDD"),
}
_DAYS_OF_MONTH = dict(enumerate((31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), start=1))
_YEARS = range(1900, 2100)


def weak(pin: Pin, *, rules: PinRules, current: Pin | None) -> bool:
    """Tell whether the rules refuse the PIN; `current` is the one that it would replace.

    >>> rules = PinRules(name="cards")
    >>> [weak(Pin(pin), rules=rules, current=Pin(b"7392")) for pin in (b"1234", b"7392", b"7393")]
    [True, True, False]
    """
    digits = digits_of(pin)
    faults = (
        not rules.pin_length.allows(len(digits)),
        rules.refuse_repeated and _is_repeated(digits),
        rules.refuse_mostly_repeated and _is_mostly_repeated(digits),
        rules.refuse_sequential and _is_sequential(digits),
        rules.refuse_dates and _is_date(digits),
        rules.refuse_current and current is not None and same_pin(pin, current),
        digits.decode() in rules.excluded,
    )
    return any(faults)


def _is_repeated(digits: bytes) -> bool:
    return len(set(digits)) == 1


def _is_mostly_repeated(digits: bytes) -> bool:
    return max(Counter(digits).values()) * 2 > len(digits)


def _is_sequential(digits: bytes) -> bool:
    steps = {(after - before) % 10 for before, after in pairwise(digits)}
    return steps in ({_UP}, {_DOWN})


def _is_date(digits: bytes) -> bool:
    found = [_reads_as(digits, layout) for layout in _DATE_LAYOUTS.get(len(digits), ())]
    return any(found)


def _reads_as(digits: bytes, layout: str) -> bool:
    """Tell whether the digits under D, M and Y are a day, a month and a year."""
    part = {
        letter: int(digits[layout.index(letter) : layout.rindex(letter) + 1])
        for letter in set(layout)
    }
    is_day = 1 <= part.get("D", 1) <= _DAYS_OF_MONTH.get(part.get("M", 1), 0)
    return is_day & (part.get("Y", _YEARS.start) in _YEARS)

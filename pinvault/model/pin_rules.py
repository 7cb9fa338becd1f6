"""Which PINs a cardholder may not choose, as the configuration says.

Rules:
- Rules forbid; they never steer what is computed of a PIN.
- What is excluded by name is a published list of bad choices, never anybody's PIN.
"""

import re
from dataclasses import dataclass, field

from pinvault.model.profiles import PinLength

MIN_DIGITS = 4
MAX_DIGITS = 12
"""PIN lengths of ISO 9564-1:2017, 9.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinRules:
    """A named set of rules for PINs that are chosen; the clear zone's `strength` defines each.

    All but `refuse_mostly_repeated` are on by default. `excluded` holds PINs of 4 to 12 digits.

    >>> PinRules(name="cards", excluded=frozenset({"2580", "abc"}))
    Traceback (most recent call last):
    ValueError: every excluded PIN has 4 to 12 decimal digits
    """

    name: str
    pin_length: PinLength = field(default_factory=PinLength)
    refuse_repeated: bool = True
    refuse_mostly_repeated: bool = False
    refuse_sequential: bool = True
    refuse_dates: bool = True
    refuse_current: bool = True
    excluded: frozenset[str] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        if not MIN_DIGITS <= self.pin_length.minimum <= self.pin_length.maximum <= MAX_DIGITS:
            raise ValueError("set the PIN length to 4 to 12 digits, the minimum first")
        if not all(re.fullmatch("[0-9]{4,12}", digits) for digits in self.excluded):
            raise ValueError("every excluded PIN has 4 to 12 decimal digits")

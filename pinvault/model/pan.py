"""The primary account number: a value that cannot be printed or pickled by accident.

Rules:
- 12 to 19 decimal digits with the check digit (ISO/IEC 7812-1); nothing else is a `Pan`.
- No repr, str, format, pickle or copy shows a digit. `digits()` is the one way to
  them, and easy to search for.
- Comparison is of the whole text and takes the same time wherever it differs.
"""

import hmac
from typing import Never, NoReturn, final

MIN_DIGITS = 12
MAX_DIGITS = 19


@final
class Pan:
    """A primary account number of 12 to 19 digits.

    >>> pan = Pan("5555555551234567")
    >>> pan
    <PAN>
    >>> f"{pan}"
    '<PAN>'
    >>> pan.same_as(Pan("5555555551234567")), pan.same_as(Pan("5555555551234575"))
    (True, False)
    """

    __slots__ = ("__digits",)

    def __init__(self, digits: str) -> None:
        """Take 12 to 19 ASCII digits; raise ValueError (which does not repeat them) otherwise."""
        if not (MIN_DIGITS <= len(digits) <= MAX_DIGITS and digits.isascii() and digits.isdigit()):
            raise ValueError("a PAN has 12 to 19 decimal digits")
        self.__digits = digits

    def digits(self) -> str:
        """Give the digits: for PAN fields and keyed hashes only."""
        return self.__digits

    def account(self) -> str:
        """Give the twelve digits before the check digit, zeros on the left where there are fewer.

        They are all of a PAN that format 0 and 3 blocks depend on (ISO 9564-1:2017, 9.3.2.3),
        so PANs that share them share a code book.

        >>> Pan("4000001234562000").account(), Pan("9994000001234562009").account()
        ('000123456200', '000123456200')
        """
        return self.__digits[:-1][-12:].rjust(12, "0")

    def same_as(self, other: "Pan") -> bool:
        """Compare the whole text, in a time that does not depend on where it differs."""
        return hmac.compare_digest(self.digits(), other.digits())

    def __repr__(self) -> str:
        return "<PAN>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<PAN>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Pan):
            return self.same_as(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a PAN is no dictionary key; use its index

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a PAN is not to be pickled or copied")

    def __getstate__(self) -> Never:
        raise TypeError("a PAN is not to be pickled or copied")

    def __copy__(self) -> Never:
        raise TypeError("a PAN is not to be pickled or copied")

    def __deepcopy__(self, memo: object) -> Never:
        raise TypeError("a PAN is not to be pickled or copied")

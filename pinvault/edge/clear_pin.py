"""The digits that a vendor's request brings in the clear, from the decoder to the envelope.

Rules:
- It is made by the decoder alone and does one thing, once: seal. That is the first thing that a
  flow does once it knows the card.
- It cannot be printed, compared, copied or pickled. Wiping is by best effort (SECURITY.md): the
  body of the request and the decoder's text are overwritten by the allocator when they are freed.
- A struct with such a field is decoded only on a listener that is open for clear PINs; the core
  sees to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, NoReturn, Self

from pinvault.client import SealedPin, Vault


class ClearPin:
    """A clear PIN of 4 to 12 digits; a subclass narrows `LENGTHS` to its vendor's."""

    __slots__ = ("_digits",)
    LENGTHS: ClassVar = range(4, 13)

    def __init__(self) -> None:
        self._digits = bytearray()

    @classmethod
    def taken(cls, value: object) -> Self:
        """Take what the decoder found; ValueError, without it, when it is no such PIN."""
        if not isinstance(value, str):
            raise ValueError("Expected a PIN as a text")  # noqa: TRY004 - what a decoder tells of
        if not (len(value) in cls.LENGTHS and value.isascii() and value.isdigit()):
            raise ValueError("Expected a PIN: decimal digits, of an allowed number")
        pin = cls()
        pin._digits += value.encode()
        return pin

    def seal(self, vault: Vault, *, card_id: str) -> SealedPin:
        """Seal it for one card, by the card's id in the PIN vault, and wipe it."""
        with self._last() as digits:
            return vault.seal(digits.decode(), card=card_id)

    @contextmanager
    def _last(self) -> Iterator[bytearray]:
        digits, self._digits = self._digits, bytearray()
        if not digits:
            raise RuntimeError("a clear PIN is sealed once")
        try:
            yield digits
        finally:
            digits[:] = bytes(len(digits))

    def __repr__(self) -> str:
        return "<clear PIN>"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("clear PINs are not compared")

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a clear PIN stays where it is")


class FourDigitPin(ClearPin):
    """A clear PIN of four digits."""

    __slots__ = ()
    LENGTHS: ClassVar = range(4, 5)

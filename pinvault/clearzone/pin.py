"""A PIN in the clear: a value that cannot be printed, compared, hashed, pickled or copied.

Rules:
- 4 to 12 decimal digits (ISO 9564-1:2017, 9.1); nothing else is a `Pin`.
- The digits can be read only through `opening`, the one door.
- A `Pin` lives inside a `with` block that overwrites its digits on the way out.
  Python may have made copies by then; SECURITY.md says what closes that gap.
"""

from types import TracebackType
from typing import Self, final

from pinvault.model.unprintable import Unprintable

MIN_DIGITS = 4
MAX_DIGITS = 12


class Malformed(Exception):
    """What was opened is not a well-formed PIN. It carries nothing of it, and becomes a refusal.

    `cause` is for the operator's record: a word of a closed set, and only for what is found
    after an envelope has proved authentic. It tells nothing of the PIN.
    """

    def __init__(self, cause: str = "") -> None:
        super().__init__()
        self.cause = cause


@final
class Pin(Unprintable):
    """Four to twelve digits, given as ASCII bytes.

    >>> with Pin(b"1234") as pin:
    ...     print(pin, [pin], f"{pin:>10}")
    <PIN> [<PIN>] <PIN>
    >>> Pin(b"123")
    Traceback (most recent call last):
    pinvault.clearzone.pin.Malformed
    """

    __slots__ = ("_digits",)

    NAME = "PIN"

    def __init__(self, digits: bytes | bytearray) -> None:
        """Take 4 to 12 ASCII digits; raise Malformed otherwise."""
        if not (MIN_DIGITS <= len(digits) <= MAX_DIGITS and digits.isdigit()):
            raise Malformed
        self._digits = bytearray(digits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wipe()

    def wipe(self) -> None:
        """Overwrite the digits with zeros; the PIN is of no use afterwards."""
        self._digits[:] = bytes(len(self._digits))

"""How a PIN is verified without being stored: Visa PVV and IBM 3624, as the configuration says.

Rules:
- All that steers a computation (keys, decimalisation table, validation layout, lengths) is in a
  scheme from reviewed configuration; a call can only name the scheme.
- A decimalisation table that maps too many digits to one is refused: whoever may choose the
  table, or has a lopsided one, finds PINs in a few tries.
- PVVs and offsets are not PINs, yet they are shown nowhere.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pinvault.model.pan import Pan
from pinvault.model.pin_rules import MAX_DIGITS, MIN_DIGITS

KEY_INDEXES = range(7)
BLOCK_DIGITS = 16

_TOKEN = re.compile(r"\{(first|last|account)([1-9]|1[0-6])\}")
_TEMPLATE = re.compile(rf"(?:[0-9A-F]|{_TOKEN.pattern})+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pvv:
    """A PIN verification value of 4 digits, with the index (PVKI) of the key that made it.

    >>> Pvv(value="6776", key_index=1)
    Pvv(key_index=1)
    """

    value: str = field(repr=False)
    key_index: int

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9]{4}", self.value):
            raise ValueError("a PVV has 4 decimal digits")
        _require_key_index(self.key_index)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinOffset:
    """An IBM 3624 offset of 4 to 12 digits.

    >>> PinOffset(value="7710")
    PinOffset()
    """

    value: str = field(repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9]{4,12}", self.value):
            raise ValueError("a PIN offset has 4 to 12 decimal digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisaPvvScheme:
    """Visa PVV: the name of the PIN verification key for each key index in use, 0 to 6."""

    name: str
    keys: Mapping[int, str]

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("a PVV scheme needs a key: name one under its index, 0 to 6")
        for index in self.keys:
            _require_key_index(index)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationLayout:
    """How the 16 hex digits that IBM 3624 enciphers are made of a PAN.

    `template` is upper-case hex digits, taken as they are, and tokens:

    - `{first…}`: so many of the first digits of the PAN, 1 to 16;
    - `{last…}`: so many of its last digits, the check digit among them;
    - `{account…}`: so many of the last digits before the check digit, of which there are at
      least twelve: a PAN of 12 digits gets a zero in front, as in PIN block formats 0 and 3;
    - `N`: the same as `{account5}`, as in the validation data of payShield.

    A token takes what there is when the PAN is shorter. What is then missing of the 16 digits
    is filled on the right with `pad`, one upper-case hex digit.

    >>> def digits(template, pan, pad="F"):
    ...     return ValidationLayout(template=template, pad=pad).block(Pan(pan)).hex().upper()
    >>> digits("{first16}", "5555555551234567")
    '5555555551234567'
    >>> digits("{account12}", "5555555551234567")
    '555555123456FFFF'
    >>> digits("{last13}", "5555555551234567", pad="0")
    '5555551234567000'
    >>> digits("9230000N0431", "4000001234562000")
    '9230000562000431'
    """

    template: str
    pad: str = "F"

    def __post_init__(self) -> None:
        if not _TEMPLATE.fullmatch(self._spelled_out):
            raise ValueError(
                "write a validation template of upper-case hex digits, N, and tokens like "
                "{first16}, {last16} and {account12}, each of 1 to 16 digits"
            )
        if not _TOKEN.search(self._spelled_out):
            raise ValueError(
                "a validation template takes digits of the PAN, or all cards share one natural PIN"
            )
        if len(_TOKEN.sub(lambda token: "0" * int(token[2]), self._spelled_out)) > BLOCK_DIGITS:
            raise ValueError("a validation template makes at most 16 digits: take fewer")
        if not re.fullmatch("[0-9A-F]", self.pad):
            raise ValueError("the pad of a validation layout is one upper-case hex digit")

    def block(self, pan: Pan) -> bytes:
        """Give the 8 bytes to encipher."""
        text = _TOKEN.sub(lambda token: _taken(token, pan), self._spelled_out)
        return bytes.fromhex(text.ljust(BLOCK_DIGITS, self.pad))

    @property
    def _spelled_out(self) -> str:
        return self.template.replace("N", "{account5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ibm3624Scheme:
    """IBM 3624 with PIN offset, for PINs of `pin_length` digits under the key `key`.

    Offsets have `check_length` digits, 4 to 12. Set both lengths the same: where `pin_length` is
    more, the digits in front of the last `check_length` are not verified, as IBM has it.
    `decimalisation_table` gives the decimal digit for each hex digit from 0 to F.
    """

    name: str
    key: str
    decimalisation_table: str
    validation: ValidationLayout
    check_length: int
    pin_length: int

    def __post_init__(self) -> None:
        if not MIN_DIGITS <= self.check_length <= self.pin_length <= MAX_DIGITS:
            raise ValueError("set check_length to at least 4, and pin_length from it to 12 digits")
        _require_strong_table(self.decimalisation_table)


def _require_key_index(index: int) -> None:
    if index not in KEY_INDEXES:
        raise ValueError("the index of a PIN verification key (PVKI) is 0 to 6")


def _require_strong_table(table: str) -> None:
    """Hold a decimalisation table to the rule by which payShield takes or refuses it."""
    if not re.fullmatch("[0-9]{16}", table):
        raise ValueError("a decimalisation table has 16 decimal digits, one for each of 0 to F")
    uses = Counter(table)
    if len(uses) < 8 or max(uses.values()) > 4:
        raise ValueError(
            "a decimalisation table needs at least 8 different digits, each at most 4 times"
        )


def _taken(token: re.Match[str], pan: Pan) -> str:
    """Give the digits that a token stands for."""
    count = int(token[2])
    match token[1]:
        case "first":
            return pan.digits()[:count]
        case "last":
            return pan.digits()[-count:]
        case _:
            return pan.digits()[:-1].rjust(12, "0")[-count:]

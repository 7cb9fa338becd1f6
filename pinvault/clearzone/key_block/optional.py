"""The optional blocks of a key block's header (X9.143:2022, 6.3.6): name, length, data.

Rules:
- A length counts the characters of its whole block. It is two hex digits; or, for what is longer
  than 255, `00`, two hex digits that say how many hex digits follow, and these.
- A name stands once. The padding block `PB` stands last and says nothing.
- All optional blocks together are whole blocks of the cipher.
- The data of a name that is known here have their own form; of any other they are carried as they
  are, in printable ASCII.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pinvault.clearzone.key_block.malformed import MalformedBlock

PADDING: Final = "PB"
CHECK_VALUE: Final = "KC"
HASH: Final = "HM"
PART: Final = "optional_blocks"

_SHORT: Final = 4
"""Characters before the data of a short block: name and length."""
_LONG: Final = 10
"""Characters before the data of a long block as this module writes it: four digits of length."""
_LONGEST_SHORT: Final = 255

_NAME: Final = re.compile(r"[0-9A-Z]{2}")
_HEX: Final = re.compile(r"[0-9A-F]+")
_PRINTABLE: Final = re.compile(r"[ -~]*")

_KEY_CHECK_VALUE: Final = re.compile(r"00(?:[0-9A-F]{2}){1,3}|01(?:[0-9A-F]{2}){1,5}")
_UTC: Final = re.compile(
    r"[0-9]{14}(?:[0-9]{2})?Z|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{2})?Z"
)
FORMS: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "BI": re.compile(r"00[0-9A-F]{10}|01[0-9A-F]{8}"),  # base derivation key, TDES or AES
        HASH: re.compile(r"10|2[0-5]|3[0-3]|4[01]"),  # of an HMAC key; 21 is SHA-256
        "IK": re.compile(r"[0-9A-F]{16}"),  # initial key of AES DUKPT
        CHECK_VALUE: _KEY_CHECK_VALUE,  # of the key inside
        "KP": _KEY_CHECK_VALUE,  # of the protecting key
        "KS": re.compile(r"[0-9A-F]{16}|[0-9A-F]{20}"),  # key serial number of TDES DUKPT
        "PK": _KEY_CHECK_VALUE,  # of the key that it was exported under
        "TC": _UTC,  # time of creation
        "TS": _UTC,  # time stamp
    }
)
"""What the data of a name must look like."""


@dataclass(frozen=True, slots=True)
class OptionalBlock:
    """One optional block: a name of two characters, and printable ASCII. MalformedBlock if not."""

    name: str
    data: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise MalformedBlock(PART, "a name is two capitals or digits")
        if not FORMS.get(self.name, _PRINTABLE).fullmatch(self.data):
            raise MalformedBlock(f"{PART}.{self.name}", "the data have not their form")


def write(blocks: Iterable[OptionalBlock], *, multiple: int) -> tuple[str, int]:
    """Give the text of optional blocks, padded to whole blocks of the cipher, and their number.

    >>> write([OptionalBlock("KS", "00604B120F9292800000")], multiple=16)
    ('KS1800604B120F9292800000PB080000', 2)
    """
    texts = [_write(block) for block in blocks]
    lacking = -sum(map(len, texts)) % multiple
    if lacking:
        lacking += multiple if lacking < _SHORT else 0
        texts.append(_write(OptionalBlock(PADDING, "0" * (lacking - _SHORT))))
    return "".join(texts), len(texts)


def _write(block: OptionalBlock) -> str:
    length = _SHORT + len(block.data)
    if length <= _LONGEST_SHORT:
        return f"{block.name}{length:02X}{block.data}"
    return f"{block.name}0004{_LONG + len(block.data):04X}{block.data}"


def read(text: str, count: int, *, multiple: int) -> tuple[tuple[OptionalBlock, ...], int]:
    """Read `count` optional blocks off the beginning of a text, and tell where they end.

    >>> blocks, end = read("KS1800604B120F9292800000PB080000ABCD", 2, multiple=16)
    >>> [block.name for block in blocks], end
    (['KS'], 32)
    """
    blocks, at = [], 0
    for _ in range(count):
        block, at = _read(text, at)
        blocks.append(block)
    if at % multiple:
        raise MalformedBlock(PART, "together they are not whole blocks of the cipher")
    if blocks and blocks[-1].name == PADDING:
        del blocks[-1]
    return tuple(blocks), at


def refuse_repeated(blocks: Iterable[OptionalBlock]) -> None:
    """Raise MalformedBlock for a name that stands twice, and for padding between the others."""
    names = [block.name for block in blocks]
    if len(set(names)) != len(names):
        raise MalformedBlock(PART, "a name stands twice")
    if PADDING in names:
        raise MalformedBlock(PART, "padding is not the last")


def _read(text: str, at: int) -> tuple[OptionalBlock, int]:
    start = at + _SHORT
    length = _number(text[at + 2 : start])
    if length == 0:
        width = _number(text[start : start + 2])
        start += 2 + width
        length = _number(text[start - width : start])
    end = at + length
    if not start <= end <= len(text):
        raise MalformedBlock(PART, "a length is not that of its block")
    return OptionalBlock(text[at : at + 2], text[start:end]), end


def _number(text: str) -> int:
    if not _HEX.fullmatch(text):
        raise MalformedBlock(PART, "a length is not capital hex digits")
    return int(text, 16)

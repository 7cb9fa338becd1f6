"""The key block header (X9.143:2022, 6.2 and 6.3): 16 characters and the optional blocks.

Rules:
- A block is read to the last character or refused: digits are ASCII, hex digits are capitals, so
  that no block can be written in two ways, but for what its MAC covers as it is written.
- A word is one of the standard's own, or one that it leaves to agreements: a digit.
- What a word means for a key of the service is decided above.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pinvault.clearzone.key_block import optional
from pinvault.clearzone.key_block.malformed import MalformedBlock
from pinvault.clearzone.key_block.optional import OptionalBlock

FIXED: Final = 16
"""Characters of a header without its optional blocks."""
LONGEST: Final = 9999
"""Most characters of a key block."""
MOST_OPTIONAL_BLOCKS: Final = 99


@dataclass(frozen=True, slots=True)
class Form:
    """What a version fixes: the cipher's block and the MAC, in bytes."""

    block: int
    mac: int
    whole_blocks: bool = True
    """Whether the payload is whole blocks of the cipher: all but version E, which counts."""


FORMS: Final[Mapping[str, Form]] = MappingProxyType(
    {
        "A": Form(block=8, mac=4),
        "B": Form(block=8, mac=8),
        "C": Form(block=8, mac=4),
        "D": Form(block=16, mac=16),
        "E": Form(block=16, mac=16, whole_blocks=False),
    }
)

_WORDS: Final = (
    ("version", re.compile(r"[A-E]"), "no version of a key block"),
    (
        "usage",
        re.compile(r"B[0-3]|C0|D[0-3]|E[0-7]|I0|K[0-4]|M[0-8]|P[01]|S[0-2]|V[0-5]|[0-9]{2}"),
        "no key usage of the standard",
    ),
    ("algorithm", re.compile(r"[ADEHRST0-9]"), "no algorithm of the standard"),
    ("mode", re.compile(r"[BCDEGNSTVXY0-9]"), "no mode of use of the standard"),
    ("key_version", re.compile(r"[0-9A-Z]{2}|c[0-9A-Za-z]"), "no key version number"),
    ("exportability", re.compile(r"[ENS]"), "no exportability of the standard"),
    ("context", re.compile(r"[0-2]"), "no key context of the standard"),
)

_LENGTH: Final = re.compile(r"[0-9]{4}")
_COUNT: Final = re.compile(r"[0-9]{2}")
_HEX: Final = re.compile(r"(?:[0-9A-F]{2})*")
_LENGTH_FIELD_BYTES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBlockHeader:
    """What a key block says of its key. MalformedBlock for a word that the standard has not.

    `key_version` is `00` when unused, and begins with `c` for a component. `context` is `0` when
    the protecting key decides, `1` for storage, `2` for exchange. `blocks` are without padding.
    """

    version: str
    usage: str
    algorithm: str
    mode: str
    exportability: str
    key_version: str = "00"
    context: str = "0"
    blocks: tuple[OptionalBlock, ...] = ()

    def __post_init__(self) -> None:
        for part, words, rule in _WORDS:
            if not words.fullmatch(getattr(self, part)):
                raise MalformedBlock(part, rule)
        optional.refuse_repeated(self.blocks)

    @property
    def form(self) -> Form:
        """What the version fixes."""
        return FORMS[self.version]

    def optional(self, name: str) -> str | None:
        """Give the data of an optional block, where there is one."""
        return next((block.data for block in self.blocks if block.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBlock:
    """A key block taken apart: `text` is the header as it is written, which the MAC covers."""

    header: KeyBlockHeader
    text: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    mac: bytes = field(repr=False)


def parse_header(block: str) -> KeyBlockHeader:
    """Give the header of a whole key block; nothing says yet that it is authentic.

    >>> header = parse_header(
    ...     "B0104B0TX12S0100KS1800604B120F9292800000BB68BE8680A400D9191AD4ECE45B6E6C"
    ...     "0D21C4738A52190E248719E24B433627"
    ... )
    >>> header.usage, header.algorithm, header.mode, header.key_version, header.exportability
    ('B0', 'T', 'X', '12', 'S')
    >>> header.optional("KS")
    '00604B120F9292800000'
    >>> parse_header("B0040P0TE00N0000")
    Traceback (most recent call last):
    pinvault.clearzone.key_block.malformed.MalformedBlock: length: not that of the block
    """
    return split(block).header


def split(block: str) -> KeyBlock:
    """Take a key block apart; MalformedBlock for everything that is not exactly one."""
    if not _LENGTH.fullmatch(block[1:5]) or int(block[1:5]) != len(block) or len(block) < FIXED:
        raise MalformedBlock("length", "not that of the block")
    if block[15] != "0":
        raise MalformedBlock("reserved", "not 0")
    form = FORMS.get(block[0])
    if form is None:
        raise MalformedBlock("version", "no version of a key block")
    if not _COUNT.fullmatch(block[12:14]):
        raise MalformedBlock("optional_blocks", "their number is not two digits")
    blocks, end = optional.read(block[FIXED:], int(block[12:14]), multiple=form.block)
    header = KeyBlockHeader(
        version=block[0],
        usage=block[5:7],
        algorithm=block[7],
        mode=block[8],
        key_version=block[9:11],
        exportability=block[11],
        context=block[14],
        blocks=blocks,
    )
    payload, mac = _sealed(block[FIXED + end :], form)
    return KeyBlock(header=header, text=block[: FIXED + end].encode(), payload=payload, mac=mac)


def _sealed(text: str, form: Form) -> tuple[bytes, bytes]:
    if not _HEX.fullmatch(text):
        raise MalformedBlock("payload", "payload and MAC are not capital hex digits")
    data = bytes.fromhex(text)
    payload, mac = data[: -form.mac], data[-form.mac :]
    if len(payload) <= _LENGTH_FIELD_BYTES or (form.whole_blocks and len(payload) % form.block):
        raise MalformedBlock("payload", "not of a length that a payload can have")
    return payload, mac


def write_header(header: KeyBlockHeader, *, payload_bytes: int) -> str:
    """Give the text of a header before a payload of so many bytes and the version's MAC.

    >>> header = KeyBlockHeader(version="B", usage="P0", algorithm="T", mode="E", exportability="E")
    >>> write_header(header, payload_bytes=24)
    'B0080P0TE00E0000'
    """
    blocks, count = optional.write(header.blocks, multiple=header.form.block)
    length = FIXED + len(blocks) + 2 * (payload_bytes + header.form.mac)
    if length > LONGEST or count > MOST_OPTIONAL_BLOCKS:
        raise MalformedBlock("optional_blocks", "too many or too long for a key block")
    return (
        f"{header.version}{length:04}{header.usage}{header.algorithm}{header.mode}"
        f"{header.key_version}{header.exportability}{count:02}{header.context}0{blocks}"
    )

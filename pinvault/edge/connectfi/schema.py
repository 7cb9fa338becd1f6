r"""Tells how a body breaks ConnectFi's JSON Schema, as Ajv does: the first fault, in its words.

Rules:
- The order is Ajv's: the body's type, the members there must be, then each member by its type,
  its length and its pattern.
- A fault is a constant. Nothing of the body is in it.

    >>> FAULTS[first_fault(b'{"cFiCardId": "icrd_1"}')].message
    "must have required property 'pin'"
    >>> FAULTS[first_fault(b'{"cFiCardId": "icrd_1", "pin": "12a4"}')].params
    {'pattern': '^\\d{4}$'}
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from pinvault.edge.connectfi.wire import CARD_ID_LENGTH, CARD_ID_PATTERN, SchemaFault

CARD_ID, PIN = "cFiCardId", "pin"
PIN_PATTERN: Final = r"^\d{4}$"
_CARD_ID = re.compile(r"[0-9a-zA-Z_]+")
_Kind = TypeVar("_Kind")


class _Seen(msgspec.Struct, rename={"card_id": CARD_ID}):
    """A body with nothing required of it; the members stay as they came."""

    card_id: Raw | UnsetType = UNSET
    pin: Raw | UnsetType = UNSET


def _missing(member: str) -> SchemaFault:
    return SchemaFault(
        instance_path="",
        schema_path="#/required",
        keyword="required",
        params={"missingProperty": member},
        message=f"must have required property '{member}'",
    )


def _wrong(member: str, keyword: str, name: str, value: str | int, message: str) -> SchemaFault:
    return SchemaFault(
        instance_path=f"/{member}" if member else "",
        schema_path=f"#/properties/{member}/{keyword}" if member else f"#/{keyword}",
        keyword=keyword,
        params={name: value},
        message=message,
    )


def _pattern(member: str, pattern: str) -> SchemaFault:
    return _wrong(member, "pattern", "pattern", pattern, f'must match pattern "{pattern}"')


FAULTS: Final[Mapping[str, SchemaFault]] = MappingProxyType(
    {
        "body type": _wrong("", "type", "type", "object", "must be object"),
        "card required": _missing(CARD_ID),
        "pin required": _missing(PIN),
        "card type": _wrong(CARD_ID, "type", "type", "string", "must be string"),
        "card maxLength": _wrong(
            CARD_ID,
            "maxLength",
            "limit",
            CARD_ID_LENGTH,
            f"must NOT have more than {CARD_ID_LENGTH} characters",
        ),
        "card minLength": _wrong(
            CARD_ID, "minLength", "limit", 1, "must NOT have fewer than 1 characters"
        ),
        "card pattern": _pattern(CARD_ID, CARD_ID_PATTERN),
        "pin type": _wrong(PIN, "type", "type", "string", "must be string"),
        "pin pattern": _pattern(PIN, PIN_PATTERN),
    }
)


def first_fault(body: bytes) -> str:
    """Give the name in FAULTS of the first fault of a body that did not decode."""
    seen = _decoded(body, _Seen)
    if seen is None:
        return "body type"
    if seen.card_id is UNSET:
        return "card required"
    if seen.pin is UNSET:
        return "pin required"
    return _card_fault(seen.card_id) or _pin_fault(seen.pin)


def _card_fault(raw: Raw) -> str:
    card_id = _decoded(raw, str)
    if card_id is None:
        return "card type"
    if len(card_id) > CARD_ID_LENGTH:
        return "card maxLength"
    if not card_id:
        return "card minLength"
    return "" if _CARD_ID.fullmatch(card_id) else "card pattern"


def _pin_fault(raw: Raw) -> str:
    """Tell of a PIN without reading it: all else was right, so it is what is wrong."""
    return "pin pattern" if bytes(raw).startswith(b'"') else "pin type"


def _decoded(data: bytes | Raw, kind: type[_Kind]) -> _Kind | None:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

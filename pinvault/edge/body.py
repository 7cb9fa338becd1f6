"""Reads JSON bodies into a dialect's structs; what is wrong is told by its place, never its value.

Rules:
- A `ClearPin` in a struct takes the digits as they are decoded, and nothing else gets them.
- The name of an unknown member is input, and is not repeated.
"""

from typing import Any, Final, TypeVar

import msgspec

from pinvault.edge.clear_pin import ClearPin
from pinvault.edge.dialect import Arrived, EdgeReason, Refused

Wanted = TypeVar("Wanted")

MALFORMED: Final = "is not JSON in UTF-8"
_UNKNOWN = "Object contains unknown field"


def decode(arrived: Arrived, kind: type[Wanted]) -> Wanted:
    """Give a request's body as a struct, or refuse with BODY_INVALID.

    The context is `path`, such as `$.pin` (`$` for the body as a whole), and `problem`, a text
    without values such as "Expected `str`, got `int`".
    """
    try:
        value = msgspec.json.decode(arrived.body, type=kind, dec_hook=_taken)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `")
        context = {"path": place.rstrip("`") or "$", "problem": problem}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        context = {"path": "$", "problem": MALFORMED}
    else:
        return value
    if context["problem"].startswith(_UNKNOWN):
        context["problem"] = _UNKNOWN
    raise Refused(EdgeReason.BODY_INVALID, context)


def _taken(kind: type[Any], value: object) -> object:
    if issubclass(kind, ClearPin):
        return kind.taken(value)
    raise NotImplementedError

"""Reads JSON bodies into a dialect's structs; what is wrong is told by its place, never its value.

Rules:
- A `ClearPin` in a struct takes the digits as they are decoded, and nothing else gets them.
- What the decoder tells of the wanted goes on. What it may tell of the input (a value that is none
  of several, the name of an unknown member, and so that member's place) is cut off.
"""

import re
from typing import Any, Final, TypeVar

import msgspec

from pinvault.edge.clear_pin import ClearPin
from pinvault.edge.dialect import Arrived, EdgeReason, Refused

Wanted = TypeVar("Wanted")

MALFORMED: Final = "is not JSON in UTF-8"
_OF_THE_WANTED: Final = ("Expected ", "Object missing required field ")
_UNKNOWN: Final = "Object contains unknown field"
_NONE_OF_THEM: Final = "Invalid enum value"
_PLACED: Final = re.compile(r"(.*) - at `(.*)`", re.DOTALL)


def decode(arrived: Arrived, kind: type[Wanted]) -> Wanted:
    """Give a request's body as a struct, or refuse with BODY_INVALID.

    The context is `path`, such as `$.pin` (`$` for the body as a whole), and `problem`, a text
    without values such as "Expected `str`, got `int`".
    """
    try:
        value = msgspec.json.decode(arrived.body, type=kind, dec_hook=_taken)
    except msgspec.ValidationError as error:
        context = _told(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        context = {"path": "$", "problem": MALFORMED}
    else:
        return value
    raise Refused(EdgeReason.BODY_INVALID, context)


def _told(text: str) -> dict[str, str]:
    """Give place and problem of what the decoder tells, with nothing of the input."""
    if text.startswith(_UNKNOWN):
        return {"path": "$", "problem": _UNKNOWN}
    placed = _PLACED.fullmatch(text)
    problem, path = placed.groups() if placed else (text, "$")
    is_of_the_wanted = problem.startswith(_OF_THE_WANTED)
    return {"path": path, "problem": problem if is_of_the_wanted else _NONE_OF_THEM}


def _taken(kind: type[Any], value: object) -> object:
    if issubclass(kind, ClearPin):
        return kind.taken(value)
    raise NotImplementedError

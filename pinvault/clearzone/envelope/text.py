"""How envelopes are written as text: hex, base64 and JSON, each in one way only.

Rules:
- What is read is written again and compared, so nothing but the one spelling is read: no other
  case, no white space, no bits of base64 that carry nothing.
- A JSON object has the members that its struct has, each once.
"""

import base64
import json
from typing import TypeVar, assert_never

import msgspec

from pinvault.clearzone.pin import Malformed
from pinvault.model.profiles import Encoding

T = TypeVar("T", bound=msgspec.Struct)


class Text(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """A JSON object of ciphertexts, its members in camel case."""

    def dumps(self) -> str:
        """Write it without white space."""
        return msgspec.json.encode(self).decode()


def write(data: bytes, encoding: Encoding) -> str:
    """Write bytes as text.

    >>> write(b"\\xab\\x01", Encoding.HEX_LOWER), write(b"\\xab\\x01", Encoding.HEX_UPPER)
    ('ab01', 'AB01')
    >>> write(b"\\xab\\x01", Encoding.BASE64)
    'qwE='
    """
    match encoding:
        case Encoding.HEX_LOWER:
            return data.hex()
        case Encoding.HEX_UPPER:
            return data.hex().upper()
        case Encoding.BASE64:
            return base64.b64encode(data).decode()
        case _:
            assert_never(encoding)


def read(text: bytes | str, encoding: Encoding) -> bytes:
    """Read the text of `write`, or raise Malformed.

    >>> read(b"AB01", Encoding.HEX_UPPER).hex()
    'ab01'
    >>> read(b"ab01", Encoding.HEX_UPPER)
    Traceback (most recent call last):
    pinvault.clearzone.pin.Malformed
    """
    try:
        spelled = text if isinstance(text, str) else text.decode("ascii")
        is_base64 = encoding is Encoding.BASE64
        data = base64.b64decode(spelled) if is_base64 else bytes.fromhex(spelled)
    except ValueError:
        raise Malformed from None
    if write(data, encoding) != spelled:
        raise Malformed
    return data


def base64url(data: bytes) -> bytes:
    """Write base64url without padding (RFC 7515, 2).

    >>> base64url(b"\\xff\\xef")
    b'_-8'
    """
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def unbase64url(text: bytes) -> bytes:
    """Read base64url without padding, whose alphabet has been checked, or raise Malformed."""
    if len(text) % 4 == 1:
        raise Malformed
    data = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if base64url(data) != text:
        raise Malformed
    return data


def members(data: bytes, kind: type[T]) -> T:
    """Read a JSON object, or raise Malformed: wrong, unknown, missing and repeated members too."""
    try:
        # Latin-1 reads any bytes: here it is the names that count, and msgspec reads the rest.
        json.loads(data.decode("latin-1"), object_pairs_hook=_each_once)
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError):  # RecursionError: nested without end
        raise Malformed from None


def _each_once(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a member is repeated")

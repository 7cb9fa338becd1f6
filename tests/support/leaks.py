"""Looks for a secret in whatever was written, in every form that it could have been written in."""

import base64
import re
from collections.abc import Iterator


def forms_of(digits: str) -> Iterator[tuple[str, bytes]]:
    """Give the forms in which digits could stand somewhere: name and bytes."""
    text = digits.encode()
    packed = bytes.fromhex(digits + "f" * (len(digits) % 2))
    yield "ASCII", text
    yield "ASCII reversed", text[::-1]
    yield "BCD", packed
    yield "BCD reversed", packed[::-1]
    yield "hex of ASCII", text.hex().encode()
    yield "UPPER hex of ASCII", text.hex().upper().encode()
    yield "UTF-16", digits.encode("utf-16-le")
    yield "UTF-16 big", digits.encode("utf-16-be")
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + text)
        yield f"base64 at {shift}", whole[-(-shift * 4 // 3) + 1 : -4] if shift else whole[:-4]


def found_in(haystack: bytes, digits: str) -> list[str]:
    """Name the forms in which the digits stand in the haystack."""
    return [name for name, form in forms_of(digits) if len(form) >= 4 and form in haystack]


_OF_CHANCE = re.compile(
    r'(?<="request_id": ")[0-9a-f]{32}(?=")'
    r'|(?<="call_id": ")[0-9a-f]{32}(?=")'
    r'|(?<="timestamp": ")[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z(?=")'
    r'|(?<="duration_ms": )[0-9]+\.[0-9]+'
    r"|(?<=urn:pinvault:request:)[0-9a-f]{32}\b"
)


def without_chance(told: str) -> str:
    """Give logs and answers without random ids and times: four given digits are in many of them."""
    return _OF_CHANCE.sub("", told)

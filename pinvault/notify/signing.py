"""Signs messages as Standard Webhooks 1.0 says, by the library of its authors.

Rules:
- Every secret signs: while a receiver goes from one to the next, either verifies.
- A secret stands in a file that only the service's user can read, and in nothing that is printed.
"""

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from standardwebhooks import Webhook

_SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/]+={0,2}")
_SHORTEST_BYTES: Final = 24
_LONGEST_BYTES: Final = 64


_LINE: Final = "whsec_ and 24 to 64 random bytes in base64"


class BadSecret(Exception):
    """A secret that cannot be used: the file, what is wrong and what to do."""

    def __init__(self, path: Path, problem: str, *, line: str) -> None:
        super().__init__(problem)
        self.path = path
        self.remedy = (
            f"write one line, {line}, into a file with mode 0600 that belongs to the service's user"
        )


class Signs(Protocol):
    """Gives the headers of an attempt at Unix second `at`, for a body that is sent as it is."""

    def headers(self, message: str, body: str, *, at: float) -> Mapping[str, str]: ...


class Signer:
    """Signs with one or more secrets, `whsec_` and base64."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._webhooks = tuple(map(Webhook, secrets))

    def headers(self, message: str, body: str, *, at: float) -> dict[str, str]:
        """Give the headers of an attempt at Unix second `at`, for a body that is sent as it is."""
        when = datetime.fromtimestamp(int(at), UTC)
        signatures = (one.sign(msg_id=message, timestamp=when, data=body) for one in self._webhooks)
        return {
            "webhook-id": message,
            "webhook-timestamp": str(int(at)),
            "webhook-signature": " ".join(signatures),
        }


def read_secret(path: Path) -> str:
    """Read a secret of Standard Webhooks from its file, or raise BadSecret."""
    secret = read_line(path, line=_LINE)
    if not _SECRET.fullmatch(secret) or not _is_long_enough(secret):
        raise BadSecret(path, "the file holds no secret", line=_LINE)
    return secret


def read_line(path: Path, *, line: str) -> str:
    """Read a file that holds a secret in one line, or raise BadSecret; `line` says what it is."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            raw = file.read(1024) if stat.S_ISREG(status.st_mode) else b""
    except OSError:
        raise BadSecret(path, "the secret cannot be read", line=line) from None
    if status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
        raise BadSecret(path, "the secret can be read by others", line=line)
    return raw.decode("ascii", errors="replace").strip()


def _is_long_enough(secret: str) -> bool:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return False
    return _SHORTEST_BYTES <= len(key) <= _LONGEST_BYTES

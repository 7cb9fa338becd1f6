"""HTTP requests as curl commands: what is shown is what is run.

Rules:
- A command runs in the folder that it was written for, and needs nothing of this program.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pinvault.development.environment import Environment

TIMEOUT_S = 30.0
_STATUS = "\n%{http_code}"
_DIRECT = {"NO_PROXY": "localhost", "no_proxy": "localhost"}


class CurlFailed(Exception):
    """curl is missing, or had no answer to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request; `certificate` are the options by which a client shows its certificate."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    certificate: tuple[str, ...] = ()

    def options(self) -> list[tuple[str, ...]]:
        """Give curl's options, each with its value."""
        pairs = zip(self.certificate[::2], self.certificate[1::2], strict=True)
        headers = [("-H", f"{name}: {value}") for name, value in self.headers.items()]
        body = [("-d", self.body)] if self.body else []
        return [("-sS",), ("-X", self.method), *pairs, *headers, *body]

    def words(self) -> list[str]:
        """Give the command for a program to run."""
        return ["curl", *(word for option in self.options() for word in option), self.url]

    def command(self) -> str:
        """Give the command for people: an option a line."""
        lines = [shlex.join(option) for option in self.options()]
        return " \\\n  ".join([f"curl {lines[0]} {lines[1]}", *lines[2:], shlex.quote(self.url)])


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the status of HTTP, and the body."""

    status: int
    body: str


def ask(request: Request) -> Reply:
    """Run the command."""
    try:
        done = subprocess.run(
            [*request.words(), "-w", _STATUS],
            env={**os.environ, **_DIRECT},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise CurlFailed("curl is missing: install it (apt-get install curl)") from None
    except subprocess.TimeoutExpired:
        raise CurlFailed(f"curl had no answer for {TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise CurlFailed(done.stderr.strip())
    body, _, status = done.stdout.rpartition("\n")
    return Reply(int(status), body)


def certificate(environment: Environment, client: str) -> tuple[str, ...]:
    """Give the options for one of the environment's clients; paths are short where they can be."""
    tls = _shown(environment.tls)
    shown = ("--cert", f"{tls}/{client}.pem", "--key", f"{tls}/{client}.key")
    return ("--cacert", f"{tls}/ca.pem", *shown)


def _shown(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder

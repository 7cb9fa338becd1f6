"""Reads the edge's own files: settings, credentials, facts; what is wrong is told with its remedy.

Rules:
- Errors name the file, the option and the remedy, never a value.
- A file with a secret in it is its owner's alone.
"""

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import msgspec


class EdgeError(Exception):
    """The edge cannot start with its files as they are; `option` is "" for a file as a whole."""

    def __init__(self, path: Path, option: str, problem: str) -> None:
        where = f"{path}: {option}: " if option else f"{path}: "
        super().__init__(where + problem)
        self.path, self.option, self.problem = path, option, problem


class Unfit(Exception):
    """What a dialect's `build` raises when an option of its section cannot be; with the remedy."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}")
        self.option, self.problem = option, problem


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a file; an option that it does not know is an error."""


def read_bytes(path: Path, *, secret: bool = False) -> bytes:
    """Read a file; with `secret`, one that nobody but its owner (us, or root) can read."""
    try:
        with path.open("rb") as file:
            if secret:
                _require_private(path, os.fstat(file.fileno()))
            return file.read()
    except OSError as error:
        problem = f"cannot be read ({error.strerror}): correct its path, kind or mode"
        raise EdgeError(path, "", problem) from None


def read_toml(path: Path, *, secret: bool = False) -> dict[str, Any]:
    """Read a file of TOML. Of a secret one, no part is told."""
    raw = read_bytes(path, secret=secret)
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise EdgeError(path, "", "is not UTF-8 text: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        problem = "is not TOML" if secret else f"is not TOML: {error}"
        raise EdgeError(path, "", f"{problem}: correct it") from None


def into(kind: Any, data: object, *, path: Path, option: str = "", example: str) -> Any:
    """Make structs of what a file holds, or say which option is wrong; `example` shows them all."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        inner = place.rpartition("$")[2].rstrip("`").removeprefix(".")
        where = ".".join(part for part in (option, inner) if part)
        raise EdgeError(path, where, f"{text}: see {example}") from None


def _require_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise EdgeError(path, "", "is not a regular file: give a file")
    if found.st_mode & 0o077:
        raise EdgeError(path, "", "can be read by others than its owner: chmod 0600")
    if found.st_uid not in {0, os.geteuid()}:
        raise EdgeError(path, "", "belongs to another user: chown it to the edge's")

"""Turns that processes of a host take: a lock on a file, waited for with a bound.

Rules:
- The kernel frees a turn when its process dies.
- A turn is taken on a handle of its own, so threads of one process part ways too.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pinvault.config import Loaded

PAUSE_S: Final = 0.01


def of_keys(loaded: Loaded) -> Path:
    """Give the file whose lock is the turn to change keys."""
    return loaded.file(loaded.config.state.directory) / "keys.turn"


def of_operators(loaded: Loaded) -> Path:
    """Give the file whose lock is the turn of the command line."""
    return loaded.file(loaded.config.state.directory) / "operator.turn"


@contextmanager
def taken(path: Path, *, shared: bool, wait_s: float) -> Iterator[bool]:
    """Hold the turn for the length of a `with` block; False when it could not be had in time.

    Who shares it keeps out only those who want it alone. OSError when the file cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    try:
        yield _taken(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait_s)
    finally:
        os.close(handle)


def _taken(handle: int, kind: int, wait_s: float) -> bool:
    end = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(PAUSE_S)
        else:
            return True

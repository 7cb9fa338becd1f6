"""Reads what the gRPC core writes to standard error, so that refused handshakes are recorded.

A client without a certificate, or with a foreign one, is turned away inside the TLS
library: no call begins and no handler runs. The core tells of it only in its own log, so
that log is read here. Rules:
- Every refused handshake becomes an audit record and a count.
- The core's lines are never passed on as they are: what is not a handshake is told by
  its source file and line alone.
"""

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress

_LINE = re.compile(rb"^([IWEF])[0-9]{4} [0-9:.]+ +[0-9]+ ([a-z_0-9]+\.cc:[0-9]+)\]")
CAUSES = {
    b"PEER_DID_NOT_RETURN_A_CERTIFICATE": "no-certificate",
    b"CERTIFICATE_VERIFY_FAILED": "foreign-certificate",
}
VERBOSITY = {"GRPC_VERBOSITY": "INFO"}


def cause_of(line: bytes) -> str | None:
    """Give the cause of a refused handshake, or None for any other line."""
    if b"Handshake failed with error" not in line:
        return None
    return next((word for mark, word in CAUSES.items() if mark in line), "handshake-failed")


def source_of(line: bytes) -> tuple[str, str] | None:
    """Give the severity letter and `file.cc:line` of a line of the core, or None."""
    match = _LINE.match(line)
    return (match[1].decode(), match[2].decode()) if match else None


class Watch:
    """The lead from descriptor 2; `stop` puts the descriptor back and waits for the last line."""

    def __init__(self, thread: threading.Thread, keep: int) -> None:
        self._thread = thread
        self._keep = keep

    def stop(self) -> None:
        """End it: for a start that failed, whose error is to be seen."""
        os.dup2(self._keep, 2)
        self._thread.join()


def watch(*, refused: Callable[[str], None], other: Callable[[str, str], None], keep: int) -> Watch:
    """Lead file descriptor 2 through a pipe and read it.

    `keep` is the descriptor to which lines that are not the core's still go; `refused`
    gets the cause of each refused handshake, `other` the severity and source of each
    warning or error of the core.
    """
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)

    def read() -> None:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                # Whatever telling it meets, reading goes on: the core writes to this pipe.
                with suppress(Exception):
                    _sort(line, refused, other, keep)

    thread = threading.Thread(target=read, name="core-log", daemon=True)
    thread.start()
    return Watch(thread, keep)


def _sort(
    line: bytes, refused: Callable[[str], None], other: Callable[[str, str], None], keep: int
) -> None:
    cause, source = cause_of(line), source_of(line)
    if cause is not None:
        refused(cause)
    elif source is not None:
        if source[0] in "WEF":
            other(*source)
    else:
        os.write(keep, line)

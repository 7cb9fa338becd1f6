"""The small mapped files that all workers of a host share: private, whole, and held in turns.

Rules:
- A file is of the service's user alone, and no link. It is made whole or not at all: room first,
  its header last.
- Its lock (freed by the kernel when a process dies) parts processes, not threads. It is waited for
  with a bound, in short sleeps: a stopped process must not stop all.
"""

import errno
import fcntl
import hmac
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

PRIVATE = 0o600
LONGEST_PAUSE_S = 0.002
FIRST_PAUSE_S = 0.000_05

T = TypeVar("T")


class TableError(Exception):
    """The table cannot be used: limits cannot be kept, so calls must be refused."""

    def __init__(
        self, problem: str, *, remedy: str, path: Path | None = None, errno: int | None = None
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.path = path
        self.errno = errno


@dataclass(frozen=True, slots=True)
class HostFile:
    """A kind of file. `title` is what errors call it, with the verb `be` that goes with it."""

    title: str
    be: str

    def open(self, path: Path, build: Callable[[int], T], *, timeout_s: float) -> T:
        """Open the file, made where it is missing; what `build` makes of its handle, which it gets
        under the lock and keeps.

        TableError when that cannot be done, and whatever `build` raises.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, PRIVATE)
            try:
                self.take(fd, path, timeout_s=timeout_s)
                try:
                    self._require_private(fd, path)
                    return build(fd)
                finally:
                    give_back(fd)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise TableError(
                f"{self.title} cannot be opened",
                remedy="give the service's user a writable directory with room for the file",
                path=path,
                errno=error.errno,
            ) from error

    def take(self, fd: int, path: Path, *, timeout_s: float) -> None:
        """Take the file's lock, or raise `busy`."""
        end, pause = 0.0, FIRST_PAUSE_S
        while not _took(fd):
            end = end or time.monotonic() + timeout_s
            if time.monotonic() > end:
                raise self.busy(path)
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def busy(self, path: Path) -> TableError:
        """Say that another holds the file."""
        return TableError(
            f"{self.title} {self.be} held for too long",
            remedy="find the process that holds the file: it is stopped or stuck",
            path=path,
            errno=errno.EWOULDBLOCK,
        )

    def _require_private(self, fd: int, path: Path) -> None:
        status = os.fstat(fd)
        private = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077
        if not private or status.st_uid != os.geteuid():
            raise TableError(
                f"{self.title} {self.be} not a private file of the service's user",
                remedy="make the service's user its owner, with mode 0600",
                path=path,
            )


def give_back(fd: int) -> None:
    """Let go of a file's lock."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def holds(fd: int, header: bytes, *, size: int) -> bool:
    """Make a file that is new, or tell whether it has this header and size. The file is held."""
    found, length = os.pread(fd, len(header), 0), os.fstat(fd).st_size
    if found.strip(b"\0") == b"" and length in (0, size):
        # Reserved, not sparse: a full disk must show here and not as SIGBUS later.
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, header, 0)
        os.fsync(fd)
        return True
    return hmac.compare_digest(found, header) and length == size


def _took(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

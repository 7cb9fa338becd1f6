"""An append-only file whose every write is on the disk, or undone, before anyone hears of it.

Rules kept here:
- One writer: an exclusive flock, taken without waiting. The kernel frees it when a process dies.
- Private: directory 0700, file 0600, both checked, no symbolic link followed, both synced when
  created, so that the file's name survives a power cut too.
- A write that fails, at whatever byte, is cut back to the last durable length before anything
  else is appended. If even that fails, nothing is appended until it succeeds.
- A failed fdatasync is never asked again: the kernel reports a lost page once, and forgets.
- The file must have exactly the length it was left with. Whoever cut it, added to it or removed
  it was not us, and the log does not go on over their work.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from pinvault.audit.errors import AuditError, AuditUnavailable

_NAME = re.compile(r"worker-(0|[1-9][0-9]{0,3})\.audit\.jsonl")


def worker_path(directory: Path, worker: int) -> Path:
    """Give the path of a worker's file."""
    return directory / f"worker-{worker}.audit.jsonl"


def worker_files(directory: Path) -> Iterator[tuple[int, Path]]:
    """Find the workers' files, by number of the worker."""
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    yield from sorted((int(match[1]), path) for match, path in matches if match)


class DurableFile:
    """A file open for appending by this process alone. Calls must not overlap."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._length = os.fstat(fd).st_size
        self._healthy = True
        self._unfinished = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file, or raise `AuditError` saying why it cannot be written safely."""
        try:
            _make_private_directory(path.parent)
            return cls(path, _open_private_file(path))
        except OSError as error:
            raise AuditError(
                "the audit file cannot be opened",
                remedy="give the service's user a writable directory on a healthy disk",
                path=path,
                errno=error.errno,
            ) from error

    @property
    def length(self) -> int:
        """Bytes known to be durable."""
        return self._length

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded."""
        return self._healthy

    def append(self, data: bytes) -> None:
        """Return when `data` is on the disk; raise `AuditUnavailable` when none of it counts."""
        try:
            self._settle()
            self._unfinished = True
            _write_whole(self._fd, data)
            os.fdatasync(self._fd)
        except OSError as error:
            self._healthy = False
            self._undo()
            raise AuditUnavailable(
                "the audit file cannot be written",
                remedy="free space on the disk or replace it; writing resumes by itself",
                path=self.path,
                errno=error.errno,
            ) from error
        self._unfinished = False
        self._length += len(data)
        self._healthy = True

    def tail(self, size: int) -> bytes:
        """Give the last `size` bytes, or the whole of a shorter file."""
        start = max(self._length - size, 0)
        return os.pread(self._fd, self._length - start, start)

    def cut(self, length: int) -> None:
        """Forget everything after the first `length` bytes."""
        os.ftruncate(self._fd, length)
        os.fsync(self._fd)
        self._length = length

    def close(self) -> None:
        """Free the lock and the descriptor; further writes fail."""
        fd, self._fd = self._fd, -1
        self._healthy = False
        if fd >= 0:
            os.close(fd)

    def _settle(self) -> None:
        """See that the file is as this writer left it, cutting off a failed write's remains."""
        status = os.fstat(self._fd)
        excess = status.st_size - self._length
        if excess < 0 or (excess > 0 and not self._unfinished) or not self._is_in_place(status):
            self._healthy = False
            raise AuditUnavailable(
                "another hand changed or removed the audit file",
                remedy="keep the file as evidence, verify it, then start the worker again",
                path=self.path,
            )
        if excess:
            os.ftruncate(self._fd, self._length)

    def _is_in_place(self, status: os.stat_result) -> bool:
        """Tell whether the open file is the one that its path names."""
        try:
            return os.path.samestat(status, self.path.lstat())
        except FileNotFoundError:
            return False

    def _undo(self) -> None:
        """Cut a failed write off at once where possible; else `_settle` does before the next."""
        try:
            if self._unfinished:
                os.ftruncate(self._fd, self._length)
                self._unfinished = False
        except OSError:
            return


def _make_private_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        _sync_directory(directory.parent)
    _require_private(directory.lstat(), directory, is_kind=stat.S_ISDIR)


def _open_private_file(path: Path) -> int:
    existed = path.exists()
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(path, flags, mode=0o600)
    try:
        _require_private(os.fstat(fd), path, is_kind=stat.S_ISREG)
        _lock(fd, path)
        if not existed:
            _sync_directory(path.parent)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _lock(fd: int, path: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AuditError(
            "another process writes this audit file",
            remedy="stop the other process, or give each worker its own number",
            path=path,
            errno=errno.EWOULDBLOCK,
        ) from None


def _require_private(status: os.stat_result, path: Path, *, is_kind: Callable[[int], bool]) -> None:
    if not is_kind(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.geteuid():
        raise AuditError(
            "the audit directory or file is not private to the service's user",
            remedy="make the service's user its owner; mode 0700 for the directory, 0600 for files",
            path=path,
        )


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_whole(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]

"""The key blocks that are kept of exportable keys: one file a key version, for this user alone.

Rules:
- A block is durable before the key ring names its key, and put in its place in one move.
- The folder is 0700, each file 0600; no link is followed, nothing but a file is read, and nobody
  waits for one.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

_FOLDER: Final = 0o700
_FILE: Final = 0o600
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST: Final = 10_000
"""More characters than a key block has."""


class StoredBlocks:
    """The folder of key blocks, made when the first one comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, key_id: str, block: str) -> None:
        """Keep the key block of a key version, in the place of what an earlier try left."""
        self._folder.mkdir(mode=_FOLDER, parents=True, exist_ok=True)
        path = self._path(key_id)
        beside = path.with_suffix(".new")
        beside.unlink(missing_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            os.fchmod(handle, _FILE)
            file.write(block)
            file.flush()
            os.fsync(handle)
        beside.replace(path)
        self._sync()

    def get(self, key_id: str) -> str | None:
        """Give the key block of a key version; None when none is kept."""
        try:
            handle = os.open(self._path(key_id), _READ)
        except FileNotFoundError:
            return None
        with os.fdopen(handle, encoding="ascii", errors="replace") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "a stored key block is no file")
            return file.read(_MOST)

    def remove(self, key_id: str) -> None:
        """Forget the key block of a key version."""
        try:
            self._path(key_id).unlink()
        except FileNotFoundError:
            return
        self._sync()

    def _path(self, key_id: str) -> Path:
        """A name has no dot (`inputs` sees to it), so two ids never share a file."""
        return self._folder / f"{key_id.replace('/', '.')}.keyblock"

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

"""How many PIN blocks each TDES key has enciphered: a small file that all workers of a host share.

Rules:
- A count never lags behind what was enciphered: a worker draws some blocks from the file ahead and
  counts them down in memory, so that most calls cost no lock. What it had left when it died stays
  counted, some 60 blocks at most.
- Near the bound it draws less and less; beyond it nothing, so a key is refused a little early
  rather than late.
- A key is known by a digest of name, version and check value. One that is not in the file gets the
  next free slot; when there is none, `TableError` is raised, and the caller fails closed.
- The file's lock parts processes (see `host_file`), a mutex parts threads.
- The file survives every end of a process. After a power cut the last seconds may be missing: the
  kernel writes the pages back in its own time.
"""

import hashlib
import mmap
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pinvault.policy.host_file import HostFile, TableError, give_back, holds

SLOTS: Final = 2048
"""Key versions that the file has room for, 32 bytes each: 64 KiB."""
DRAWN: Final = 64
"""Blocks that a worker draws at once."""
LOCK_TIMEOUT_S: Final = 2.0

_FILE: Final = HostFile("the counts of enciphered blocks", "are")
_HEADER: Final = struct.Struct("<16sII40x")
_MAGIC: Final = b"pinvault blocks\n"
_VERSION: Final = 1
_SLOT_BYTES: Final = 32
_LABEL_BYTES: Final = 24
_WORD_BYTES: Final = 8
_SIZE: Final = _HEADER.size + SLOTS * _SLOT_BYTES
_NEAR: Final = 8
"""Draws shrink when fewer blocks are left than this many draws."""

KeyName = tuple[str, int, str]
"""Name, version and check value."""


class WornOut(Exception):
    """The key has enciphered as many blocks as it may."""


class BlockCounts:
    """The open file. `refuse` bounds the blocks of a key, 0 for none.

    `warn` is how many blocks make `warned` be called, once for each key of the host.
    """

    def __init__(self, path: Path, fd: int, *, warn: int, refuse: int) -> None:
        self._path = path
        self._fd = fd
        self._warn = warn
        self._refuse = refuse
        self._mutex = threading.Lock()
        self._map = mmap.mmap(fd, _SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._drawn: dict[KeyName, int] = {}
        self._places: dict[KeyName, int] = {}
        self.warned: Callable[[KeyName, int], None] = _nothing

    @classmethod
    def open(cls, path: Path, *, warn: int, refuse: int) -> "BlockCounts":
        """Open or make the file. TableError when it is not this file, or not this user's alone."""

        def build(fd: int) -> "BlockCounts":
            if not holds(fd, _HEADER.pack(_MAGIC, _VERSION, SLOTS), size=_SIZE):
                raise TableError(
                    "the file holds no counts of enciphered blocks",
                    remedy="see that the path is right; else stop the workers and move the file "
                    "away",
                    path=path,
                )
            return cls(path, fd, warn=warn, refuse=refuse)

        return _FILE.open(path, build, timeout_s=LOCK_TIMEOUT_S)

    def count(self, key: KeyName, blocks: int) -> None:
        """Count blocks that are about to be enciphered. WornOut, and nothing counted, if too many.

        TableError when they cannot be counted.
        """
        with self._mutex:
            left = self._drawn.get(key, 0) - blocks
            if left < 0:
                left += self._draw(key, -left)
            self._drawn[key] = left

    def total(self, key: KeyName) -> int:
        """Give how many blocks a key has enciphered, of all workers, with what they drew ahead."""
        with self._mutex:
            place = self._places.get(key) or self._find(key)
            return self._words[place] if place else 0

    def close(self) -> None:
        """Give back what was drawn and not used, and the file."""
        with self._mutex:
            if self._fd < 0:
                return
            with _held(self._fd, self._path):
                for key, left in self._drawn.items():
                    self._words[self._places[key]] -= left
            self._drawn.clear()
            self._words.release()
            self._map.close()
            os.close(self._fd)
            self._fd = -1

    def _draw(self, key: KeyName, wanted: int) -> int:
        """Take blocks from the file, at least those that are wanted."""
        if self._fd < 0:
            raise TableError("the counts are closed", remedy="start the worker again")
        with _held(self._fd, self._path):
            place = self._place_of(key)
            total = self._words[place]
            drawn = max(wanted, DRAWN)
            if self._refuse:
                room = self._refuse - total
                if wanted > room:
                    raise WornOut
                drawn = max(wanted, min(drawn, room // _NEAR))
            self._words[place] = total + drawn
        if total < self._warn <= total + drawn:
            self.warned(key, total + drawn)
        return drawn

    def _place_of(self, key: KeyName) -> int:
        """Give which word of the file is the key's count, a new one if it has none.

        The file is held.
        """
        place = self._places.get(key) or self._find(key) or self._take_slot(key)
        self._places[key] = place
        return place

    def _find(self, key: KeyName) -> int:
        """Give which word is the key's count; 0 when it has none."""
        label = _label(key)
        at = self._map.find(label, _HEADER.size)
        while at >= 0 and (at - _HEADER.size) % _SLOT_BYTES:
            at = self._map.find(label, at + 1)
        return (at + _LABEL_BYTES) // _WORD_BYTES if at >= 0 else 0

    def _take_slot(self, key: KeyName) -> int:
        free = self._map[_HEADER.size :: _SLOT_BYTES].find(b"\0")
        if free < 0:
            raise TableError(
                "the counts of enciphered blocks have no room for another key",
                remedy="stop the workers and move the file away: counts start afresh",
                path=self._path,
            )
        start = _HEADER.size + free * _SLOT_BYTES
        self._map[start : start + _LABEL_BYTES] = _label(key)
        return (start + _LABEL_BYTES) // _WORD_BYTES


def _nothing(_key: KeyName, _blocks: int) -> None: ...


def _label(key: KeyName) -> bytes:
    """Give what a key is known by; its first byte is not zero, as that of a free slot is."""
    name, version, check_value = key
    told = f"{name}/{version} {check_value}".encode()
    digest = hashlib.blake2b(told, digest_size=_LABEL_BYTES, person=b"blocks").digest()
    return bytes([digest[0] | 1]) + digest[1:]


@contextmanager
def _held(fd: int, path: Path) -> Iterator[None]:
    """Hold the file's lock."""
    _FILE.take(fd, path, timeout_s=LOCK_TIMEOUT_S)
    try:
        yield
    finally:
        give_back(fd)

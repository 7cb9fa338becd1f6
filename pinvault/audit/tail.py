"""Read the newest records across the workers' files, in order of time.

Rules kept here:
- For display only: nothing is verified, and lines that are no entries are passed over.
- No lock is taken, and half-written last lines are left for the next look.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pinvault.audit import chain
from pinvault.audit.durable import worker_files
from pinvault.audit.record import Entry

POLL_S = 0.25
"""How often `follow` looks for more, in seconds."""

_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Tailed:
    """A record, and the worker that wrote it."""

    worker: int
    entry: Entry


class _Cursor:
    """A place in one worker's file, at the beginning of a line."""

    def __init__(self, worker: int, path: Path, offset: int) -> None:
        self._worker = worker
        self._path = path
        self._offset = offset

    def read(self) -> Iterator[Tailed]:
        """Give the entries from here to the end of the last whole line, and move there."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while line := file.readline(chain.MAX_LINE):
                if not line.endswith(b"\n") and len(line) < chain.MAX_LINE:
                    return
                self._offset += len(line)
                try:
                    yield Tailed(self._worker, chain.read_unverified(line))
                except chain.LineError:
                    continue


def newest(directory: Path, *, count: int) -> list[Tailed]:
    """Give the newest `count` records of all workers, oldest first; `count` is 1 or more.

    Raises OSError when the directory cannot be read.
    """
    return _look(_cursors(directory, count))[-count:]


def follow(
    directory: Path, *, count: int, sleep: Callable[[float], None], poll_s: float = POLL_S
) -> Iterator[Tailed]:
    """Give the newest `count` records, then for ever what is added, new workers included.

    Between two looks `sleep(poll_s)` is called; to end, let it raise, or drop the iterator.
    """
    cursors = _cursors(directory, count)
    yield from _look(cursors)[-count:]
    while True:
        sleep(poll_s)
        for worker, path in worker_files(directory):
            cursors.setdefault(worker, _Cursor(worker, path, 0))
        yield from _look(cursors)


def _cursors(directory: Path, count: int) -> dict[int, _Cursor]:
    return {
        worker: _Cursor(worker, path, _start_of_last(path, count))
        for worker, path in worker_files(directory)
    }


def _look(cursors: dict[int, _Cursor]) -> list[Tailed]:
    """Read what is new in every file, in order of time."""
    found = [tailed for cursor in cursors.values() for tailed in cursor.read()]
    return sorted(found, key=lambda tailed: (tailed.entry.time, tailed.worker, tailed.entry.seq))


def _start_of_last(path: Path, count: int) -> int:
    """Find where the last `count` whole lines begin, reading backwards."""
    with path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        newlines = 0
        while start > 0:
            size = min(_BLOCK, start)
            start -= size
            file.seek(start)
            block = file.read(size)
            newlines += block.count(b"\n")
            if newlines > count:
                place = -1
                for _ in range(newlines - count):
                    place = block.index(b"\n", place + 1)
                return start + place + 1
    return 0

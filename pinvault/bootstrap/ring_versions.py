"""The key ring as it was read from its file, and what holds while one takes over from another.

Rules:
- A key ring is known by the SHA-256 of its file, and its file by where and when it was written.
- While one key ring takes over, the HSM does whatever either of them allows: a call that began
  under the old one ends under it.
"""

import hashlib
import os
import time
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final, Self

from hsm import keyring
from hsm.keyring import KeyEntry, Keyring
from hsm.vocabulary import State

Place = tuple[int, int, int, int]
"""What tells one state of a file from another: inode, length, mtime and ctime in nanoseconds."""
UNSURE: Final[Place] = (-1, -1, -1, -1)
"""Of a file that another state could be taken for; like no state at all."""
RACY_S: Final = 0.05
"""A file that was written this shortly before it was read may be written again unseen, in seconds:
the kernel's clock for files has a coarse tick."""

_RANK: Final = {State.RETIRED: 0, State.DECIPHER_ONLY: 1, State.ACTIVE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class RingVersion:
    """A key ring, the state of the file that it was read from, and the file's SHA-256 in hex."""

    ring: Keyring
    place: Place
    inode: int
    sha256: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the key ring. KeyringError when it cannot be read or is wrong."""
        try:
            found, raw = keyring.contents(path)
            text = raw.decode("utf-8")
        except (OSError, UnicodeDecodeError):
            raise keyring.unreadable(path) from None
        ring = keyring.parse(text, source=str(path))
        is_racy = abs(time.time() - found.st_mtime) < RACY_S
        return cls(
            ring=ring,
            place=UNSURE if is_racy else place_of(found),
            inode=found.st_ino,
            sha256=hashlib.sha256(raw).hexdigest(),
        )


def place_of(found: os.stat_result) -> Place:
    """Give what tells this state of a file from others."""
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_whole(place: Place | None, *, inode: int, still_s: float) -> bool:
    """Tell whether a file was put in place as a whole, or has been still for so many seconds.

    A file that is written where it stands may be half of what it shall be. One that was put in
    place is another than `inode`, or was renamed after it was written.
    """
    if place is None or place[0] != inode or place[3] > place[2]:
        return True
    return not 0 <= time.time() - place[2] / 1e9 < still_s


def look(path: str) -> Place | None:
    """Give where the file stands now; None when there is none."""
    try:
        return place_of(os.stat(path))  # noqa: PTH116 - asked at every call
    except OSError:
        return None


def purpose_of(key: KeyEntry) -> KeyEntry:
    """Give what a key version is for good: all of its entry but state and last day."""
    return replace(key, state=State.ACTIVE, valid_from=date.min, valid_until=None)


def union(held: Keyring, wanted: Keyring) -> Keyring:
    """Give the keys of both; of a key in both what `wanted` says, in the freer of its states."""
    before = {key.id: key for key in held.keys}
    keys = [_freer(before.pop(key.id, key), key) for key in wanted.keys]
    return Keyring(keys=(*keys, *before.values()))


def _freer(held: KeyEntry, wanted: KeyEntry) -> KeyEntry:
    return replace(wanted, state=max(held.state, wanted.state, key=_RANK.__getitem__))

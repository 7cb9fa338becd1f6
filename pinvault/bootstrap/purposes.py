"""What each key version is for, held to for as long as one server runs, by all its workers.

Rules:
- The token cannot tell one usage from another of the same capabilities, so a key ring is believed
  when a server starts, and of a key version when it first names it. After that it stays what it
  is, but for state and last day; and what is retired stays retired.
- The workers share a note, so that one that is started later believes no more than the others. The
  note of the server before is gone by then.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

from hsm.keyring import KeyEntry, Keyring, dump
from hsm.vocabulary import State
from pinvault.bootstrap import turns
from pinvault.bootstrap.ring_versions import purpose_of
from pinvault.config import ConfigError

NOTE: Final = "key-purposes"
_WAIT_S: Final = 1.0
_RETIRED: Final = "retired"


class KeyRedefined(ConfigError):
    """A key ring says something else of a key version than it said before."""


class Purposes:
    """What was said of each key version; `note` is the workers' file, None for a process alone."""

    def __init__(self, ring_path: Path, note: Path | None = None) -> None:
        self._ring_path = ring_path
        self._note = note
        self._known: dict[str, str] = {}
        self._retired: set[str] = set()

    def require_same(self, ring: Keyring) -> None:
        """Raise KeyRedefined for a key version that was something else, or was retired."""
        for key in ring.keys:
            if self._known.get(key.id, _digest(key)) != _digest(key):
                raise self._redefined(f"{key.id} was something else when the server started")
            if key.id in self._retired and key.state is not State.RETIRED:
                raise self._redefined(f"{key.id} was retired")

    def hold(self, ring: Keyring) -> None:
        """Hold to what a key ring says from now on, or raise as `require_same`."""
        if self._note is None:
            self._learn(ring, None)
            return
        with turns.taken(self._note, shared=False, wait_s=_WAIT_S) as is_ours:
            if not is_ours:
                raise ConfigError(self._note, "", "is held by another process: find out by which")
            self._recall(self._note)
            self._learn(ring, self._note)

    def _learn(self, ring: Keyring, note: Path | None) -> None:
        self.require_same(ring)
        news = [f"{key.id} {_digest(key)}" for key in ring.keys if key.id not in self._known]
        retired = {key.id for key in ring.keys if key.state is State.RETIRED}
        news += [f"{key_id} {_RETIRED}" for key_id in sorted(retired - self._retired)]
        if note is not None and news:
            handle = os.open(note, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.writelines(f"{line}\n" for line in news)
        self._believe(news)

    def _recall(self, note: Path) -> None:
        self._believe(note.read_text("ascii", "replace").splitlines())

    def _believe(self, lines: list[str]) -> None:
        for line in lines:
            key_id, _, told = line.partition(" ")
            if told == _RETIRED:
                self._retired.add(key_id)
            else:
                self._known.setdefault(key_id, told)

    def _redefined(self, what: str) -> KeyRedefined:
        text = (
            f"{what}: a key version stays what it is, but for its state and last day, and retired "
            "for good. Give a new key a new version, or restart the server to correct an entry"
        )
        return KeyRedefined(self._ring_path, "key", text)


def _digest(key: KeyEntry) -> str:
    return hashlib.sha256(dump(Keyring(keys=(purpose_of(key),))).encode()).hexdigest()

"""One small table in a memory-mapped file, shared by all worker processes of a host.

It remembers until when a key is dead: how far a caller's rate is used up, how long a nonce
stays spent, or for whom a thing is kept. Rules kept here:
- Nothing readable stands in the file: keys are BLAKE2b digests under a secret.
- A slot whose time has passed is free. Forgetting it loses nothing, and that bounds the table.
- A key lives in one of `PROBES` neighbouring slots, so every call takes bounded time. When all
  of them are alive, `TableFull` is raised and the caller fails closed: nothing alive is evicted.
- Every operation is one step under an exclusive flock (freed by the kernel when a process dies)
  and a thread lock (flock does not part threads). Both are waited for with a bound.
- A new slot's digest is written before its time, and a time is stored as one aligned word. A
  crash between the two leaves a slot that is free: the claim of a call that was never answered.
- Time is wall time, since it must outlive restarts. A step backwards makes limits stricter, by
  no more than the step; a step forwards forgives what would have been forgiven by then.
- A file that was removed is not used further: a worker started later would make a new one, and
  two tables would each let everything through once.

The table survives every end of a process. After a power cut the last seconds may be missing:
the kernel writes the pages back in its own time. Cutting the file short under a running worker
kills the worker (SIGBUS).

Sizing: a rate's key lives for at most `burst * interval`, a nonce for its validity. With N new
keys a second that live L seconds there are N * L live slots; give the table twice as many.
"""

import hashlib
import math
import mmap
import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

from pinvault.policy.host_file import HostFile, TableError, give_back, holds

__all__ = ["DEFAULT_SLOTS", "PROBES", "SharedTable", "TableError", "TableFull"]

DEFAULT_SLOTS = 65_536
"""Slots of 32 bytes: 2 MiB."""

PROBES = 64
"""Neighbouring slots in which a key may live."""

LOCK_TIMEOUT_S = 2.0
"""How long to wait for a process that holds the table, in seconds."""

MIN_SECRET_BYTES = 16

_HEADER = struct.Struct("<16sII24s16x")
_MAGIC = b"pinvault table\r\n"
_VERSION = 1
_SLOT_BYTES = 32
_DIGEST_BYTES = 24
_THING_BYTES = 16
_WORD_BYTES = 8
_WORDS_A_SLOT = _SLOT_BYTES // _WORD_BYTES
_FILE = HostFile("the table of limits", "is")
_PERSON_RATE = b"rate"
_PERSON_ONCE = b"once"
_PERSON_THING = b"thing"
_PERSON_OWNER = b"owner"
_PERSON_HEADER = b"header"


class TableFull(TableError):
    """All slots in which the key may live are alive."""


class SharedTable:
    """An open table. Threads and processes may use it at the same time."""

    def __init__(self, path: Path, fd: int, *, slots: int, secret: bytes) -> None:
        self._path = path
        self._fd = fd
        self._slots = slots
        self._secret = secret
        self._mutex = threading.Lock()
        self._map = mmap.mmap(fd, _HEADER.size + slots * _SLOT_BYTES)
        self._words = memoryview(self._map)[_HEADER.size :].cast("d")

    @classmethod
    def open(cls, path: Path, *, secret: bytes, slots: int = DEFAULT_SLOTS) -> "SharedTable":
        """Open or create the table; all workers give the same `secret` and `slots`.

        Raises `TableError` for a file that is not this table, is damaged, or is open to
        others than the service's user; ValueError for a short secret or too few slots.
        """
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError("the table's secret has at least 16 bytes")
        if slots < PROBES:
            raise ValueError("the table has at least 64 slots")
        key = hashlib.blake2b(secret, digest_size=32).digest()
        header, size = _header(slots, key), _HEADER.size + slots * _SLOT_BYTES

        def build(fd: int) -> "SharedTable":
            if not holds(fd, header, size=size):
                problem = "the file is no table of limits of this size under this secret"
                raise _unusable(path, problem)
            return cls(path, fd, slots=slots, secret=key)

        return _FILE.open(path, build, timeout_s=LOCK_TIMEOUT_S)

    def claim_once(self, key: bytes, *, now: float, until: float) -> bool:
        """Claim `key` until the moment `until`; tell whether this was the first claim alive.

        Moments are Unix seconds. What is already over cannot be claimed. Raises
        `TableError`.
        """
        _require_finite(now, until)
        if until <= now:
            return False
        self._lock()
        try:
            self._require_file()
            slot, dead_at = self._find(self._digest(_PERSON_ONCE, key), now)
            if dead_at > now:
                return False
            self._words[slot] = until
            return True
        finally:
            self._unlock()

    def conform(
        self, key: bytes, *, now: float, interval: float, burst: int, things: Sequence[bytes] = ()
    ) -> float:
        """Let an event of `key` through if its rate allows it and all `things` are its own.

        The generic cell rate algorithm: one event each `interval` seconds, `burst` of them
        at once. A thing is its own that is nobody's; it becomes the key's for as long as the
        key's events are remembered. Gives 0.0 and counts the event, or gives the seconds to
        wait and counts nothing. Raises `TableError`.
        """
        _require_finite(now, interval)
        if interval <= 0.0 or burst < 1:
            raise ValueError("a rate has an interval above 0 and a burst of 1 or more")
        self._lock()
        try:
            self._require_file()
            owned = [self._ownership(thing, key) for thing in things]
            wait = max((self._kept_from(digest, now) for digest in owned), default=0.0)
            if wait > 0.0:
                return wait
            slot, dead_at = self._find(self._digest(_PERSON_RATE, key), now)
            arrival = max(dead_at, now) + interval
            wait = arrival - (now + burst * interval)
            if wait > 0.0:
                return wait
            self._words[slot] = arrival
            for digest in owned:
                self._keep(digest, now, arrival)
            return 0.0
        finally:
            self._unlock()

    def keep(self, thing: bytes, key: bytes, *, now: float, until: float) -> None:
        """Make a thing the key's own until then. Raises `TableError`."""
        _require_finite(now, until)
        self._lock()
        try:
            self._require_file()
            self._keep(self._ownership(thing, key), now, until)
        finally:
            self._unlock()

    def live(self, *, now: float) -> int:
        """Count the slots alive, for a gauge; it reads the whole table."""
        return sum(dead_at > now for dead_at in self._words[_WORDS_A_SLOT - 1 :: _WORDS_A_SLOT])

    def close(self) -> None:
        """Give the file back; the table stays."""
        with self._mutex:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                self._words.release()
                self._map.close()
                os.close(fd)

    def _digest(self, namespace: bytes, key: bytes) -> bytes:
        return hashlib.blake2b(
            key, digest_size=_DIGEST_BYTES, key=self._secret, person=namespace
        ).digest()

    def _ownership(self, thing: bytes, key: bytes) -> bytes:
        """Give the digest of a thing and its owner: the thing is found by the first part."""
        owner = self._digest(_PERSON_OWNER, key)[: _DIGEST_BYTES - _THING_BYTES]
        return self._digest(_PERSON_THING, thing)[:_THING_BYTES] + owner

    def _kept_from(self, ownership: bytes, now: float) -> float:
        """Give the seconds for which a thing is another's; 0.0 when it may be this owner's."""
        slot, dead_at = self._find(ownership, now, known_by=_THING_BYTES)
        return 0.0 if self._digest_at(slot) == ownership else max(0.0, dead_at - now)

    def _keep(self, ownership: bytes, now: float, until: float) -> None:
        """Keep a thing for its owner; one that is another's is let be."""
        slot, dead_at = self._find(ownership, now, known_by=_THING_BYTES)
        if self._digest_at(slot) != ownership:
            if dead_at > now:
                return
            place = _HEADER.size + (slot // _WORDS_A_SLOT) * _SLOT_BYTES
            self._map[place : place + _DIGEST_BYTES] = ownership
        self._words[slot] = max(dead_at, until)

    def _digest_at(self, word: int) -> bytes:
        place = _HEADER.size + (word // _WORDS_A_SLOT) * _SLOT_BYTES
        return self._map[place : place + _DIGEST_BYTES]

    def _find(self, digest: bytes, now: float, known_by: int = _DIGEST_BYTES) -> tuple[int, float]:
        """Give the key's word and the time in it; a key without a slot gets a free one.

        The free slot is not the key's before a time is stored: until then it stays free.
        A key is known by the first `known_by` bytes of its digest.
        """
        first = int.from_bytes(digest[:8], "little") % (self._slots - PROBES + 1)
        start = _HEADER.size + first * _SLOT_BYTES
        end = start + PROBES * _SLOT_BYTES
        sought = digest[:known_by]
        at = self._map.find(sought, start, end)
        while at >= 0 and (at - start) % _SLOT_BYTES:
            at = self._map.find(sought, at + 1, end)
        word = first * _WORDS_A_SLOT + _WORDS_A_SLOT - 1
        if at >= 0:
            word += (at - start) // _WORD_BYTES
            return word, self._sound(self._words[word])
        for dead_at in self._words[word : word + PROBES * _WORDS_A_SLOT : _WORDS_A_SLOT]:
            if dead_at <= now:
                place = _HEADER.size + (word // _WORDS_A_SLOT) * _SLOT_BYTES
                self._map[place : place + _DIGEST_BYTES] = digest
                return word, dead_at
            word += _WORDS_A_SLOT
        raise TableFull(
            "the table of limits has no free slot for this key",
            remedy="stop the workers, remove the file, and start with more slots",
            path=self._path,
        )

    def _sound(self, dead_at: float) -> float:
        if math.isfinite(dead_at):
            return dead_at
        raise _unusable(self._path, "the table of limits is damaged")

    def _lock(self) -> None:
        """Hold the table against threads and processes, until `_unlock`."""
        if not self._mutex.acquire(timeout=LOCK_TIMEOUT_S):
            raise _FILE.busy(self._path)
        try:
            self._require_open()
            _FILE.take(self._fd, self._path, timeout_s=LOCK_TIMEOUT_S)
        except BaseException:
            self._mutex.release()
            raise

    def _unlock(self) -> None:
        try:
            give_back(self._fd)
        finally:
            self._mutex.release()

    def _require_open(self) -> None:
        if self._fd < 0:
            raise TableError("the table of limits is closed", remedy="start the worker again")

    def _require_file(self) -> None:
        if os.fstat(self._fd).st_nlink == 0:
            raise TableError(
                "the file of the table of limits was removed",
                remedy="start the workers again, all of them",
                path=self._path,
            )


def _header(slots: int, secret: bytes) -> bytes:
    """Describe the table; the check binds the description to the secret."""
    known = _HEADER.pack(_MAGIC, _VERSION, slots, b"")
    check = hashlib.blake2b(
        known, digest_size=_DIGEST_BYTES, key=secret, person=_PERSON_HEADER
    ).digest()
    return _HEADER.pack(_MAGIC, _VERSION, slots, check)


def _require_finite(*seconds: float) -> None:
    if not all(map(math.isfinite, seconds)):
        raise ValueError("a moment or an interval is a finite number of seconds")


def _unusable(path: Path, problem: str) -> TableError:
    return TableError(
        problem,
        remedy="see that path, size and secret are right; else stop the workers and remove the "
        "file: all limits then start afresh, and nonces still valid can be spent once more",
        path=path,
    )

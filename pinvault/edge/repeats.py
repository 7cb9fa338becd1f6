"""Answers that a caller gets again for its own id of a request: for a while, in this process.

Rules:
- An id stands for one request of one caller. What tells the request from others (`same`) is given
  by the dialect and holds no PIN; another request under the id is refused.
- While a request is under way its id is refused. A refused request frees it.
- Ids are known by a keyed hash that lives as long as the process. The table is bounded; when it is
  full the oldest answer is forgotten, and its request would be done again.
"""

import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from pinvault.edge.dialect import Answer, Refused

SLOTS: Final = 16_384
_COME_AGAIN_S: Final = 1.0
_NEVER: Final = math.inf


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer and until when (Unix seconds) it is good; None while it is being made."""

    same: bytes
    answer: Answer | None = field(repr=False, default=None)
    until: float = _NEVER


class Repeats:
    """The answers of one dialect. Safe to use from any number of threads."""

    def __init__(self, *, now: Callable[[], float], slots: int = SLOTS) -> None:
        self._now, self._slots = now, slots
        self._key = secrets.token_bytes(32)
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def once(
        self, *, caller: str, request_id: str, same: str, do: Callable[[], tuple[Answer, float]]
    ) -> Answer:
        """Give the answer that there was, or that of `do`, which says until when it is good."""
        name, told = self._hashed(f"{caller}\0{request_id}"), self._hashed(same)
        kept = self._begun(name, told)
        if kept is not None:
            return kept
        try:
            answer, until = do()
        except BaseException:
            with self._lock:
                self._kept.pop(name, None)
            raise
        with self._lock:
            self._kept[name] = _Kept(told, answer, until)
        return answer

    def _begun(self, name: bytes, told: bytes) -> Answer | None:
        """Take the id, or give what is kept under it."""
        with self._lock:
            found = self._kept.get(name)
            if found is None or found.until <= self._now():
                self._make_room()
                self._kept[name] = _Kept(told)
                self._kept.move_to_end(name)
                return None
        if found.same != told:
            raise Refused("REQUEST_ID_REUSED")
        if found.answer is None:
            raise Refused("REQUEST_IN_PROGRESS", retry_after_s=_COME_AGAIN_S)
        return found.answer

    def _make_room(self) -> None:
        """Forget the oldest answers that are good no more, or else the oldest one."""
        now = self._now()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._kept.popitem(last=False)
        if len(self._kept) >= self._slots:
            self._kept.popitem(last=False)

    def _hashed(self, text: str) -> bytes:
        return blake2b(text.encode(), key=self._key, digest_size=16).digest()

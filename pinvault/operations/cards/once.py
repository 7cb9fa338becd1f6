"""Requests with an id of the caller's: done once, and their answer told again for a day.

Rules:
- An id is taken in a call's first transaction and its answer kept in the last; a refusal frees it.
- It is taken for as long as the call may last. After that, whoever sends it again does the work,
  and the former attempt can no longer end.
- Requests are told apart by a keyed hash: a plain one would tell a PIN that a PIN block holds.
- An answer is told again only as it was kept, and to the very request: it is sealed.
"""

import hmac
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.operations.cards.answers import MICROSECONDS
from pinvault.operations.cards.desk import STORE_RETRY_AFTER_S, CardDesk
from pinvault.store import Connection, idempotency
from pinvault.store.idempotency import IdempotencyKey, Known

ANSWER_KEPT_S = 86_400
LEASE_SLACK_S = 5
"""What a call may take beyond its deadline: the store's waits, and the record."""

SEAL_BYTES = 32
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

_Kept = tuple[str, str, msgspec.Raw]
"""Card and program, for the record, and the answer."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """The caller's own id of a request, "" for none, and what tells the request from others."""

    request_id: str = ""
    fingerprint_of: bytes = field(repr=False, default=b"")


NO_ID = Request()


class AnswerForged(Exception):
    """The answer that is kept of a request is none that this service gave to it."""


class Once(Generic[T]):
    """One call's hold on its request id. Without an id, nothing is taken and nothing is kept."""

    def __init__(self, desk: CardDesk, call: Call, request: Request, kind: type[T]) -> None:
        self._desk = desk
        self._call = call
        self._kind = kind
        self._attempt: int | None = None
        self._key = IdempotencyKey(caller=call.caller, method=call.method, key=request.request_id)
        said = (call.caller, call.method, request.fingerprint_of)
        self._fingerprint = desk.seals.of("request", *said)

    @property
    def has_id(self) -> bool:
        """Whether the caller gave an id."""
        return bool(self._key.key)

    @property
    def operation(self) -> str:
        """What others may know the call by: the caller's id where it is a UUID, else ours."""
        return self._key.key if _UUID.fullmatch(self._key.key) else self._call.call_id

    def told(self) -> T | None:
        """Give the answer that the request had before, if it had one, or refuse."""
        if not self.has_id:
            return None
        known = self._desk.read(
            lambda db: idempotency.recall(
                db, self._key, fingerprint=self._fingerprint, now=self._desk.micros()
            )
        )
        if known is None:
            return None
        answer = self._unsealed(_require_answered(known))
        notes = self._call.notes
        notes.card, notes.program, told = msgspec.json.decode(answer, type=_Kept)
        return msgspec.json.decode(told, type=self._kind)

    def begin(self, db: Connection) -> None:
        """Take the id, in the call's first transaction, or refuse."""
        if not self.has_id:
            return
        now = self._desk.micros()
        lease_s = self._call.deadline.remaining() + LEASE_SLACK_S
        begun = idempotency.begin(
            db,
            self._key,
            fingerprint=self._fingerprint,
            now=now,
            lease_until=now + int(lease_s * MICROSECONDS),
        )
        if isinstance(begun, Known):
            _require_answered(begun)
            # It was answered since `told`, which will give the answer the next time.
            raise _in_progress()
        self._attempt = begun.attempt

    def finish(self, db: Connection, answer: T) -> None:
        """Keep the answer, in the call's last transaction, or refuse."""
        if self._attempt is None:
            return
        notes = self._call.notes
        if not idempotency.finish(
            db,
            self._key,
            attempt=self._attempt,
            answer=self._sealed(msgspec.json.encode((notes.card, notes.program, answer))),
            keep_until=self._desk.micros() + ANSWER_KEPT_S * MICROSECONDS,
        ):
            raise _in_progress()

    def _sealed(self, answer: bytes) -> bytes:
        return self._desk.seals.of("answer", self._fingerprint, answer) + answer

    def _unsealed(self, kept: bytes) -> bytes:
        answer = kept[SEAL_BYTES:]
        if not hmac.compare_digest(kept, self._sealed(answer)):
            raise AnswerForged
        return answer

    def release(self, db: Connection) -> None:
        """Free the id of a request whose work is not done."""
        if self._attempt is not None:
            idempotency.release(db, self._key, attempt=self._attempt)

    @contextmanager
    def released(self) -> Iterator[None]:
        """Free the id if what is done within fails; an answer that is kept stays."""
        try:
            yield
        except Exception:
            if self._attempt is not None:
                self._desk.try_to_write(self.release)
            raise


def _require_answered(known: Known) -> bytes:
    if not known.is_same_request:
        raise Refusal(Reason.REQUEST_ID_REUSED, field="request_id")
    if known.answer is None:
        raise _in_progress()
    return known.answer


def _in_progress() -> Refusal:
    return Refusal(Reason.REQUEST_IN_PROGRESS, retry_after_s=STORE_RETRY_AFTER_S)

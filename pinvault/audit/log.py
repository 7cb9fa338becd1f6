"""The audit log of one worker: no record, no answer.

Rules kept here:
- `append` returns only when the record is on the disk. Many callers share one write.
- The chain goes on over restarts: what stands after the last checkpoint is verified on opening,
  and a log that does not verify is not continued. Only what a crash tore (an unfinished last
  line, or pages that never reached the disk and read as NUL) is cut off, and the boot record
  says how much and gives its digest.
- Checkpoints are signed in a thread of their own, outside the writer's seat: a slow or hung HSM
  delays no answer. The thread wakes when `every` records are unsigned and at least each
  `interval_s`, so that the last records before a quiet night are covered too; a checkpoint made
  on the next append would leave exactly those open to be cut off unseen.
- A failing signature stops no call, for the chain still stands; it makes the log unhealthy.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from pinvault.audit import chain
from pinvault.audit.checkpoint import Sign, sign_checkpoint
from pinvault.audit.combine import Combiner
from pinvault.audit.durable import DurableFile, worker_path
from pinvault.audit.errors import AuditError, AuditUnavailable
from pinvault.audit.record import AuditRecord, Boot, OwnRecord, encode, encode_own, rfc3339

CHECKPOINT_EVERY = 1000
"""Records after which a checkpoint is due."""

CHECKPOINT_INTERVAL_S = 10.0
"""Seconds after which a checkpoint is due."""

_OWN_TIMEOUT_S = 5.0
_LARGEST_TAIL = 64 * 1024 * 1024
_CHECKPOINT_MARK = b'"event":"checkpoint"'


@dataclass(frozen=True, slots=True)
class Position:
    """The end of the chain: how many records, and the hash of the last."""

    size: int
    head: str


@dataclass(frozen=True, slots=True)
class _Found:
    """What opening a file found: where the chain ends, at which byte, and what was torn."""

    position: Position
    length: int
    torn: bytes


class AuditLog:
    """An open log. Threads may append at the same time; one process writes a worker's file."""

    def __init__(
        self,
        file: DurableFile,
        position: Position,
        *,
        worker: int,
        chain_key: bytes,
        sign: Sign,
        signer_id: str,
        clock: Callable[[], datetime],
        every: int,
        interval_s: float,
    ) -> None:
        self._file = file
        self._position = position
        self._worker = worker
        self._chain_key = chain_key
        self._sign = sign
        self._signer_id = signer_id
        self._clock = clock
        self._every = every
        self._interval_s = interval_s
        self._combiner = Combiner(self._commit)
        self._covered = position.size
        self._signing = True
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(
            target=self._keep_checkpoints, name=f"audit-checkpoints-{worker}", daemon=True
        )

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        worker: int,
        chain_key: bytes,
        sign: Sign,
        signer_id: str,
        clock: Callable[[], datetime],
        boot: Mapping[str, str],
        every: int = CHECKPOINT_EVERY,
        interval_s: float = CHECKPOINT_INTERVAL_S,
    ) -> Self:
        """Continue or begin the worker's log; write and sign a boot record.

        `chain_key` has 32 bytes. `sign` takes a SHA-256 digest and gives a raw P-256
        signature; `signer_id` names its key as `name/version`. `boot` holds the facts of
        this start, such as the version and `"sha256:…"` of the key ring. Raises
        `AuditError` when the log is in use, damaged, or cannot be written or signed.
        """
        chain.require_key(chain_key)
        file = DurableFile.open(worker_path(directory, worker))
        try:
            found = _recover(file, worker=worker, chain_key=chain_key)
            if found.torn:
                file.cut(found.length)
            log = cls(
                file,
                found.position,
                worker=worker,
                chain_key=chain_key,
                sign=sign,
                signer_id=signer_id,
                clock=clock,
                every=every,
                interval_s=interval_s,
            )
            log._begin(found, boot)
        except BaseException:
            file.close()
            raise
        return log

    def append(self, record: AuditRecord, timeout: float) -> None:
        """Return when the record is durable.

        `timeout` bounds the wait for other callers' writes, in seconds. Raises
        `AuditUnavailable`, and then the call must not be answered; `RecordRefused` (an
        `AuditError`) for a record that does not fit the schema.
        """
        self._combiner.submit(encode(record), timeout=timeout)

    @property
    def healthy(self) -> bool:
        """Whether the last write and the last signature succeeded."""
        return self._file.healthy and self._signing

    @property
    def position(self) -> Position:
        """The durable end of the chain: what to keep elsewhere for `verify(expect=…)`."""
        return self._position

    @property
    def unsigned(self) -> int:
        """Records that no checkpoint covers yet."""
        return self._position.size - self._covered

    def close(self) -> None:
        """Refuse further records, write and sign the shutdown record, free the file.

        Raises `AuditUnavailable` when the shutdown record could not be written. The file is
        freed all the same, unless a write is stuck in it: then only the end of the process
        frees it. Closing twice is harmless. The signer must still work.
        """
        if self._stopping:
            return
        self._stopping = True
        self._wake.set()
        self._thread.join(_OWN_TIMEOUT_S)
        if not self._combiner.retire(timeout=_OWN_TIMEOUT_S):
            raise AuditUnavailable(
                "a write to the audit file is stuck",
                remedy="see whether the disk is slow or stuck, then end the process",
                path=self._file.path,
            )
        try:
            self._commit([encode_own(OwnRecord(event="shutdown", time=self._now()))])
            if not self._thread.is_alive():
                self._checkpoint(lambda body: self._commit([body]))
        finally:
            self._file.close()

    def _begin(self, found: _Found, facts: Mapping[str, str]) -> None:
        note = Boot(
            worker=self._worker,
            previous_size=found.position.size,
            previous_head=found.position.head,
            torn_bytes=len(found.torn),
            torn_sha256=hashlib.sha256(found.torn).hexdigest(),
            facts=dict(facts),
        )
        self._submit_own(encode_own(OwnRecord(event="boot", time=self._now(), boot=note)))
        if not self._checkpoint(self._submit_own):
            raise AuditError(
                "the first checkpoint could not be signed",
                remedy="see that the signing key is there and may sign",
                path=self._file.path,
            )
        self._thread.start()

    def _commit(self, bodies: Sequence[bytes]) -> None:
        """Chain the bodies and write them at once; only the leader comes here."""
        size, head = self._position.size, self._position.head
        lines = []
        for body in bodies:
            size += 1
            line, head = chain.seal(body, seq=size, prev=head, chain_key=self._chain_key)
            lines.append(line)
        self._file.append(b"".join(lines))
        self._position = Position(size, head)
        if self._signing and self.unsigned >= self._every:
            self._wake.set()

    def _keep_checkpoints(self) -> None:
        """Sign when records or time have run up; try an ailing log now and then."""
        while True:
            hurried = self._wake.wait(self._interval_s)
            self._wake.clear()
            if self._stopping:
                return
            if self.unsigned >= (self._every if hurried else 1) or not self.healthy:
                self._checkpoint(self._submit_own)

    def _checkpoint(self, write: Callable[[bytes], None]) -> bool:
        """Sign the present end of the chain and write the checkpoint; tell whether it worked.

        Records that come in between stand before the checkpoint and are not covered by it.
        """
        position, now = self._position, self._now()
        try:
            note = sign_checkpoint(
                self._sign,
                worker=self._worker,
                size=position.size,
                head=position.head,
                time=now,
                signer=self._signer_id,
            )
            write(encode_own(OwnRecord(event="checkpoint", time=now, checkpoint=note)))
        except Exception:  # noqa: BLE001 - the signer is the caller's; its faults must not end the thread
            self._signing = False
            return False
        self._signing = True
        nothing_between = self._position.size == position.size + 1
        self._covered = self._position.size if nothing_between else position.size
        return True

    def _submit_own(self, body: bytes) -> None:
        self._combiner.submit(body, timeout=_OWN_TIMEOUT_S)

    def _now(self) -> str:
        return rfc3339(self._clock())


def _recover(file: DurableFile, *, worker: int, chain_key: bytes) -> _Found:
    """Verify a file from its last checkpoint on, and find where it may be continued."""
    tail, whole, start = _last_stretch(file)
    position = Position(0, chain.genesis(worker, chain_key=chain_key))
    anchored = start == 0 and len(tail) == file.length
    for line in whole[start:].splitlines(keepends=True):
        try:
            entry = chain.read(line, chain_key=chain_key)
        except chain.LineError:
            raise _damaged(file.path) from None
        if anchored and (entry.seq, entry.prev) != (position.size + 1, position.head):
            raise _damaged(file.path)
        position, anchored = Position(entry.seq, entry.hash), True
    torn = tail[len(whole) :]
    return _Found(position, file.length - len(torn), torn)


def _last_stretch(file: DurableFile) -> tuple[bytes, bytes, int]:
    """Read back to the last checkpoint.

    Gives the bytes read, their part that is whole lines, and where in it the last
    checkpoint begins (0: read from the file's beginning).
    """
    size = 256 * 1024
    while size <= _LARGEST_TAIL:
        tail = file.tail(size)
        whole = tail[: tail.rfind(b"\n") + 1]
        unwritten = whole.find(b"\0")
        if unwritten >= 0:
            whole = whole[: whole.rfind(b"\n", 0, unwritten) + 1]
        start = whole.rfind(b"\n", 0, max(whole.rfind(_CHECKPOINT_MARK), 0)) + 1
        if start > 0 or len(tail) == file.length:
            return tail, whole, start
        size *= 4
    raise AuditError(
        "the audit file's last checkpoint is too far back",
        remedy="verify the file, move it away as evidence, and start a new one",
        path=file.path,
    )


def _damaged(path: Path) -> AuditError:
    return AuditError(
        "the audit file does not verify and is not continued",
        remedy="verify the file, move it away as evidence, and start a new one",
        path=path,
    )

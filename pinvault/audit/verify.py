"""Verify audit files: find every change that was made after the records were written.

Rules kept here:
- Faults are data (line, kind, remedy); one fault does not end the reading.
- Memory does not grow with the file, whoever wrote it: one line at a time, at most `MAX_FAULTS`
  faults, and the hashes since the last good checkpoint, of which at most `_WINDOW`.
- Nothing is written and no lock is held, so a running service is not disturbed.

What is detected, and by what:
- edited, inserted, deleted and reordered lines, and forks after a restart from an old copy: by
  the chain, as long as the chain key is not in the hands of whoever made the change.
- With the chain key lost: every change before the last checkpoint, by its signature.
- A file cut back in the middle of a line: a torn tail. A file cut back exactly behind a line:
  NOT by the file itself, for a shorter log is a log. It shows only against what was kept
  elsewhere: give `expect`, a worker's last known (size, head), from `Report.heads` of an earlier
  run or from a checkpoint that was sent to another host. Without it, all records after the last
  checkpoint (`unsigned`), and whole checkpoints at the end, can go unseen.
"""

import fcntl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Literal, final

from cryptography.hazmat.primitives.asymmetric import ec

from pinvault.audit import chain
from pinvault.audit.checkpoint import is_genuine, load_public_key
from pinvault.audit.durable import worker_files, worker_path
from pinvault.audit.errors import AuditError
from pinvault.audit.log import CHECKPOINT_EVERY
from pinvault.audit.record import Checkpoint, Entry

Kind = Literal[
    "edited",
    "inserted",
    "deleted",
    "reordered",
    "forked",
    "truncated",
    "bad-checkpoint",
    "missing-checkpoint",
    "torn-tail",
]

REMEDIES: Mapping[Kind, str] = MappingProxyType(
    {
        "edited": "compare this line with a copy of the file",
        "inserted": "no worker wrote this line here: find who can write the file",
        "deleted": "find the missing lines before this one in a copy of the file",
        "reordered": "this line belongs further up: compare with a copy of the file",
        "forked": "the service went on from an old copy: find the other branch",
        "truncated": "lines that were once seen are gone: find them in a copy of the file",
        "bad-checkpoint": "the signature or the head is not the service's: suspect the chain key",
        "missing-checkpoint": "see whether the signing key was away at that time",
        "torn-tail": "a crash in the middle of a write; the next start cuts it off and says so",
    }
)

MAX_FAULTS = 1000
"""Faults kept for one file; `WorkerReport.more_faults` counts the rest."""

_WINDOW = 65_536
_SLACK_RECORDS = 4

Head = tuple[int, str]
"""How many records a file has, and the hash of the last."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something is wrong at a line of a file (0: with the file)."""

    line: int
    kind: Kind
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """What one worker's file turned out to be.

    `records` counts authentic lines in their place; `unsigned` those at the end that no
    good checkpoint covers; `torn_bytes` what restarts noted that they cut off. `live` says
    that a worker holds the file, so that a half-written last line is no fault.
    """

    worker: int
    path: Path
    records: int
    first_time: str
    last_time: str
    checkpoints_good: int
    checkpoints_bad: int
    unsigned: int
    restarts: int
    torn_bytes: int
    ended_orderly: bool
    live: bool
    head: Head
    faults: tuple[Fault, ...]
    more_faults: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the files of a directory turned out to be."""

    workers: tuple[WorkerReport, ...]

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return not any(worker.faults for worker in self.workers)

    @property
    def heads(self) -> dict[int, Head]:
        """Each worker's (size, head): keep them elsewhere, and give them as `expect` next time."""
        return {worker.worker: worker.head for worker in self.workers}


def verify(
    directory: Path,
    *,
    chain_key: bytes,
    public_key: ec.EllipticCurvePublicKey | bytes,
    expect: Mapping[int, Head] = MappingProxyType({}),
    every: int = CHECKPOINT_EVERY,
) -> Report:
    """Read every worker's file in `directory` and report.

    `public_key` is P-256, as an object or DER. `every` is what the log was kept with.
    Raises `AuditError` when a file cannot be read, ValueError for keys of the wrong kind.
    """
    rules = _Rules(
        chain_key=chain.require_key(chain_key),
        public_key=load_public_key(public_key),
        every=every,
    )
    try:
        paths = dict(worker_files(directory))
        paths |= {worker: worker_path(directory, worker) for worker in expect}
        return Report(
            tuple(
                _verify_file(worker, path, rules, expect.get(worker))
                for worker, path in sorted(paths.items())
            )
        )
    except OSError as error:
        raise AuditError(
            "the audit files cannot be read",
            remedy="run as a user who may read the audit directory",
            path=directory,
            errno=error.errno,
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    chain_key: bytes
    public_key: ec.EllipticCurvePublicKey
    every: int


@dataclass(slots=True)
class _Gap:
    """Lines that are not where they should be, and may still come further down."""

    line: int
    sequence: range
    missing: int


def _verify_file(worker: int, path: Path, rules: _Rules, expected: Head | None) -> WorkerReport:
    walk = _Walk(worker, path, rules, expected)
    if path.exists():
        with path.open("rb") as file:
            live = _is_locked(file)
            for line in _lines(file):
                walk.take(line)
            return walk.finish(live=live)
    return walk.finish(live=False)


def _is_locked(file: BinaryIO) -> bool:
    """Tell whether a worker holds the file, without holding it: a start must not fail over us."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Give the lines; of one that is too long, its beginning and its newline."""
    while line := file.readline(chain.MAX_LINE):
        rest = line
        while len(rest) == chain.MAX_LINE and not rest.endswith(b"\n"):
            rest = file.readline(chain.MAX_LINE)
        yield line if rest is line else line + rest[-1:]


@final
class _Walk:
    """The walk down one file: where the chain stands, and what was found on the way."""

    def __init__(self, worker: int, path: Path, rules: _Rules, expected: Head | None) -> None:
        self._worker = worker
        self._path = path
        self._rules = rules
        self._expected = expected
        self._line = 0
        self._head: Head = (0, chain.genesis(worker, chain_key=rules.chain_key))
        self._recent: dict[int, str] = {}
        self._boots: set[str] = set()
        self._strange: list[int] = []
        self._strange_unlisted = 0
        self._torn_tail = False
        self._gaps: list[_Gap] = []
        self._faults: list[Fault] = []
        self._fault_count = 0
        self._records = 0
        self._first_time = self._last_time = ""
        self._good = self._bad = 0
        self._signed = 0
        self._overdue = False
        self._torn_bytes = 0
        self._ended_orderly = False

    def take(self, line: bytes) -> None:
        """Take the next line of the file."""
        self._line += 1
        try:
            entry = chain.read(line, chain_key=self._rules.chain_key)
        except chain.LineError:
            self._take_strange(line)
            return
        if self._place(entry):
            self._account(entry)
            if entry.checkpoint is None:
                self._expect_checkpoint(entry)
            else:
                self._check_checkpoint(entry, entry.checkpoint)

    def finish(self, *, live: bool) -> WorkerReport:
        """Settle what was left open, and report."""
        self._explain_strange(len(self._strange) + self._strange_unlisted)
        for gap in self._gaps:
            if gap.missing > 0:
                self._fault("deleted", gap.line)
        if self._torn_tail and not live:
            self._fault("torn-tail", self._line)
        if self._expected and self._expected[0] > self._head[0]:
            self._fault("truncated", 0)
        return WorkerReport(
            worker=self._worker,
            path=self._path,
            records=self._records,
            first_time=self._first_time,
            last_time=self._last_time,
            checkpoints_good=self._good,
            checkpoints_bad=self._bad,
            unsigned=self._head[0] - self._signed,
            restarts=max(len(self._boots) - 1, 0),
            torn_bytes=self._torn_bytes,
            ended_orderly=self._ended_orderly,
            live=live,
            head=self._head,
            faults=tuple(sorted(self._faults, key=lambda fault: fault.line)),
            more_faults=self._fault_count - len(self._faults),
        )

    def _take_strange(self, line: bytes) -> None:
        """Remember a line that is not authentic until it is known what it replaced."""
        if not line.endswith(b"\n"):
            self._torn_tail = True
        elif len(self._strange) < MAX_FAULTS:
            self._strange.append(self._line)
        else:
            self._strange_unlisted += 1

    def _place(self, entry: Entry) -> bool:
        """Find an authentic line's place; tell whether the chain goes on from it."""
        size, head = self._head
        ahead = entry.seq - size - 1
        if ahead < 0:
            return self._place_again(entry)
        if ahead == 0 and entry.prev != head:
            self._fault("forked", self._line)
        edited = min(ahead, len(self._strange) + self._strange_unlisted)
        if ahead > edited and len(self._gaps) < MAX_FAULTS:
            self._gaps.append(_Gap(self._line, range(size + 1, entry.seq), ahead - edited))
        elif ahead > edited:
            self._fault("deleted", self._line)
        self._explain_strange(edited)
        return True

    def _place_again(self, entry: Entry) -> bool:
        """Place a line whose number the chain has passed: moved, copied, or another branch."""
        if entry.boot is not None and entry.hash not in self._boots:
            self._fault("forked", self._line)
            return True
        for gap in self._gaps:
            if entry.seq in gap.sequence and gap.missing > 0:
                gap.missing -= 1
                self._fault("reordered", self._line)
                return False
        self._fault("inserted", self._line)
        return False

    def _explain_strange(self, edited: int) -> None:
        """Blame lines that are not authentic, now that it is known how many places they fill."""
        for index, line in enumerate(self._strange):
            self._fault("edited" if index < edited else "inserted", line)
        self._fault_count += self._strange_unlisted
        self._strange_unlisted = 0
        self._strange.clear()

    def _account(self, entry: Entry) -> None:
        self._head = (entry.seq, entry.hash)
        self._signed = min(self._signed, entry.seq - 1)
        self._records += 1
        self._first_time = self._first_time or entry.time
        self._last_time = entry.time
        self._recent[entry.seq] = entry.hash
        if len(self._recent) > _WINDOW:
            del self._recent[next(iter(self._recent))]
        if entry.boot is not None:
            self._boots.add(entry.hash)
            self._torn_bytes += entry.boot.torn_bytes
            if entry.boot.worker != self._worker:
                self._fault("inserted", self._line)
        if entry.event != "checkpoint":
            self._ended_orderly = entry.event == "shutdown"
        if self._expected and entry.seq == self._expected[0] and entry.hash != self._expected[1]:
            self._fault("forked", self._line)

    def _expect_checkpoint(self, entry: Entry) -> None:
        """Note once, with generous slack, that a checkpoint should have come by now.

        Records are counted, not time: a paused machine or a clock that is set is no tampering.
        """
        many = entry.seq - self._signed > _SLACK_RECORDS * self._rules.every
        if many and not self._overdue:
            self._overdue = True
            self._fault("missing-checkpoint", self._line)

    def _check_checkpoint(self, entry: Entry, note: Checkpoint) -> None:
        known = self._recent.get(note.size) == note.head
        genuine = is_genuine(
            note, public_key=self._rules.public_key, worker=self._worker, time=entry.time
        )
        if not (known and genuine):
            self._bad += 1
            self._fault("bad-checkpoint", self._line)
            return
        self._good += 1
        nothing_between = note.size == entry.seq - 1
        self._signed = entry.seq if nothing_between else note.size
        self._overdue = False
        self._recent = {seq: value for seq, value in self._recent.items() if seq >= note.size}

    def _fault(self, kind: Kind, line: int) -> None:
        self._fault_count += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(line, kind, REMEDIES[kind]))

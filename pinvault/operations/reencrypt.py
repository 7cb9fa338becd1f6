"""What the store holds moves to the present version of its key, while the service goes on.

Rules:
- Chunks are claimed by any number of processes. The HSM works on one outside of any transaction;
  its rows and the mark that it is done are written in one, by its newest claim alone.
- A row moves from an earlier version of the very same key, never back and never from another key:
  who can write to the store must not choose what opens a row.
- A row that does not prove well-formed is left as it is, and told by its card's id. It ends
  nothing: the others move.
- A row that changed after it was read is left to the next pass. Passes follow one another until no
  row is left or one changed nothing; not for ever, since somebody may still write under an earlier
  version.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from itertools import count, islice
from typing import Final

from pinvault.clearzone.restore import RestoreZone, StoredColumn
from pinvault.model.call import Deadline
from pinvault.model.cards import owner
from pinvault.model.keys import Key, KeyDirectory, State
from pinvault.store import Connection, Store, reencrypt
from pinvault.store.reencrypt import CIPHERTEXTS, Chunk, PanRow, PinRow, Progress, Row

PANS: Final = "card.pan"
HSM_TIMEOUT_S: Final = 30.0
MOST_PASSES: Final = 4
"""How often one call goes over a column."""
POLL_S: Final = 0.5
"""How long to wait before it is looked again whether others have ended, in seconds."""
MICROSECONDS: Final = 1_000_000


@unique
class Fault(StrEnum):
    """Why a row was left as it is."""

    UNREADABLE = "does not open under its key, for its card and its PAN"
    KEY = "is under a key version that this process cannot move it from"


@dataclass(frozen=True, slots=True)
class Left:
    """A row that was left: its card, the key version that it names, and why."""

    card_id: str
    key: str
    fault: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What this process did since the step before, and how far all are: `done` of `total`.

    `rows` were looked at, `moved` of them written, and those `left` are told.
    """

    rows: int = 0
    moved: int = 0
    left: tuple[Left, ...] = ()
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reencrypt:
    """The use case, a column at a time; `pans` names the key of the stored PANs.

    `size` is how many rows a chunk has, `lease_s` how long a claim holds, `rest_s` how long to
    rest after each chunk, with `pause`; `now` gives Unix seconds.
    """

    store: Store
    zone: RestoreZone
    keys: KeyDirectory
    pans: str
    worker: str
    size: int
    lease_s: float
    now: Callable[[], float]
    pause: Callable[[float], object]
    rest_s: float = 0.0

    def move(self, column: str, present: Key) -> Iterator[Step]:
        """Move a column to the present version, a chunk at a step; may be left after any."""
        names = (f"{column}:{present.id}:{number}" for number in count(1))
        jobs = (job for job in names if not self._is_over(job))
        for job in islice(jobs, MOST_PASSES):
            if not self._rows_left(column, present):
                return
            yield from self._pass(job, column, present)
            if not self._progress(job).changed:
                return

    def try_out(self, column: str, present: Key) -> Iterator[Step]:
        """Do all that `move` does but write."""
        return self._look(column, present, above=present.id, target=present.id)

    def verify(self, column: str, present: Key) -> Iterator[Step]:
        """Open every row of a column under the key version that it names."""
        return self._look(column, present, above="", target=None)

    def rows_by_key(self, column: str) -> dict[str, int]:
        """Count the rows of a column under each key version."""
        with self.store.read() as db:
            return reencrypt.rows_by_key(db, CIPHERTEXTS[column])

    def _pass(self, job: str, column: str, present: Key) -> Iterator[Step]:
        target = CIPHERTEXTS[column]
        self.store.transact(lambda db: reencrypt.plan(db, job, target, size=self.size))
        while True:
            chunk = self._claim(job)
            if chunk is not None:
                yield self._move(chunk, column, present)
                self.pause(self.rest_s)
                continue
            progress = self._progress(job)
            if progress.done == progress.chunks:
                return
            yield Step(done=progress.done, total=progress.chunks)  # others are at the rest
            self.pause(POLL_S)

    def _claim(self, job: str) -> Chunk | None:
        now = self._now_us()
        until = now + int(self.lease_s * MICROSECONDS)
        return self.store.transact(
            lambda db: reencrypt.claim(db, job, worker=self.worker, now=now, until=until)
        )

    def _move(self, chunk: Chunk, column: str, present: Key) -> Step:
        rows = self._rows(chunk, column, besides=present.id)
        made, left = self._again(rows, present.name, target=present.id)

        def write(db: Connection) -> tuple[int, Progress]:
            target = CIPHERTEXTS[column]
            changed = reencrypt.write_back(db, target, made, present=present.id)
            if not reencrypt.finish(db, chunk, now=self._now_us(), changed=changed):
                raise _ClaimedAgain
            return changed, reencrypt.progress(db, chunk.job)

        try:
            moved, progress = self.store.transact(write)
        except _ClaimedAgain:  # who claimed it again moves these rows
            moved, left, progress = 0, (), self._progress(chunk.job)
        return Step(
            rows=len(rows), moved=moved, left=left, done=progress.done, total=progress.chunks
        )

    def _look(self, column: str, present: Key, *, above: str, target: str | None) -> Iterator[Step]:
        """Go over the rows that are not under the version `above`, and write nothing."""
        total = sum(n for key, n in self.rows_by_key(column).items() if key != above)
        after, done = "", 0
        while chunk := self._range(column, after):
            rows = self._rows(chunk, column, besides=above)
            _, left = self._again(rows, present.name, target=target)
            after, done = chunk.last_id, done + len(rows)
            yield Step(rows=len(rows), left=left, done=done, total=max(done, total))
            self.pause(self.rest_s)

    def _range(self, column: str, after: str) -> Chunk | None:
        with self.store.read() as db:
            ids = reencrypt.range_after(db, CIPHERTEXTS[column], after, size=self.size)
        return None if ids is None else Chunk(job="", first_id=ids[0], last_id=ids[1], attempt=0)

    def _rows(self, chunk: Chunk, column: str, *, besides: str) -> Sequence[PanRow | PinRow]:
        with self.store.read() as db:
            if column == PANS:
                return reencrypt.pan_rows_of(db, chunk, present=besides)
            return reencrypt.pin_rows_of(db, chunk, CIPHERTEXTS[column], present=besides)

    def _again(
        self, rows: Iterable[PanRow | PinRow], name: str, *, target: str | None
    ) -> tuple[list[tuple[Row, bytes]], tuple[Left, ...]]:
        """Give the rows that opened with their new ciphertexts, and those that are left."""
        groups: dict[tuple[str, str], list[PanRow | PinRow]] = {}
        for row in rows:
            pan_key = row.pan_key if isinstance(row, PinRow) else row.key
            groups.setdefault((row.key, pan_key), []).append(row)
        made: list[tuple[Row, bytes]] = []
        left: list[Left] = []
        for (key, pan_key), members in groups.items():
            if not (self._opens(key, name) and self._opens(pan_key, self.pans)):
                left += (Left(row.id, key, Fault.KEY) for row in members)
                continue
            for row, data in zip(members, self._restored(members, target), strict=True):
                if data is None:
                    left.append(Left(row.id, key, Fault.UNREADABLE))
                else:
                    made.append((row, data))
        return made, tuple(left)

    def _opens(self, key_id: str, name: str) -> bool:
        """Whether rows under a key version may be opened: one of the very name, not retired."""
        key = self.keys.get(key_id)
        return key is not None and key.name == name and key.state is not State.RETIRED

    def _restored(self, rows: Sequence[PanRow | PinRow], target: str | None) -> list[bytes | None]:
        """Have the clear zone open rows of one key, or of one pair of keys, and encipher them."""
        deadline = Deadline.after(HSM_TIMEOUT_S)
        owners = [owner(row.id, row.program, row.external_id) for row in rows]
        sealed = StoredColumn(rows[0].key, [row.data for row in rows])
        pins = [row for row in rows if isinstance(row, PinRow)]
        if not pins:
            indexes = [row.pan_index for row in rows]
            return self.zone.pans(
                sealed, owners=owners, indexes=indexes, target=target, deadline=deadline
            )
        pans = StoredColumn(pins[0].pan_key, [row.pan_cipher for row in pins])
        return self.zone.blocks(sealed, pans=pans, owners=owners, target=target, deadline=deadline)

    def _rows_left(self, column: str, present: Key) -> bool:
        with self.store.read() as db:
            return reencrypt.rows_left(db, CIPHERTEXTS[column], present=present.id)

    def _is_over(self, job: str) -> bool:
        """Whether a pass was over before, made by whichever process."""
        progress = self._progress(job)
        return 0 < progress.chunks == progress.done

    def _progress(self, job: str) -> Progress:
        with self.store.read() as db:
            return reencrypt.progress(db, job)

    def _now_us(self) -> int:
        return int(self.now() * MICROSECONDS)


class _ClaimedAgain(Exception):
    """The claim ran out, and another process has the chunk."""

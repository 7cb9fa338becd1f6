"""Flat combining without a disk: nobody is lost, whoever fails, leaves or dies."""

import threading
import time
from collections.abc import Sequence

import pytest

from pinvault.audit.combine import MAX_BATCH, Combiner
from pinvault.audit.errors import AuditUnavailable


class Disk:
    """A commit that can be held up or made to fail."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.error: BaseException | None = None

    def commit(self, bodies: Sequence[bytes]) -> None:
        self.entered.release()
        assert self.go.wait(10)
        if self.error:
            raise self.error
        self.batches.append(list(bodies))


class Crowd:
    """Threads that submit, and what became of each."""

    def __init__(self, combiner: Combiner) -> None:
        self.combiner = combiner
        self.outcome: dict[int, BaseException | None] = {}
        self.threads: list[threading.Thread] = []

    def send(self, number: int, timeout: float = 10) -> None:
        def work() -> None:
            try:
                self.combiner.submit(b"%d" % number, timeout=timeout)
                self.outcome[number] = None
            except (AuditUnavailable, MemoryError) as error:
                self.outcome[number] = error

        thread = threading.Thread(target=work)
        thread.start()
        self.threads.append(thread)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def crowd(disk: Disk) -> Crowd:
    return Crowd(Combiner(disk.commit))


def queued(crowd: Crowd, count: int) -> None:
    end = time.monotonic() + 10
    while len(crowd.combiner._queue) != count:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_who_comes_during_a_write_goes_together_in_order(disk: Disk, crowd: Crowd) -> None:
    crowd.send(0)
    disk.entered.acquire()
    for number in range(1, 9):
        crowd.send(number)
        queued(crowd, number)
    disk.go.set()
    crowd.join()
    assert disk.batches == [[b"0"], [b"%d" % number for number in range(1, 9)]]
    assert set(crowd.outcome.values()) == {None}


def test_a_failed_batch_fails_every_member_and_the_next_works(disk: Disk, crowd: Crowd) -> None:
    disk.error = AuditUnavailable("full", remedy="free space", errno=28)
    disk.go.set()
    crowd.send(0)
    crowd.join()
    disk.go.clear()
    disk.entered.acquire()
    for number in range(1, 6):
        crowd.send(number)
    disk.entered.acquire()
    disk.go.set()
    crowd.join()
    errors = list(crowd.outcome.values())
    assert all(isinstance(error, AuditUnavailable) and error.errno == 28 for error in errors)
    assert len({id(error) for error in errors}) == 6
    disk.error = None
    crowd.send(6)
    crowd.join()
    assert crowd.outcome[6] is None


def test_a_leader_that_dies_fails_its_batch_and_hands_over(disk: Disk, crowd: Crowd) -> None:
    disk.error = MemoryError()
    crowd.send(0)
    disk.entered.acquire()
    for number in range(1, 4):
        crowd.send(number)
    queued(crowd, 3)
    disk.go.set()
    crowd.join()
    kinds = sorted(type(error).__name__ for error in crowd.outcome.values())
    assert kinds == ["AuditUnavailable", "AuditUnavailable", "MemoryError", "MemoryError"]
    disk.error = None
    crowd.send(9)
    crowd.join()
    assert crowd.outcome[9] is None


def test_whose_time_is_up_leaves_unwritten(disk: Disk, crowd: Crowd) -> None:
    crowd.send(0)
    disk.entered.acquire()
    crowd.send(1, timeout=0.02)
    crowd.threads[1].join(10)
    crowd.send(2)
    queued(crowd, 1)
    disk.go.set()
    crowd.join()
    assert isinstance(crowd.outcome[1], AuditUnavailable)
    assert disk.batches == [[b"0"], [b"2"]]


def test_whose_time_is_up_during_the_write_is_not_told_it_worked(disk: Disk, crowd: Crowd) -> None:
    crowd.send(0)
    disk.entered.acquire()
    crowd.send(1)
    queued(crowd, 1)
    crowd.send(2, timeout=0.2)
    queued(crowd, 2)
    disk.go.set()
    disk.go.clear()
    disk.entered.acquire()
    crowd.threads[2].join(10)
    assert isinstance(crowd.outcome[2], AuditUnavailable)
    disk.go.set()
    crowd.join()


def test_no_wake_up_is_lost_when_times_run_out(disk: Disk, crowd: Crowd) -> None:
    """Timeouts of about a write's length: seats are handed to threads about to leave."""
    disk.go.set()
    commit, written = disk.commit, []

    def slow(bodies: Sequence[bytes]) -> None:
        time.sleep(0.001)
        commit(bodies)
        written.extend(bodies)

    crowd.combiner._commit = slow
    for number in range(300):
        crowd.send(number, timeout=(number % 7) * 0.0005)
    crowd.join()
    done = {b"%d" % number for number, error in crowd.outcome.items() if error is None}
    assert done <= set(written)
    assert len(written) == len(set(written))
    crowd.send(1000)
    crowd.join()
    assert crowd.outcome[1000] is None


def test_who_is_chosen_at_the_last_moment_leads(disk: Disk) -> None:
    """The seat comes after the wait ran out, and before the mutex was had."""
    combiner = Combiner(disk.commit)
    disk.go.set()
    late, other = ticket(b"late"), ticket(b"other")
    combiner._busy = True
    combiner._queue = [late, other]
    combiner._hand_over()
    combiner._give_up(late)
    assert late in combiner._queue
    combiner._lead()
    assert disk.batches == [[b"late", b"other"]]
    assert not combiner._busy
    assert other.gate.acquire(blocking=False)


def test_batches_are_bounded(disk: Disk) -> None:
    combiner = Combiner(disk.commit)
    disk.go.set()
    combiner._queue = [ticket(b"%d" % number) for number in range(MAX_BATCH + 5)]
    combiner._busy = True
    combiner._lead()
    assert [len(batch) for batch in disk.batches] == [MAX_BATCH]
    assert len(combiner._queue) == 5


def test_retiring_waits_for_what_was_accepted(disk: Disk, crowd: Crowd) -> None:
    crowd.send(0)
    disk.entered.acquire()
    crowd.send(1)
    queued(crowd, 1)
    assert not crowd.combiner.retire(timeout=0.01)
    with pytest.raises(AuditUnavailable):
        crowd.combiner.submit(b"late", timeout=1)
    disk.go.set()
    assert crowd.combiner.retire(timeout=10)
    crowd.join()
    assert disk.batches == [[b"0"], [b"1"]]


def test_an_endless_timeout_is_taken(disk: Disk, crowd: Crowd) -> None:
    crowd.send(0)
    disk.entered.acquire()
    crowd.send(1, timeout=float("inf"))
    queued(crowd, 1)
    disk.go.set()
    crowd.join()
    assert crowd.outcome[1] is None


def ticket(body: bytes):
    from pinvault.audit.combine import _Ticket

    return _Ticket(body)

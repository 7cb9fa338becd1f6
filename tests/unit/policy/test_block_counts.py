"""Blocks under a TDES key are counted over threads, processes and restarts, and never too few."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinvault.policy import block_counts
from pinvault.policy.block_counts import DRAWN, BlockCounts, KeyName, WornOut
from pinvault.policy.shared_table import TableError

KEY: KeyName = ("zpk-switch", 1, "ABCDEF")
OTHER: KeyName = ("zpk-switch", 2, "ABCDE0")
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "blocks.table"


def opened(path: Path, *, warn: int = 2**40, refuse: int = 0) -> BlockCounts:
    return BlockCounts.open(path, warn=warn, refuse=refuse)


def test_a_count_is_what_was_counted_once_all_is_given_back(path: Path) -> None:
    counts = opened(path)
    for blocks in (1, 1, 10_000, 3):
        counts.count(KEY, blocks)
    counts.count(OTHER, 5)
    assert 10_005 <= counts.total(KEY) < 10_005 + DRAWN
    counts.close()
    counts.close()
    again = opened(path)
    assert (again.total(KEY), again.total(OTHER)) == (10_005, 5)
    assert again.total(("zpk-switch", 1, "ABCDE0")) == 0, "another key under the same id"
    again.close()


@settings(max_examples=60)
@given(
    refuse=st.integers(1, 400),
    calls=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60)), max_size=40),
)
def test_no_more_is_let_through_than_the_bound_and_not_much_less(
    refuse: int, calls: list[tuple[int, int]], tmp_path_factory
) -> None:
    """Three workers at one file."""
    path = tmp_path_factory.mktemp("counts") / "blocks.table"
    workers = [opened(path, refuse=refuse) for _ in range(3)]
    passed = 0
    for worker, blocks in calls:
        before = workers[worker].total(KEY)
        try:
            workers[worker].count(KEY, blocks)
        except WornOut:
            assert before + blocks > refuse, "refused though there was room"
        else:
            passed += blocks
        assert passed <= min(refuse, workers[worker].total(KEY))
    for worker in workers:
        worker.close()
    again = opened(path)
    assert again.total(KEY) == passed
    again.close()


def test_single_blocks_come_close_to_the_bound(path: Path) -> None:
    workers = [opened(path, refuse=100) for _ in range(2)]
    passed = 0
    for number in range(300):
        try:
            workers[number % 2].count(KEY, 1)
        except WornOut:
            continue
        passed += 1
    assert passed == 100
    for worker in workers:
        worker.close()


def test_it_warns_once_for_each_key_of_the_host(path: Path) -> None:
    told: list[tuple[KeyName, int]] = []
    for _ in range(3):
        workers = [opened(path, warn=100) for _ in range(2)]
        for worker in workers:
            worker.warned = lambda key, blocks: told.append((key, blocks))
            for _ in range(60):
                worker.count(KEY, 1)
        for worker in workers:
            worker.close()
    ((key, blocks),) = told
    assert key == KEY
    assert 100 <= blocks < 100 + 2 * DRAWN


def _count(path: Path, times: int, ready, die: bool) -> None:
    counts = opened(path)
    for _ in range(times):
        counts.count(KEY, 1)
    if die:
        ready.set()
        os.kill(os.getpid(), signal.SIGKILL)
    counts.close()


def test_processes_and_their_violent_ends_lose_nothing(path: Path) -> None:
    ready = FORK.Event()
    workers = [FORK.Process(target=_count, args=(path, 1000, ready, die)) for die in (True, False)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    counts = opened(path)
    assert 2000 <= counts.total(KEY) < 2000 + DRAWN
    counts.close()


def test_threads_lose_nothing(path: Path) -> None:
    counts = opened(path)
    threads = [
        threading.Thread(target=lambda: [counts.count(KEY, 1) for _ in range(500)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts.close()
    again = opened(path)
    assert again.total(KEY) == 2000
    again.close()


def test_every_key_has_a_place_until_all_are_taken(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(block_counts, "SLOTS", 70)
    monkeypatch.setattr(block_counts, "_SIZE", 64 + 70 * 32)
    counts = opened(path)
    names = [(f"key-{n}", n % 9999, f"{n:06X}") for n in range(70)]
    for number, name in enumerate(names[:50]):
        counts.count(name, number + 1)
    counts.close()
    again = opened(path)
    assert [again.total(name) for name in names[:50]] == list(range(1, 51))
    for name in names[50:]:
        again.count(name, 1)
    with pytest.raises(TableError) as full:
        again.count(("one-too-many", 1, "ABCDEF"), 1)
    assert "move the file away" in full.value.remedy
    again.count(names[0], 1)
    again.close()


SPOILT = {
    "another file": lambda path: path.write_bytes(b"x" * 4096),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-32]),
    "open to others": lambda path: path.chmod(0o644),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_is_not_the_counts_is_refused_and_left_alone(path: Path, how: str) -> None:
    opened(path).close()
    SPOILT[how](path)
    before = path.read_bytes()
    with pytest.raises(TableError) as refused:
        opened(path)
    assert refused.value.remedy
    assert path.read_bytes() == before


def test_a_link_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "link", tmp_path / "nowhere" / "blocks.table"):
        with pytest.raises(TableError):
            opened(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_is_held_for_too_long_is_told(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(block_counts, "LOCK_TIMEOUT_S", 0.02)
    holder, other = opened(path), opened(path)
    with block_counts._held(holder._fd, path), pytest.raises(TableError) as refused:
        other.count(KEY, 1)
    assert "process" in refused.value.remedy
    other.count(KEY, 1)
    for each in (holder, other):
        each.close()


def test_closed_counts_count_nothing(path: Path) -> None:
    counts = opened(path)
    counts.close()
    with pytest.raises(TableError):
        counts.count(KEY, 1)

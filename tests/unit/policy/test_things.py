"""Things that the table keeps for the key they were first shown for, whatever comes between."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pinvault.policy.shared_table import PROBES, SharedTable, TableFull
from tests.unit.policy.test_shared_table import NOW, opened, path, show

__all__ = ["path"]


def test_a_thing_is_whose_it_was_first_as_long_as_that_is_remembered(path: Path) -> None:
    table = opened(path)
    assert show(table, b"mine", b"thing") == 0.0
    assert show(table, b"other", b"thing") == 60.0
    assert show(table, b"mine", b"thing", now=NOW + 30) == 0.0
    assert show(table, b"other", b"thing", now=NOW + 100) == 20.0
    assert show(table, b"other", b"thing", now=NOW + 120) == 0.0
    assert show(table, b"mine", b"thing", now=NOW + 121) == 59.0


def test_what_is_refused_counts_nothing_and_takes_nothing(path: Path) -> None:
    table = opened(path)
    assert show(table, b"mine", b"one") == 0.0
    for things in ((b"two", b"one"), (b"one", b"two")):
        assert show(table, b"other", *things, burst=1) == 60.0
    assert show(table, b"third", b"two") == 0.0
    assert show(table, b"other", burst=1) == 0.0, "its rate was not used"
    assert show(table, b"other", b"three", burst=1) == 60.0
    assert show(table, b"third", b"three") == 0.0, "nor is a thing taken beyond the rate"


def test_two_things_of_one_call_may_be_one(path: Path) -> None:
    table = opened(path)
    assert show(table, b"mine", b"thing", b"thing") == 0.0
    assert show(table, b"mine", b"other", b"thing") == 0.0
    assert [show(table, b"another", thing) > 0 for thing in (b"thing", b"other")] == [True, True]
    assert table.live(now=NOW) == 3


def test_things_keys_and_claims_of_one_name_do_not_meet(path: Path) -> None:
    table = opened(path)
    assert show(table, b"k", b"k", burst=1) == 0.0
    assert table.claim_once(b"k", now=NOW, until=NOW + 10)
    assert show(table, b"k", b"k", burst=1) == 60.0
    assert table.live(now=NOW) == 3


def test_a_thing_that_is_kept_stays_its_owners_beyond_the_rate(path: Path) -> None:
    table = opened(path)
    table.keep(b"thing", b"mine", now=NOW, until=NOW + 900)
    table.keep(b"thing", b"other", now=NOW, until=NOW + 5000)
    assert show(table, b"other", b"thing") == 900.0
    assert show(table, b"mine", b"thing") == 0.0, "no event was counted"
    assert show(table, b"other", b"thing", now=NOW + 899) == 1.0, "nor is it kept for less"
    table.keep(b"thing", b"mine", now=NOW, until=NOW + 10)
    assert show(table, b"other", b"thing", now=NOW + 899) == 1.0
    assert show(table, b"other", b"thing", now=NOW + 900) == 0.0


def test_things_outlive_a_restart_and_cannot_be_read(path: Path) -> None:
    table = opened(path)
    assert show(table, b"mine", b"5A5A5A5A5A5A5A5A") == 0.0
    table.keep(b"kept", b"mine", now=NOW, until=NOW + 900)
    table.close()
    assert b"5A5A" not in path.read_bytes()
    table = opened(path)
    assert show(table, b"other", b"5A5A5A5A5A5A5A5A") == 60.0
    assert show(table, b"other", b"kept") == 900.0


def test_without_room_for_a_thing_the_call_is_refused(path: Path) -> None:
    """One slot is left for a key and two things: whoever cannot be told from others is refused."""
    table = opened(path, slots=PROBES)
    assert show(table, b"mine", b"old") == 0.0
    for number in range(PROBES - 3):
        assert table.claim_once(b"%d" % number, now=NOW, until=NOW + 900)
    assert show(table, b"mine", b"old") == 0.0, "what has its slots goes on"
    with pytest.raises(TableFull):
        show(table, b"new", b"one", b"two")
    assert table.live(now=NOW) <= PROBES
    with pytest.raises(TableFull):
        table.keep(b"three", b"new", now=NOW, until=NOW + 10)
    assert show(table, b"new", b"old") > 0.0
    assert show(table, b"new", b"one", b"two", now=NOW + 900) == 0.0
    assert show(table, b"mine", b"two", now=NOW + 900) > 0.0


class Killed(BaseException):
    """The process ended at this write."""


class Dying:
    """Memory of the table that can be written so often; then the process ends."""

    def __init__(self, memory: Any, left: list[int]) -> None:
        self._memory, self._left = memory, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def __getitem__(self, at: Any) -> Any:
        return self._memory[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        if not self._left[0]:
            raise Killed
        self._left[0] -= 1
        self._memory[at] = value


def dies_after(writes: int, table: SharedTable, act: Callable[[SharedTable], object]) -> bool:
    """Do something in a process that is killed after so many writes; tell whether it was."""
    words, memory, left = table._words, table._map, [writes]
    table._words, table._map = Dying(words, left), Dying(memory, left)
    try:
        act(table)
    except Killed:
        return True
    finally:
        table._words, table._map = words, memory
    return False


def test_a_kill_at_any_write_gives_nobody_what_is_anothers(path: Path) -> None:
    """An event may be lost that was never answered, and a thing be kept that was not shown."""
    writes, killed = 0, True
    while killed:
        table = opened(path, slots=PROBES)
        assert show(table, b"mine", b"old") == 0.0
        table.keep(b"kept", b"mine", now=NOW, until=NOW + 900)
        table.keep(b"free", b"other", now=NOW, until=NOW + 1)
        dies_after(writes, table, lambda t: show(t, b"third", b"free", now=NOW + 60))
        killed = dies_after(writes, table, lambda t: show(t, b"mine", b"old", b"new", now=NOW + 61))
        dies_after(writes, table, lambda t: show(t, b"other", b"kept", now=NOW + 61))
        dies_after(writes, table, lambda t: t.keep(b"kept", b"other", now=NOW, until=NOW + 9999))
        assert show(table, b"other", b"kept", now=NOW + 61) == 839.0
        assert (show(table, b"other", b"new", now=NOW + 62) > 0.0) is not killed
        assert show(table, b"mine", b"old", b"kept", now=NOW + 63) == 0.0
        assert show(table, b"third", b"free", now=NOW + 63) == 0.0
        assert show(table, b"other", b"old", now=NOW + 64) > 0.0
        table.close()
        path.unlink()
        writes += 1
    assert writes > 4, "a call with two things writes as often"


def test_a_thing_is_won_by_one_among_threads(path: Path) -> None:
    tables = [opened(path) for _ in range(2)]
    won: list[int] = []

    def work(thread: int) -> None:
        table, key = tables[thread % 2], b"%d" % thread
        won.extend(n for n in range(100) if not show(table, key, b"%d" % n, burst=100))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(100))

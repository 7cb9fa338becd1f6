"""The table's file: made whole or not at all, refused when strange, full when full."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pinvault.policy import shared_table
from pinvault.policy.shared_table import PROBES, SharedTable, TableError, TableFull

SECRET = bytes(range(32))
NOW = 1_770_000_000.0
HEADER_BYTES = 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "limits.table"


def opened(path: Path, *, slots: int = 1024, secret: bytes = SECRET) -> SharedTable:
    return SharedTable.open(path, secret=secret, slots=slots)


def show(table: SharedTable, key: bytes, *things: bytes, now: float = NOW, burst: int = 9) -> float:
    return table.conform(key, now=now, interval=60, burst=burst, things=things)


def test_a_claim_holds_until_its_time(path: Path) -> None:
    table = opened(path)
    assert table.claim_once(b"k", now=NOW, until=NOW + 10)
    assert not table.claim_once(b"k", now=NOW + 9.9, until=NOW + 99)
    assert table.claim_once(b"other", now=NOW, until=NOW + 10)
    assert table.claim_once(b"k", now=NOW + 10, until=NOW + 20)
    assert not table.claim_once(b"expired", now=NOW, until=NOW)


def test_rates_and_claims_of_one_key_do_not_meet(path: Path) -> None:
    table = opened(path)
    assert table.claim_once(b"k", now=NOW, until=NOW + 10)
    assert table.conform(b"k", now=NOW, interval=1, burst=1) == 0.0
    assert table.conform(b"k", now=NOW, interval=1, burst=1) == 1.0


def test_counts_and_claims_outlive_a_restart(path: Path) -> None:
    table = opened(path)
    for _ in range(3):
        assert table.conform(b"k", now=NOW, interval=60, burst=3) == 0.0
    table.claim_once(b"n", now=NOW, until=NOW + 60)
    table.close()
    table = opened(path)
    assert table.conform(b"k", now=NOW, interval=60, burst=3) == 60.0
    assert not table.claim_once(b"n", now=NOW, until=NOW + 60)
    assert table.live(now=NOW) == 2


def test_nothing_readable_stands_in_the_file(path: Path) -> None:
    opened(path).claim_once(b"5555555551234567", now=NOW, until=NOW + 10)
    content = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"5555" not in content
    assert SECRET not in content
    other = path.with_name("other")
    opened(other, secret=bytes(32)).claim_once(b"5555555551234567", now=NOW, until=NOW + 10)
    slots = {other.read_bytes()[i : i + 24] for i in range(HEADER_BYTES, 1024 * 32, 32)}
    mine = {content[i : i + 24] for i in range(HEADER_BYTES, 1024 * 32, 32)}
    assert slots & mine == {bytes(24)}


def test_a_full_window_refuses_and_time_frees_it(path: Path) -> None:
    table = opened(path, slots=PROBES)
    for number in range(PROBES):
        assert table.claim_once(b"%d" % number, now=NOW, until=NOW + 10)
    with pytest.raises(TableFull):
        table.claim_once(b"one more", now=NOW, until=NOW + 10)
    with pytest.raises(TableFull):
        table.conform(b"one more", now=NOW, interval=1, burst=1)
    assert not table.claim_once(b"0", now=NOW, until=NOW + 10)
    assert table.claim_once(b"one more", now=NOW + 10, until=NOW + 20)
    assert table.live(now=NOW + 10) == 1


def test_a_table_half_full_of_the_living_still_takes_every_key(path: Path) -> None:
    table = opened(path, slots=2048)
    for number in range(1024):
        assert table.claim_once(b"%d" % number, now=NOW, until=NOW + 10)
    assert not any(table.claim_once(b"%d" % n, now=NOW, until=NOW + 10) for n in range(1024))
    assert table.live(now=NOW) == 1024


def test_a_clock_that_steps_back_only_makes_it_stricter(path: Path) -> None:
    table = opened(path)
    assert table.conform(b"k", now=NOW, interval=10, burst=1) == 0.0
    assert table.conform(b"k", now=NOW - 100, interval=10, burst=1) == 110.0
    assert table.conform(b"k", now=NOW + 10, interval=10, burst=1) == 0.0


@pytest.mark.parametrize("at", range(48))
def test_a_header_with_any_byte_changed_is_refused(path: Path, at: int) -> None:
    opened(path).close()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(TableError) as caught:
        opened(path)
    assert "remove the file" in caught.value.remedy


def test_foreign_files_are_refused_and_left_alone(path: Path) -> None:
    path.touch(mode=0o600)
    for content in (b"x", b"\0" * 100, b"#!/bin/sh\n" * 5000):
        path.write_bytes(content)
        with pytest.raises(TableError):
            opened(path)
        assert path.read_bytes() == content


def test_another_size_or_secret_is_refused(path: Path) -> None:
    opened(path).close()
    with pytest.raises(TableError):
        opened(path, slots=2048)
    with pytest.raises(TableError):
        opened(path, secret=bytes(32))
    os.truncate(path, 5000)
    with pytest.raises(TableError):
        opened(path)


def test_a_file_left_half_made_is_made(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_bytes(bytes(HEADER_BYTES + 1024 * 32))
    assert opened(path).claim_once(b"k", now=NOW, until=NOW + 1)


def test_a_file_open_to_others_or_a_link_is_refused(path: Path) -> None:
    opened(path).close()
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(TableError):
        opened(link)
    path.chmod(0o660)
    with pytest.raises(TableError):
        opened(path)


def test_a_slot_that_holds_no_time_is_damage_for_its_key(path: Path) -> None:
    table = opened(path, slots=PROBES)
    table.claim_once(b"k", now=NOW, until=NOW + 10)
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<d", NOW + 10))
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack("<d", float("nan")))
    with pytest.raises(TableError):
        table.claim_once(b"k", now=NOW, until=NOW + 10)
    assert table.claim_once(b"other", now=NOW, until=NOW + 10)


def test_a_crash_between_digest_and_time_costs_one_slots_claim_at_most(path: Path) -> None:
    table = opened(path, slots=PROBES)
    digest = table._digest(b"once", b"k")
    word, _ = table._find(digest, NOW)
    assert table.live(now=NOW) == 0
    assert table.claim_once(b"k", now=NOW, until=NOW + 10)
    assert table._find(digest, NOW)[0] == word
    assert table.live(now=NOW) == 1


def test_a_removed_file_is_used_no_further(path: Path) -> None:
    table = opened(path)
    path.unlink()
    for use in (
        lambda: table.claim_once(b"k", now=NOW, until=NOW + 1),
        lambda: show(table, b"k", b"thing"),
        lambda: table.keep(b"thing", b"k", now=NOW, until=NOW + 1),
    ):
        with pytest.raises(TableError):
            use()


def test_a_closed_table_refuses(path: Path) -> None:
    table = opened(path)
    table.close()
    table.close()
    with pytest.raises(TableError):
        table.claim_once(b"k", now=NOW, until=NOW + 1)


def test_nonsense_is_refused_before_it_is_stored(path: Path) -> None:
    table = opened(path)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            table.claim_once(b"k", now=NOW, until=bad)
        with pytest.raises(ValueError):
            table.conform(b"k", now=bad, interval=1, burst=1)
        with pytest.raises(ValueError):
            table.keep(b"thing", b"k", now=NOW, until=bad)
    with pytest.raises(ValueError):
        table.conform(b"k", now=NOW, interval=0, burst=1)
    with pytest.raises(ValueError):
        table.conform(b"k", now=NOW, interval=1, burst=0)
    with pytest.raises(ValueError):
        SharedTable.open(path, secret=b"short")


def test_a_claim_is_won_once_among_threads(path: Path) -> None:
    tables = [opened(path) for _ in range(2)]
    won: list[int] = []

    def work(thread: int) -> None:
        table = tables[thread % 2]
        won.extend(n for n in range(100) if table.claim_once(b"%d" % n, now=NOW, until=NOW + 9))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(100))


CHILD = """
import os
import sys
from pathlib import Path
from pinvault.policy.shared_table import SharedTable

table = SharedTable.open(Path(sys.argv[1]), secret=bytes(range(32)), slots=1024)
print("ready", flush=True)
sys.stdin.readline()
now = 1_770_000_000.0
admitted = sum(table.conform(b"rate", now=now, interval=60, burst=700) == 0 for _ in range(1000))
won = sum(table.claim_once(b"%d" % n, now=now, until=now + 60) for n in range(300))
own = b"%d" % os.getpid()
owned = sum(
    table.conform(own, now=now, interval=60, burst=99, things=[b"%d" % n]) == 0 for n in range(99)
)
print(admitted, won, owned, flush=True)
number = 0
while sys.argv[2] == "forever":
    number += 1
    later = now + number % 1000
    table.claim_once(b"%d" % (number % 300), now=later, until=later + 200)
"""


def child(path: Path, mode: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_across_processes_the_total_is_right_and_a_kill_leaves_the_table_usable(
    path: Path,
) -> None:
    processes = [child(path, "forever") for _ in range(3)]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    results = [tuple(map(int, process.stdout.readline().split())) for process in processes]
    # Whoever is done early goes on claiming at later times, other keys of a later window.
    assert sum(admitted for admitted, _, _ in results) == 700
    assert sum(owned for _, _, owned in results) == 99
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    table = opened(path)
    assert table.conform(b"rate", now=NOW, interval=60, burst=700) > 0
    assert table.claim_once(b"after", now=NOW, until=NOW + 1)


def test_across_processes_a_claim_and_a_thing_are_won_once(path: Path) -> None:
    processes = [child(path, "once") for _ in range(2)]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate()[0].split() for process in processes]
    assert [sum(map(int, column)) for column in zip(*outputs, strict=True)] == [700, 300, 99]


def test_a_stopped_holder_does_not_stop_the_others_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_table, "LOCK_TIMEOUT_S", 0.05)
    table = opened(path)
    with path.open("r+b") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(TableError, match="held"):
            table.claim_once(b"k", now=NOW, until=NOW + 1)
    assert table.claim_once(b"k", now=NOW, until=NOW + 1)

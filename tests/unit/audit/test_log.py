"""The log as its callers see it: durable appends, checkpoints, restarts, the file's safety."""

import json
import threading
import time
from pathlib import Path

import pytest

from pinvault.audit import (
    AuditError,
    AuditLog,
    AuditUnavailable,
    RecordRefused,
    durable,
    follow,
    newest,
    verify,
)
from tests.unit.audit.support import (
    CHAIN_KEY,
    PUBLIC,
    SIGNER,
    Scribe,
    now,
    open_log,
    put,
    record,
    sign,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def entries(directory: Path, worker: int = 0) -> list[dict]:
    path = durable.worker_path(directory, worker)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def report(directory: Path, **options):
    found = verify(directory, chain_key=CHAIN_KEY, public_key=PUBLIC, **options)
    assert found.ok, found
    return found


def test_a_life_from_boot_to_shutdown(directory: Path) -> None:
    log = open_log(directory)
    log.append(record(1), timeout=1)
    assert log.healthy
    assert log.position.size == 3
    log.close()
    events = [entry["event"] for entry in entries(directory)]
    assert events == ["boot", "checkpoint", "call", "shutdown", "checkpoint"]
    worker = report(directory).workers[0]
    assert (worker.records, worker.unsigned, worker.checkpoints_good) == (5, 0, 2)
    assert worker.ended_orderly


def test_a_record_is_in_the_file_when_append_returns(directory: Path) -> None:
    log = open_log(directory)
    for number in range(5):
        log.append(record(number), timeout=1)
        assert entries(directory)[-1]["call_id"] == record(number).call_id
    log.close()


def test_empty_members_are_left_out(directory: Path) -> None:
    log = open_log(directory)
    log.append(record(keys=(), pan_hash="", tls="", cause=""), timeout=1)
    log.close()
    line = entries(directory)[2]
    assert not {"keys", "pan_hash", "tls", "cause", "profile", "boot"} & line.keys()


def test_the_chain_goes_on_over_restarts_and_the_boot_names_the_head(directory: Path) -> None:
    for number in range(3):
        log = open_log(directory)
        log.append(record(number), timeout=1)
        log.close()
    lines = entries(directory)
    boots = [index for index, line in enumerate(lines) if line["event"] == "boot"]
    for index in boots[1:]:
        assert lines[index]["boot"]["previous_head"] == lines[index - 1]["hash"]
        assert lines[index]["boot"]["previous_size"] == index
    assert report(directory).workers[0].restarts == 2


def test_sixty_four_threads_each_record_once_in_fewer_syncs(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = []
    real = durable.os.fdatasync
    monkeypatch.setattr(durable.os, "fdatasync", lambda fd: (syncs.append(1), real(fd)))
    log = open_log(directory, every=100)

    def work(thread: int) -> None:
        for number in range(10):
            log.append(record(thread * 100 + number), timeout=30)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    calls = [line["call_id"] for line in entries(directory) if line["event"] == "call"]
    assert len(calls) == len(set(calls)) == 640
    assert len(syncs) < 640
    assert report(directory).workers[0].unsigned == 0


def test_a_checkpoint_is_due_after_so_many_records(directory: Path) -> None:
    log = open_log(directory, every=10)
    for number in range(25):
        log.append(record(number), timeout=1)
        time.sleep(0.002)
    wait_for(lambda: log.unsigned < 10)
    log.close()
    assert report(directory).workers[0].checkpoints_good >= 3


def test_a_quiet_log_is_signed_in_time_and_then_left_alone(directory: Path) -> None:
    log = open_log(directory, interval_s=0.05)
    log.append(record(), timeout=1)
    wait_for(lambda: log.unsigned == 0)
    size = log.position.size
    time.sleep(0.2)
    assert log.position.size == size
    log.close()


def test_a_failing_signer_stops_no_call_but_shows(directory: Path) -> None:
    broken = threading.Event()

    def signer(digest: bytes) -> bytes:
        if broken.is_set():
            raise RuntimeError("the HSM is away")
        return sign(digest)

    log = open_log(directory, signer=signer, interval_s=0.05)
    broken.set()
    log.append(record(1), timeout=1)
    wait_for(lambda: not log.healthy)
    log.append(record(2), timeout=1)
    broken.clear()
    wait_for(lambda: log.healthy and log.unsigned == 0)
    log.close()
    report(directory)


def test_a_hung_signer_delays_no_append(directory: Path) -> None:
    gate, hung = threading.Event(), threading.Event()
    gate.set()

    def signer(digest: bytes) -> bytes:
        if not gate.is_set():
            hung.set()
            gate.wait()
        return sign(digest)

    log = open_log(directory, signer=signer, every=1)
    gate.clear()
    log.append(record(1), timeout=1)
    assert hung.wait(5)
    for number in range(20):
        log.append(record(number), timeout=1)
    gate.set()
    wait_for(lambda: log.unsigned == 0)
    log.close()
    report(directory)


def test_a_signer_that_fails_at_the_start_stops_the_start(directory: Path) -> None:
    with pytest.raises(AuditError) as caught:
        open_log(directory, signer=lambda digest: b"short")
    assert "first checkpoint" in str(caught.value)
    open_log(directory).close()
    report(directory)


def test_a_second_writer_is_refused(directory: Path) -> None:
    log = open_log(directory)
    with pytest.raises(AuditError) as caught:
        open_log(directory)
    assert "another process" in str(caught.value)
    open_log(directory, worker=1).close()
    log.close()
    open_log(directory).close()


def test_a_closed_log_refuses(directory: Path) -> None:
    log = open_log(directory)
    log.close()
    log.close()
    assert not log.healthy
    with pytest.raises(AuditUnavailable):
        log.append(record(), timeout=1)


def test_directory_and_file_are_private_or_refused(directory: Path) -> None:
    open_log(directory).close()
    path = durable.worker_path(directory, 0)
    assert (directory.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    path.chmod(0o640)
    with pytest.raises(AuditError):
        open_log(directory)
    path.chmod(0o600)
    directory.chmod(0o755)
    with pytest.raises(AuditError):
        open_log(directory)


def test_a_symbolic_link_is_not_followed(directory: Path, tmp_path: Path) -> None:
    directory.mkdir(mode=0o700)
    (tmp_path / "elsewhere").touch(mode=0o600)
    durable.worker_path(directory, 0).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError):
        open_log(directory)


def test_events_of_the_log_are_not_for_callers(directory: Path) -> None:
    log = open_log(directory)
    for event in ("boot", "shutdown", "checkpoint"):
        with pytest.raises(RecordRefused):
            log.append(record(event=event), timeout=1)
    log.append(record(event="tls-refused"), timeout=1)
    log.close()
    report(directory)


def test_a_chain_key_of_the_wrong_length_is_refused(directory: Path) -> None:
    with pytest.raises(ValueError):
        AuditLog.open(
            directory,
            worker=0,
            chain_key=b"short",
            sign=sign,
            signer_id=SIGNER,
            clock=now,
            boot={},
        )


def test_a_log_under_another_chain_key_is_not_continued(directory: Path) -> None:
    open_log(directory).close()
    with pytest.raises(AuditError) as caught:
        AuditLog.open(
            directory,
            worker=0,
            chain_key=bytes(32),
            sign=sign,
            signer_id=SIGNER,
            clock=now,
            boot={},
        )
    assert "does not verify" in str(caught.value)


def test_the_newest_of_all_workers_in_order_of_time(directory: Path) -> None:
    first, second = Scribe(worker=0), Scribe(worker=1)
    second.tick()
    for scribe in (first, second):
        scribe.boot()
        scribe.calls(300)
        put(directory, b"".join(scribe.lines) + b'{"half', worker=scribe.worker)
    times = [tailed.entry.time for tailed in newest(directory, count=50)]
    assert len(times) == 50
    assert times == sorted(times)
    assert newest(directory, count=1)[0].worker == 1
    total = len(first.lines) + len(second.lines)
    assert len(newest(directory, count=10_000)) == total


def test_following_sees_what_is_added_and_new_workers(directory: Path) -> None:
    log = open_log(directory)
    others: list[AuditLog] = []

    def sleep(seconds: float) -> None:
        if others:
            raise KeyboardInterrupt
        log.append(record(7), timeout=1)
        others.append(open_log(directory, worker=1))

    seen = []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(follow(directory, count=1, sleep=sleep))
    # extend keeps what came before the interruption
    assert [(tailed.worker, tailed.entry.event) for tailed in seen] == [
        (0, "checkpoint"),
        (0, "call"),
        (1, "boot"),
        (1, "checkpoint"),
    ]
    others[0].close()
    log.close()


def wait_for(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)

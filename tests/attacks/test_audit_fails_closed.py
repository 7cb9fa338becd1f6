"""No record, no answer: a disk that fails in any way fails the call; the chain goes on whole."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pinvault.audit import AuditError, AuditLog, AuditUnavailable, durable, verify
from tests.unit.audit.support import CHAIN_KEY, PUBLIC, open_log, record


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def calls(directory: Path) -> int:
    return durable.worker_path(directory, 0).read_bytes().count(b'"event":"call"')


def assert_whole(directory: Path, count: int) -> None:
    report = verify(directory, chain_key=CHAIN_KEY, public_key=PUBLIC)
    assert report.ok, report
    assert calls(directory) == count


def fails(log: AuditLog, code: int | None) -> None:
    with pytest.raises(AuditUnavailable) as caught:
        log.append(record(99), timeout=1)
    assert caught.value.errno == code
    assert not log.healthy


FULL_CHILD = """
import resource, signal, sys
from pathlib import Path
from pinvault.audit import AuditUnavailable, durable
from tests.unit.audit.support import open_log, record

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
directory = Path(sys.argv[1])
log = open_log(directory)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
path = durable.worker_path(directory, 0)
done = refused = 0
for room in (700, 100, 1500):
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, hard))
    for number in range(4):
        try:
            log.append(record(number), timeout=1)
            done += 1
        except AuditUnavailable as error:
            assert error.errno == 27, error.errno  # EFBIG
            assert not log.healthy
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.append(record(number), timeout=1)
    assert log.healthy
    done += 1
log.close()
print(done, refused)
"""


def test_a_file_that_may_not_grow_is_cut_back_and_goes_on(directory: Path) -> None:
    """RLIMIT_FSIZE makes the kernel write a part, then refuse: the shape of a full disk."""
    child = subprocess.run(
        [sys.executable, "-c", FULL_CHILD, str(directory)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert child.returncode == 0, child.stderr
    done, refused = map(int, child.stdout.split())
    assert (done > 3, refused > 3) == (True, True)
    assert_whole(directory, done)


def test_a_full_device(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(directory)
    write = os.write
    with Path("/dev/full").open("wb", buffering=0) as full, monkeypatch.context() as patch:
        patch.setattr(durable.os, "write", lambda fd, data: write(full.fileno(), data))
        fails(log, errno.ENOSPC)
        fails(log, errno.ENOSPC)
    log.append(record(1), timeout=1)
    assert log.healthy
    log.close()
    assert_whole(directory, 1)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("part", [0, 1, 100, -1])
def test_a_write_that_fails_part_way(directory, monkeypatch, code: int, part: int) -> None:
    log = open_log(directory)
    write = os.write

    def partly(fd: int, data: bytes) -> int:
        write(fd, bytes(data)[:part])
        raise OSError(code, "")

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "write", partly)
        fails(log, code)
    log.append(record(1), timeout=1)
    log.close()
    assert_whole(directory, 1)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_fails_is_not_asked_again(directory, monkeypatch, code: int) -> None:
    """The bytes are in the file, yet nobody knows whether on the disk: they are taken back."""
    log = open_log(directory)
    before = durable.worker_path(directory, 0).read_bytes()

    def fail(fd: int) -> None:
        raise OSError(code, "")

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fdatasync", fail)
        fails(log, code)
    assert durable.worker_path(directory, 0).read_bytes() == before
    log.append(record(1), timeout=1)
    log.close()
    assert_whole(directory, 1)


def test_where_even_cutting_back_fails_nothing_is_appended_until_it_works(
    directory, monkeypatch
) -> None:
    log = open_log(directory)
    write = os.write

    def partly(fd: int, data: bytes) -> int:
        write(fd, bytes(data)[:50])
        raise OSError(errno.EIO, "")

    def stuck(fd: int, length: int) -> None:
        raise OSError(errno.EROFS, "")

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "ftruncate", stuck)
        with monkeypatch.context() as inner:
            inner.setattr(durable.os, "write", partly)
            fails(log, errno.EIO)
        size = durable.worker_path(directory, 0).stat().st_size
        fails(log, errno.EROFS)
        assert durable.worker_path(directory, 0).stat().st_size == size
    log.append(record(1), timeout=1)
    log.close()
    assert_whole(directory, 1)


def test_every_member_of_a_failed_batch_is_refused(directory, monkeypatch) -> None:
    log = open_log(directory)
    outcomes: list[BaseException | None] = []

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "")

    def work(number: int) -> None:
        try:
            log.append(record(number), timeout=10)
            outcomes.append(None)
        except AuditUnavailable as error:
            outcomes.append(error)

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fdatasync", fail)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(outcomes) == 40
    assert None not in outcomes
    log.close()
    assert_whole(directory, 0)


def test_a_descriptor_that_is_gone(directory: Path) -> None:
    log = open_log(directory)
    os.close(log._file._fd)
    fails(log, errno.EBADF)
    log._file._fd = -1
    with pytest.raises(AuditUnavailable):
        log.close()


@pytest.mark.parametrize("how", ["cut", "grown", "removed", "renamed", "replaced"])
def test_a_file_that_another_hand_changed_takes_no_more(directory: Path, how: str) -> None:
    log = open_log(directory)
    log.append(record(1), timeout=1)
    path = durable.worker_path(directory, 0)
    if how == "cut":
        os.truncate(path, path.stat().st_size - 1)
    elif how == "grown":
        with path.open("ab") as file:
            file.write(b"{}\n")
    else:
        path.rename(path.with_suffix(".away"))
        if how == "removed":
            path.with_suffix(".away").unlink()
        elif how == "replaced":
            path.write_bytes(path.with_suffix(".away").read_bytes())
    fails(log, None)
    fails(log, None)
    with pytest.raises(AuditUnavailable):
        log.close()


def test_a_place_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuditError) as caught:
        open_log(tmp_path / "file" / "audit")
    assert caught.value.errno == errno.ENOTDIR
    with pytest.raises(AuditError):
        open_log(Path("/proc/self/audit"))


READ_ONLY_CHILD = """
import os, sys
from pathlib import Path
from pinvault.audit import AuditError
from tests.unit.audit.support import open_log
if os.geteuid() == 0:  # after the imports: Python itself may live where others cannot read
    os.setresuid(65534, 65534, 65534)
try:
    open_log(Path(sys.argv[1]))
except AuditError as error:
    print(error)
"""


def test_a_read_only_directory_stops_the_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    child = subprocess.run(
        [sys.executable, "-c", READ_ONLY_CHILD, str(tmp_path / "audit")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert "cannot be opened" in child.stdout, child.stderr

"""Whatever a crash leaves of a log is continued, and nothing that was acknowledged is lost."""

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.audit import AuditError, verify
from tests.unit.audit.support import CHAIN_KEY, PUBLIC, ends, logs, open_log, put, steady

WRITER = """
import os, sys, threading
from pathlib import Path
from tests.unit.audit.support import open_log, record

log = open_log(Path(sys.argv[1]), every=50, interval_s=0.05)

def work(thread):
    number = 0
    while True:
        wanted = record(int(sys.argv[2]) * 10**9 + thread * 10**6 + number)
        log.append(wanted, timeout=10)
        os.write(1, wanted.call_id.encode() + b"\\n")
        number += 1

for thread in range(24):
    threading.Thread(target=work, args=(thread,), daemon=True).start()
threading.Event().wait()
"""


def test_a_writer_killed_at_any_moment_has_written_all_it_acknowledged(tmp_path: Path) -> None:
    """Three lives of one log, each ended by SIGKILL under load."""
    directory = tmp_path / "audit"
    acknowledged: list[str] = []
    for life in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory), str(life)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(random.uniform(0.02, 0.3))
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
        writer.wait()
        writer.stdout.close()
        acknowledged += [line.decode() for line in (first + rest).splitlines() if len(line) == 36]
    text = (directory / "worker-0.audit.jsonl").read_text()
    assert len(acknowledged) > 100
    assert all(text.count(call_id) == 1 for call_id in random.sample(acknowledged, 100))
    assert {call_id for call_id in acknowledged if call_id not in text} == set()
    open_log(directory).close()
    report = verify(directory, chain_key=CHAIN_KEY, public_key=PUBLIC)
    assert report.ok, report
    assert report.workers[0].restarts == 3


@steady
@given(logs(), st.data())
def test_a_log_torn_at_any_byte_is_continued_with_its_intact_beginning(scribe, data) -> None:
    whole = b"".join(scribe.lines)
    at = data.draw(st.integers(0, len(whole)))
    unwritten = data.draw(st.sampled_from([b"", bytes(7), bytes(4096) + b'"}\n']))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "audit"
        path = put(directory, whole[:at] + unwritten)
        open_log(directory).close()
        intact = max((end for end in ends(scribe) if len(end) <= at), key=len)
        assert path.read_bytes().startswith(intact)
        report = verify(directory, chain_key=CHAIN_KEY, public_key=PUBLIC)
        assert report.ok, report
        assert report.workers[0].torn_bytes == at + len(unwritten) - len(intact)


@steady
@given(logs(), st.data())
def test_a_log_changed_after_its_last_checkpoint_is_not_continued(scribe, data) -> None:
    signed = [i for i, line in enumerate(scribe.lines) if b'"checkpoint":{' in line]
    first = signed[-1] if signed else 0
    index = data.draw(st.integers(first, len(scribe.lines) - 1))
    line = bytearray(scribe.lines[index])
    at = data.draw(st.integers(0, len(line) - 2))
    line[at] ^= 1
    if line[at] in b"\n\0" or (b'"event":"checkpoint"' not in line and index in signed):
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "audit"
        lines = [*scribe.lines[:index], bytes(line), *scribe.lines[index + 1 :]]
        put(directory, b"".join(lines))
        with pytest.raises(AuditError, match="does not verify"):
            open_log(directory)

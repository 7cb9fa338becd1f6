"""The supervisor: workers are started, watched, replaced, and ended in order."""

import io
import json
import os
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pinvault.server.logs import make_log
from pinvault.server.supervisor import Patience, Supervisor, hold_port

BEATS = """
import os, signal, sys, time
pulse, notes = int(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open(notes, "a") as file:
    file.write("started\\n")
first = open(notes).read().count("started") == 1
os.write(pulse, b"+R")
"""
WORKERS = {
    "steady": BEATS + "while True: os.write(pulse, b'+'); time.sleep(0.05)",
    "hangs at first": BEATS
    + "while True: os.write(pulse, b'H' if first else b'+'); time.sleep(0.05)",
    "falls silent at first": BEATS
    + "while True:\n  time.sleep(0.05)\n  first or os.write(pulse, b'+')",
    "dies at first": BEATS
    + "time.sleep(0.1); first and os._exit(1)\nwhile True: os.write(pulse, b'+'); time.sleep(0.05)",
    "refuses to start": "import sys; sys.exit(2)",
    "ails": BEATS + "while True: os.write(pulse, b'-'); time.sleep(0.05)",
}


class Running:
    """A supervisor in a thread, over workers that are small programs."""

    def __init__(self, folder: Path, program: str, *, count: int = 1) -> None:
        self.log = io.StringIO()
        self.notes = folder / "notes"
        self.notice = folder / "serving.json"
        self.ended: list[int] = []
        self.code: int | None = None
        self.supervisor = Supervisor(
            count=count,
            command=lambda _, pulse: [
                *(sys.executable, "-c", textwrap.dedent(program)),
                *(str(pulse), str(self.notes)),
            ],
            environment=dict(os.environ),
            patience=Patience(start_s=10, beat_s=0.5, stop_s=5),
            notice=self.notice,
            facts={"port": 1},
            on_end=self.ended.append,
            log=make_log(count=lambda: None, stream=self.log),
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.code = self.supervisor.run()

    @property
    def starts(self) -> int:
        return self.notes.read_text().count("started") if self.notes.exists() else 0

    def stop(self) -> int | None:
        self.supervisor.stop()
        self.thread.join(15)
        return self.code


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def test_workers_are_started_announced_and_ended(tmp_path: Path) -> None:
    running = Running(tmp_path, WORKERS["steady"], count=2)
    until(running.notice.exists)
    assert json.loads(running.notice.read_text()) == {"port": 1, "pid": os.getpid()}
    assert running.supervisor.ready
    assert running.stop() == 0
    assert running.starts == 2
    assert not running.notice.exists()


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("hangs at first", "the token hangs"),
        ("falls silent at first", "no pulse"),
        ("dies at first", "worker ended"),
    ],
)
def test_a_bad_worker_is_replaced(tmp_path: Path, program: str, why: str) -> None:
    running = Running(tmp_path, WORKERS[program])
    until(lambda: running.starts == 2)
    until(lambda: running.supervisor.ready)
    assert running.stop() == 0
    assert why in running.log.getvalue()
    assert len(running.ended) == 1


def test_a_worker_that_refuses_to_start_stops_the_start(tmp_path: Path) -> None:
    running = Running(tmp_path, WORKERS["refuses to start"], count=2)
    running.thread.join(15)
    assert running.code == 2


def test_an_ailing_worker_is_left_alone_and_is_not_ready(tmp_path: Path) -> None:
    running = Running(tmp_path, WORKERS["ails"])
    until(running.notice.exists)
    until(lambda: not running.supervisor.ready)
    time.sleep(0.7)
    assert running.starts == 1
    running.stop()


def test_a_port_is_shared_with_workers_and_with_no_other_server() -> None:
    with hold_port("127.0.0.1", 0) as held, socket.socket() as worker:
        number = held.getsockname()[1]
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind(("127.0.0.1", number))
        worker.listen()
        with pytest.raises(OSError, match="in use"):
            hold_port("127.0.0.1", number)

"""The parent process: starts workers on one port and replaces the dead and the hung.

Rules:
- It never touches the HSM, gRPC or a request; it has nothing to leak.
- A worker that cannot start at first stops the whole start. Later, a worker that dies is
  started again, with a growing pause.
- A worker without a pulse, or whose token hangs, is killed: nothing else ends such a call.
"""

import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pinvault.server.logs import Log
from pinvault.server.pulse import Pulse

POLL_S = 0.1
REFUSED = 2
LONGEST_PAUSE_S = 10.0


def hold_port(host: str, port: int) -> socket.socket:
    """Bind without listening, so that port 0 becomes one number for all workers and stays ours.

    OSError when another server has the port: sharing it, both would get some of the calls.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.bind((host, port))
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((host, port))
    return held


@dataclass(slots=True)
class _Child:
    index: int
    process: subprocess.Popen[bytes] | None = None
    pulse: int = -1
    last_beat: float = 0.0
    state: Pulse | None = None
    failures: int = 0
    start_at: float = field(default_factory=time.monotonic)

    @property
    def ready(self) -> bool:
        return self.state is not None and self.state is not Pulse.HUNG


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the supervisor waits, in seconds: for a start, for a beat, and for a stop."""

    start_s: float = 60.0
    beat_s: float = 5.0
    stop_s: float = 15.0


class Supervisor:
    """Keeps `count` workers running. `command` gives the arguments for an index and a pulse fd."""

    def __init__(
        self,
        *,
        count: int,
        command: Callable[[int, int], Sequence[str]],
        environment: dict[str, str],
        patience: Patience,
        notice: Path,
        facts: dict[str, object],
        on_end: Callable[[int], None],
        log: Log,
    ) -> None:
        self._children = [_Child(index) for index in range(count)]
        self._command = command
        self._environment = environment
        self._patience = patience
        self._notice = notice
        self.facts = facts
        self._on_end = on_end
        self._log = log
        self._stopping = False
        self._exit = 0

    @property
    def ready(self) -> bool:
        """Whether at least one worker serves."""
        return any(child.state in (Pulse.SERVING, Pulse.READY) for child in self._children)

    def stop(self, *_: object) -> None:
        """Have `run` end the workers and return; fit to be a signal handler."""
        self._stopping = True

    def run(self) -> int:
        """Run until `stop`; give the exit code."""
        announced = False
        while not self._stopping:
            for child in self._children:
                self._tend(child)
            if not announced and all(child.ready for child in self._children):
                self._announce()
                announced = True
            time.sleep(POLL_S)
        self._notice.unlink(missing_ok=True)
        self._end()
        return self._exit

    def _announce(self) -> None:
        """Say once that all workers serve, in the log and in a file for whoever waits."""
        self._log.info("serving", workers=len(self._children), **self.facts)
        temporary = self._notice.with_suffix(".tmp")
        temporary.write_text(json.dumps({**self.facts, "pid": os.getpid()}))
        temporary.replace(self._notice)

    def _tend(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                self._start(child)
            return
        self._listen(child)
        code = child.process.poll()
        if code is not None:
            self._bury(child, code)
        elif child.state is Pulse.HUNG:
            self._kill(child, "the token hangs")
        elif now - child.last_beat > (
            self._patience.beat_s if child.state else self._patience.start_s
        ):
            self._kill(child, "no pulse")

    def _start(self, child: _Child) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        child.process = subprocess.Popen(
            self._command(child.index, writing),
            env=self._environment,
            pass_fds=(writing,),
            stdin=subprocess.DEVNULL,
        )
        os.close(writing)
        child.pulse, child.last_beat, child.state = reading, time.monotonic(), None

    def _listen(self, child: _Child) -> None:
        try:
            beats = os.read(child.pulse, 4096)
        except BlockingIOError:
            return
        if beats:
            child.last_beat = time.monotonic()
            child.state = Pulse(beats[-1:])
            if child.state is Pulse.SERVING:
                child.failures = 0

    def _kill(self, child: _Child, why: str) -> None:
        self._log.warning("worker killed", worker=child.index, why=why)
        if child.process is not None:
            child.process.kill()
            self._bury(child, child.process.wait())

    def _bury(self, child: _Child, code: int) -> None:
        """Note the end of a worker and when its successor starts."""
        os.close(child.pulse)
        never_ready = child.state is None
        if child.process is not None:
            self._on_end(child.process.pid)
        child.process, child.state = None, None
        self._log.warning("worker ended", worker=child.index, code=code)
        if never_ready and not self._notice.exists():
            self._stopping, self._exit = True, REFUSED
            return
        child.failures += 1
        pause = min(LONGEST_PAUSE_S, 0.1 * 2**child.failures)
        child.start_at = time.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter

    def _end(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._patience.stop_s
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.info("stopped")

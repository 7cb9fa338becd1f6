"""Processes of an environment that serve, each for the length of a `with` block."""

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_LAST_LINES = 12


class ServerFailed(Exception):
    """The process ended before it served, or does not serve; its log says why."""


class Child(ABC):
    """`pinvault VERB CONFIG` with a log of its own."""

    def __init__(self, verb: str, config: Path, *, log: Path, env: Mapping[str, str]) -> None:
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._verb, self._config, self._env = verb, config, env

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pinvault", self._verb, str(self._config)],
                env={**os.environ, **self._env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """End the process in an orderly way; give its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()

    @abstractmethod
    def _serves(self) -> bool:
        """Say whether it serves, and remember where."""

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._serves():
            if self.process is None or self.process.poll() is not None:
                raise self._failed("did not start")
            if time.monotonic() > deadline:
                raise self._failed("does not serve")
            time.sleep(0.05)

    def _failed(self, what: str) -> ServerFailed:
        last = "\n".join(self.log.read_text().splitlines()[-_LAST_LINES:])
        return ServerFailed(f"`pinvault {self._verb}` {what}; its log: {last}")

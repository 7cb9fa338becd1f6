"""Child processes of the bench: servers to be called, and loops that run beside no server.

Only one SoftHSM configuration fits into a process, so whatever touches a token runs in a
child, with the environment that `pinvault serve` gives its workers.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pinvault.development.environment import Environment
from pinvault.server import core_log
from pinvault.server.hardening import with_allocator

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
LOOP_TIMEOUT_S = 300.0


class BenchFailed(Exception):
    """A benchmark has no result: why."""


def metrics_folder(environment: Environment) -> Path:
    """Where the servers of an environment keep their counters."""
    return environment.root / "state" / "metrics"


def variables(environment: Environment) -> dict[str, str]:
    """What the supervisor gives its workers, and where the token is."""
    return {
        **with_allocator(os.environ),
        **core_log.VERBOSITY,
        **environment.variables(),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics_folder(environment)),
    }


def run_loop(environment: Environment, module: str, *arguments: str) -> Any:
    """Run a module of the bench to its end; give the JSON that it printed."""
    with (environment.root / "loop.log").open("ab") as log:
        done = subprocess.run(
            [sys.executable, "-m", module, str(environment.config), *arguments],
            env=variables(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            timeout=LOOP_TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        raise BenchFailed(f"{module} ended with {done.returncode}: {_last(Path(log.name))}")
    return json.loads(done.stdout)


class BenchChild:
    """A module of the bench that serves, for the length of a `with` block; its input ends it."""

    def __init__(self, environment: Environment, log: Path, *command: str) -> None:
        self.environment = environment
        self.port = 0
        self._log, self._command = log, command

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                env=variables(self.environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.port = self._heard()["port"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def cpu_s(self) -> float:
        """Give the CPU time of all its threads so far, in seconds."""
        return cpu_s(self.pid)

    def _heard(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed(f"{self._command[0]} ended: {_last(self._log)}")
        return json.loads(line)


class BenchServer(BenchChild):
    """A server of `tests.bench.serving`, for the length of a `with` block."""

    def __init__(
        self,
        environment: Environment,
        *,
        config: Path | None = None,
        kind: str = "sync",
        index: int = 0,
        slow: bool = False,
    ) -> None:
        arguments = ["--kind", kind, "--index", str(index), *(["--may-be-slow"] if slow else [])]
        log = environment.root / f"bench-{index}.log"
        command = ("tests.bench.serving", str(config or environment.config), *arguments)
        super().__init__(environment, log, *command)
        self.kind = kind

    def ask(self, **settings: float) -> dict[str, Any]:
        """Hear what the server counts. `hsm_s` sets what a call into the token takes longer."""
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        return self._heard()

    def confine(self, cores: Collection[int]) -> None:
        """Let the server run on some cores only."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def cpu_s(pid: int) -> float:
    """Give the CPU time of a process, user and system, to the nanosecond.

    /proc/PID/stat says the same in steps of 10 ms. The number is Linux's own for the clock of
    another process (clock_getcpuclockid(3)).
    """
    return time.clock_gettime((~pid << 3) | 2)


def _last(log: Path) -> str:
    return " | ".join(log.read_text().splitlines()[-5:])

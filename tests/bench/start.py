"""`start`: how long `pinvault serve` takes until it serves, and what memory it then holds."""

import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pinvault.client import PinBlock, ToPinBlock
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.bench.child import BenchFailed, cpu_s
from tests.bench.messages import PAN, terminal_block
from tests.bench.report import Column, Row, Table

STARTS = 3
CALLS = 1000
_POLL_S = 0.002
KIB = 1024


@dataclass(slots=True)
class Start:
    """Seconds from the spawn until the worker was started, and until it all served."""

    worker_spawned_s: float
    serving_s: float
    supervisor_cpu_s: float
    worker_cpu_s: float


def run(environment: Environment) -> list[Table]:
    """Measure."""
    starts = [_start(environment) for _ in range(STARTS)]
    return [_times(starts), _memory(environment)]


def _start(environment: Environment) -> Start:
    began = time.monotonic()
    server = RunningServer(environment)
    spawned: list[float] = []
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(server, spawned, done))
    watcher.start()
    try:
        with server:
            serving = time.monotonic()
            supervisor, worker = processes(server)
            cpu = cpu_s(supervisor), cpu_s(worker)
    finally:
        done.set()
        watcher.join()
    if not spawned:
        raise BenchFailed("no worker was seen to start")
    return Start(spawned[0] - began, serving - began, *cpu)


def _watch(server: RunningServer, spawned: list[float], done: threading.Event) -> None:
    """Note when the supervisor has a child."""
    while not done.wait(_POLL_S):
        if server.process is not None and children(server.process.pid):
            spawned.append(time.monotonic())
            return


def processes(server: RunningServer) -> tuple[int, int]:
    """Give the supervisor's and its one worker's process."""
    if server.process is None:
        raise BenchFailed("the server does not run")
    (worker,) = children(server.process.pid)
    return server.process.pid, worker


def children(pid: int) -> list[int]:
    """Give a process's children, started by whichever of its threads."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _times(starts: list[Start]) -> Table:
    def row(what: str, seconds: list[float]) -> Row:
        return Row(what, (statistics.median(seconds) * 1e3, min(seconds) * 1e3, max(seconds) * 1e3))

    return Table(
        title="Start of `pinvault serve` with 1 worker on a prepared environment",
        columns=(Column("ms"), Column("least"), Column("most")),
        rows=[
            row("supervisor: until it spawns the worker", [s.worker_spawned_s for s in starts]),
            row(
                "worker: until it serves and that is known",
                [s.serving_s - s.worker_spawned_s for s in starts],
            ),
            row("in all", [s.serving_s for s in starts]),
            row("CPU time of the supervisor", [s.supervisor_cpu_s for s in starts]),
            row("CPU time of the worker", [s.worker_cpu_s for s in starts]),
        ],
        reading=(
            "So long after its spawn the service takes calls; the first two lines make up the "
            "third, and polling adds up to 150 ms (supervisor 100, bench 50)."
        ),
        conditions=f"Median of {STARTS} starts; the supervisor runs itself again once at first.",
    )


def _memory(environment: Environment) -> Table:
    with RunningServer(environment) as server, server.connect() as vault:
        supervisor, worker = processes(server)
        before = memory(supervisor), memory(worker)
        source = PinBlock(
            key="zpk-terminal", format="ISO_0", ciphertext=terminal_block(environment), pan=PAN
        )
        target = ToPinBlock(key="zpk-switch", format="ISO_0", pan=PAN)
        for _ in range(CALLS):
            vault.encrypt_pin(source, to=target)
        after = memory(supervisor), memory(worker)
    rows = [
        Row(name, (*at_first, *then))
        for name, at_first, then in zip(("supervisor", "worker"), before, after, strict=True)
    ]
    return Table(
        title=f"Resident memory, before and after {CALLS} calls with mTLS",
        columns=(
            Column("VmRSS MiB at first", 1),
            Column("Pss MiB at first", 1),
            Column("VmRSS MiB then", 1),
            Column("Pss MiB then", 1),
        ),
        rows=rows,
        reading=(
            "VmRSS counts pages that the processes share in each of them, Pss divides them: a "
            "further worker adds about its Pss."
        ),
        conditions="Pss of an undumpable process is for root to read; otherwise it is left out.",
    )


def memory(pid: int) -> tuple[float | None, float | None]:
    """Give VmRSS and Pss of a process in MiB."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS:"), _field(
        Path(f"/proc/{pid}/smaps_rollup"), "Pss:"
    )


def _field(file: Path, name: str) -> float | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / KIB for line in lines if line.startswith(name)), None)

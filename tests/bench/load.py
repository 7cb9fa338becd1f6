"""Load on a server, from outside: h2load for one request many times, gRPC for many requests.

h2load takes HTTP status 200 for success and never looks at grpc-status. So the server's own
counters are read before and after, and every call must have ended OK.
"""

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from tests.bench.child import BenchFailed, BenchServer, metrics_folder
from tests.bench.place import BARE_PATH, method_of

DEADLINE_S = 10.0
OK = "OK"
Work = Callable[[grpc.aio.Channel], Awaitable[object]]
HEADERS = ("content-type: application/grpc", "te: trailers", "grpc-timeout: 10S")
H2LOAD_TIMEOUT_S = 120.0
STREAMS = {1: (1, 1), 16: (4, 4), 64: (8, 8), 128: (8, 16)}
"""Calls under way, as connections and streams a connection."""

_RATE = re.compile(r"finished in [0-9.]+\w+, ([0-9.]+) req/s")
_DONE = re.compile(r"requests: .* ([0-9]+) succeeded")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run took: CPU time of the server a call, in microseconds, and calls a second."""

    cpu_us: float
    rate: float


def with_h2load(
    server: BenchServer, path: str, message: bytes, *, calls: int, under_way: int
) -> Measured:
    """Make the same call many times."""
    before = _outcomes(server, path)
    measured = _h2load(server, path, message, calls, under_way)
    _require_all_ok(server, path, before, calls)
    return measured


def at_once(
    servers: Sequence[BenchServer], path: str, message: bytes, *, calls: int, under_way: int
) -> Measured:
    """Make the same calls of several servers of one environment; rates add up."""
    before = _outcomes(servers[0], path)
    with ThreadPoolExecutor(len(servers)) as pool:
        ended = list(pool.map(lambda s: _h2load(s, path, message, calls, under_way), servers))
    _require_all_ok(servers[0], path, before, calls * len(servers))
    return Measured(
        sum(measured.cpu_us for measured in ended) / len(ended),
        sum(measured.rate for measured in ended),
    )


def _h2load(server: BenchServer, path: str, message: bytes, calls: int, under_way: int) -> Measured:
    if shutil.which("h2load") is None:
        raise BenchFailed("h2load is missing: `./dev bench` installs it")
    clients, streams = STREAMS[under_way]
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0" + len(message).to_bytes(4, "big") + message)
        body.flush()
        command = ["h2load", "-n", str(calls), "-c", str(clients), "-m", str(streams)]
        command += [part for header in HEADERS for part in ("-H", header)]
        command += ["-d", body.name, f"http://127.0.0.1:{server.port}{path}"]
        began = server.cpu_s()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=H2LOAD_TIMEOUT_S, check=False
        )
        cpu_s = server.cpu_s() - began
    rate, succeeded = _RATE.search(done.stdout), _DONE.search(done.stdout)
    if rate is None or succeeded is None or int(succeeded[1]) != calls:
        raise BenchFailed(f"h2load did not finish: {(done.stdout + done.stderr)[-500:]}")
    return Measured(cpu_s / calls * 1e6, float(rate[1]))


def with_grpc(
    server: BenchServer, path: str, messages: Sequence[bytes], *, under_way: int
) -> Measured:
    """Make each call once."""

    def making(message: bytes) -> Work:
        return lambda channel: channel.unary_unary(path)(message, timeout=DEADLINE_S)

    return with_callers(server, [path], [making(each) for each in messages], under_way=under_way)


def with_callers(
    server: BenchServer, paths: Collection[str], works: Sequence[Work], *, under_way: int
) -> Measured:
    """Do each work once, which makes one call of each of the paths.

    The client is Python, so the rate says little of a server that is quicker than it.
    """
    before = {path: _outcomes(server, path) for path in paths}
    cpu_began, began = server.cpu_s(), time.monotonic()
    try:
        asyncio.run(_do_all(server.port, works, under_way))
    except grpc.aio.AioRpcError as error:
        raise BenchFailed(f"a call ended with {error.code().name}: {error.details()}") from None
    seconds, cpu_s = time.monotonic() - began, server.cpu_s() - cpu_began
    for path in paths:
        _require_all_ok(server, path, before[path], len(works))
    return Measured(cpu_s / len(works) * 1e6, len(works) / seconds)


async def _do_all(port: int, works: Sequence[Work], under_way: int) -> None:
    left = iter(works)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

        async def caller() -> None:
            for work in left:
                await work(channel)

        await asyncio.gather(*(caller() for _ in range(under_way)))


Outcomes = Counter[str]


def _outcomes(server: BenchServer, path: str) -> Outcomes:
    """Give how many calls have ended so far, by reason."""
    if path == BARE_PATH:
        return Counter({OK: int(server.ask()["bare"])})
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(metrics_folder(server.environment)))
    return Counter(
        {
            sample.labels["reason"]: int(sample.value)
            for metric in registry.collect()
            for sample in metric.samples
            if sample.name == "grpc_server_handled_total"
            and sample.labels["grpc_method"] == method_of(path)
        }
    )


def _require_all_ok(server: BenchServer, path: str, before: Outcomes, calls: int) -> None:
    ended = _outcomes(server, path) - before
    if ended != Counter({OK: calls}):
        raise BenchFailed(f"of {calls} calls of {path} there ended: {dict(ended)}")

"""`server-kinds`: the same handler in a thread-pool server and in grpc.aio, on 1 and 2 cores."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product

from pinvault.development.environment import Environment
from tests.bench import messages
from tests.bench.child import BenchServer
from tests.bench.load import at_once, with_h2load
from tests.bench.place import ENCRYPT_PIN, path_of
from tests.bench.report import Column, Rounds, Row, Table

PATH = path_of(ENCRYPT_PIN)
ROUNDS = 5
CALLS = {1: 80, 16: 200, 128: 256}
WARM_UP_CALLS = 300
SLOW_HSM_S = 0.001
SLOW_CALLS = {64: 128}
WORKER_CALLS = 200
KINDS = ("sync", "aio-inline", "aio-executor")
SYNC = KINDS[0]
CONDITIONS = (
    f"Median of {ROUNDS} rounds in turns, every call checked to be OK; h2load may use any core. "
    "TLS is left out and the caller's identity fixed, on all sides alike."
)


def run(environment: Environment) -> list[Table]:
    """Measure; one server of each kind stands by, and only one is called at a time."""
    cores = sorted(os.sched_getaffinity(0))
    settings = {"1 core": cores[:1], **({"2 cores": cores[:2]} if len(cores) > 1 else {})}
    message = messages.from_block(environment)
    with ExitStack() as stack:
        servers = {
            kind: stack.enter_context(BenchServer(environment, kind=kind, index=number, slow=True))
            for number, kind in enumerate(KINDS)
        }
        for server in servers.values():
            with_h2load(server, PATH, message, calls=WARM_UP_CALLS, under_way=16)
        quick = _compare(servers, message, settings, CALLS)
        for server in servers.values():
            server.ask(hsm_s=SLOW_HSM_S)
        slow = _compare(servers, message, settings, SLOW_CALLS)
        servers[SYNC].ask(hsm_s=0.0)
        second = stack.enter_context(BenchServer(environment, index=len(KINDS)))
        workers = _workers([servers[SYNC], second], message, cores)
    return [
        _table(
            "EncryptPin by kind of server, token in the same process",
            *(quick, list(settings), CALLS),
            reading=(
                "Below 1 in `x sync` serves less than the thread pool on the same cores; below 1 "
                "in the last column, that worker serves less when its threads may use two cores."
            ),
        ),
        _table(
            f"The same with {SLOW_HSM_S * 1e3:.0f} ms more for every call into the token",
            *(slow, list(settings), SLOW_CALLS),
            reading=(
                "While a call is in the token, the others of a thread pool gather and go in "
                "together; inline they cannot even begin."
            ),
        ),
        workers,
    ]


@dataclass(slots=True)
class Found:
    """CPU time a call in microseconds, and calls a second."""

    cpu: Rounds = field(default_factory=Rounds)
    rate: Rounds = field(default_factory=Rounds)


def _compare(
    servers: dict[str, BenchServer],
    message: bytes,
    settings: dict[str, list[int]],
    calls: dict[int, int],
) -> Found:
    found = Found()
    for _ in range(ROUNDS):
        for (under_way, count), (cores, at) in product(calls.items(), settings.items()):
            for kind, server in servers.items():
                server.confine(at)
                measured = with_h2load(server, PATH, message, calls=count, under_way=under_way)
                found.cpu.add(_key(kind, under_way, cores), measured.cpu_us)
                found.rate.add(_key(kind, under_way, cores), measured.rate)
    return found


def _table(
    title: str, found: Found, settings: list[str], calls: dict[int, int], *, reading: str
) -> Table:
    first, *others = settings

    def values(kind: str, under_way: int) -> Iterator[float]:
        for cores in settings:
            key = _key(kind, under_way, cores)
            yield from (found.cpu.median(key), found.rate.median(key))
            yield found.rate.ratio(key, _key(SYNC, under_way, cores))
        for cores in others:
            key = _key(kind, under_way, cores)
            yield found.rate.ratio(key, _key(kind, under_way, first))

    columns = [
        column
        for cores in settings
        for column in (
            Column(f"CPU us a call, {cores}"),
            Column(f"calls/s, {cores}"),
            Column(f"x sync, {cores}", 2),
        )
    ]
    columns += [Column(f"calls/s, {cores} x {first}", 2) for cores in others]
    return Table(
        title=title,
        columns=tuple(columns),
        rows=[
            Row(f"{kind}, {under_way} under way", tuple(values(kind, under_way)))
            for under_way in calls
            for kind in KINDS
        ],
        reading=reading,
        conditions=CONDITIONS,
    )


def _workers(servers: list[BenchServer], message: bytes, cores: list[int]) -> Table:
    """Let two workers roam over two cores, then keep each on its own."""
    free, own = "both on both cores", "each on its own core"
    places = {free: [cores[:2]] * 2, own: [cores[:1], cores[1:2] or cores[:1]]}
    found = Found()
    with_h2load(servers[1], PATH, message, calls=WARM_UP_CALLS, under_way=16)
    for _ in range(ROUNDS):
        for place, allowed in places.items():
            for server, at in zip(servers, allowed, strict=True):
                server.confine(at)
            measured = at_once(servers, PATH, message, calls=WORKER_CALLS, under_way=16)
            found.cpu.add(place, measured.cpu_us)
            found.rate.add(place, measured.rate)

    def values(place: str) -> tuple[float, ...]:
        ratio, (least, most) = found.rate.ratio(place, free), found.rate.span(place, free)
        return found.cpu.median(place), found.rate.median(place), ratio, least, most

    return Table(
        title="Two sync workers called at once, token in each process",
        columns=(
            Column("CPU us a call"),
            Column("calls/s"),
            Column("calls/s x both on both", 2),
            Column("least", 2),
            Column("most", 2),
        ),
        rows=[Row(place, values(place)) for place in places],
        reading=(
            "Above 1 in the third column, workers that keep to a core of their own serve more than "
            "workers whose threads run on all cores."
        ),
        conditions=CONDITIONS,
    )


def _key(kind: str, under_way: int, cores: str) -> str:
    return f"{kind}, {under_way}, {cores}"

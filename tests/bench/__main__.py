"""`python -m tests.bench [NAME] [--cards N] [--json]`: run by `./dev bench`."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial

import grpc
from rich.console import Console

from hsm.errors import HsmError
from pinvault.development.child import ServerFailed
from pinvault.development.environment import Environment
from tests.bench import (
    batch,
    check_pin,
    control_token,
    edge,
    encrypt_pin,
    lane,
    reencrypt,
    server_kinds,
    slow_hsm,
    start,
    translate_pin,
)
from tests.bench.child import BenchFailed
from tests.bench.place import workplace
from tests.bench.report import Table, as_data, show

CHECK_PIN = "check-pin"
Benchmark = Callable[[Environment], list[Table]]
BENCHMARKS: dict[str, Benchmark] = {
    "encrypt-pin": encrypt_pin.run,
    "translate-pin": translate_pin.run,
    "batch": batch.run,
    "start": start.run,
    "server-kinds": server_kinds.run,
    "lane": lane.run,
    "slow-hsm": slow_hsm.run,
    CHECK_PIN: check_pin.run,
    "control-token": control_token.run,
    "reencrypt": reencrypt.run,
    "edge": edge.run,
}

PIPED_WIDTH = 120


def main() -> int:
    """Run one benchmark, or all."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="without it, all")
    parser.add_argument(
        "--cards", type=int, default=0, metavar="N", help=f"{CHECK_PIN} among so many other cards"
    )
    parser.add_argument("--json", action="store_true", help="print the tables as JSON")
    told = parser.parse_args()
    if told.cards < 0 or (told.cards and told.name != CHECK_PIN):
        parser.error(f"--cards takes a number of cards, for {CHECK_PIN} alone")
    benchmarks = BENCHMARKS | {CHECK_PIN: partial(check_pin.run, others=told.cards)}
    names = [told.name] if told.name else list(BENCHMARKS)
    try:
        with workplace() as environment:
            console = None if told.json else Console(width=_width())
            found = {name: _run(name, benchmarks[name], environment, console) for name in names}
    except (BenchFailed, HsmError, ServerFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if told.json:
        data = {name: as_data(tables) for name, tables in found.items()}
        print(json.dumps({"machine": _machine(), "benchmarks": data}, indent=2))
    return 0


def _machine() -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
    }


def _width() -> int | None:
    return None if sys.stdout.isatty() else PIPED_WIDTH


def _run(
    name: str, benchmark: Benchmark, environment: Environment, console: Console | None
) -> list[Table]:
    print(f"bench: {name} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    tables = benchmark(environment)
    print(f"bench: {name}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if console is not None:
        show(tables, console)
    return tables


if __name__ == "__main__":
    sys.exit(main())

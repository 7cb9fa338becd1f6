"""`slow-hsm`: one caller and many, at a token whose every call takes a millisecond longer.

The shim of tests/shim adds that time inside the PKCS#11 module, where a network HSM takes it.

`python -m tests.bench.slow_hsm CONFIG` is the loop without a server, in one process.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hsm.device import Device
from pinvault import bootstrap
from pinvault.config import load
from pinvault.development.environment import Environment
from tests.bench import child, messages
from tests.bench.child import BenchServer
from tests.bench.load import with_h2load
from tests.bench.place import ENCRYPT_PIN, path_of
from tests.bench.report import Column, Rounds, Row, Table
from tests.support.callers import rate
from tests.support.shim import WORK, Shim

LATENCY_S = 0.001
ROUNDS = 7
SECONDS = 0.2
CALLERS = {1: 40, 64: 1200}
"""How many are under way at once, and how many calls of EncryptPin they make in a round."""
ONE, MANY = CALLERS
KEY = "zpk-terminal/1"
TIMEOUT_S = 10.0
BLOCK = bytes(8)
PATH = path_of(ENCRYPT_PIN)

DECIPHER, DRAW, CALL = "TDES block", "8 random bytes", "EncryptPin through gRPC"


def run(environment: Environment) -> list[Table]:
    """Measure."""
    with _shimmed(environment) as shim:
        shim.slow(LATENCY_S)
        rates = Rounds(child.run_loop(environment, "tests.bench.slow_hsm"))
        turns = Rounds()
        with BenchServer(environment) as server:
            _encrypt_pins(server, shim, rates, turns)
    return [
        Table(
            title=f"A token that takes {LATENCY_S * 1e3:.0f} ms longer a call: calls a second",
            columns=(
                Column(f"{ONE} caller"),
                Column(f"{MANY} callers"),
                Column("ratio", 1),
                Column("least", 1),
                Column("most", 1),
                Column(f"HSM calls, {ONE}", 2),
                Column(f"HSM calls, {MANY}", 2),
            ),
            rows=[_row(work, rates, turns) for work in (DECIPHER, DRAW, CALL)],
            reading=(
                "Callers who wait for the same key are answered in one turn, so that many take "
                "little more of the token's time than one: HSM calls are those of one EncryptPin."
            ),
            conditions=(
                f"SoftHSM behind the shim, median of {ROUNDS} rounds in turns. python-pkcs11 asks "
                "the token twice a block: for the length of the result, then for the result."
            ),
        )
    ]


def _row(work: str, rates: Rounds, turns: Rounds) -> Row:
    one, many = f"{work} {ONE}", f"{work} {MANY}"
    values = (rates.median(one), rates.median(many), rates.ratio(many, one), *rates.span(many, one))
    counted = [turns.median(name) if name in turns.found else None for name in (one, many)]
    return Row(work, (*values, *counted))


@contextmanager
def _shimmed(environment: Environment) -> Iterator[Shim]:
    """Have the environment's servers and loops reach their token through the shim."""
    text = environment.config.read_text()
    module = bootstrap.location(load(environment.config)).module
    shim = Shim(environment.root, module)
    environment.config.write_text(text.replace(str(module), str(shim.path)))
    os.environ.update(shim.environment)
    try:
        yield shim
    finally:
        environment.config.write_text(text)
        for name in shim.environment:
            del os.environ[name]


def _encrypt_pins(server: BenchServer, shim: Shim, rates: Rounds, turns: Rounds) -> None:
    """Add the rounds of EncryptPin from a TDES block to a TDES block."""
    message = messages.from_block(server.environment)
    for number in range(ROUNDS + 1):
        for callers, calls in CALLERS.items():
            before = _work(shim)
            measured = with_h2load(server, PATH, message, calls=calls, under_way=callers)
            if number:  # the first round warms up
                rates.add(f"{CALL} {callers}", measured.rate)
                turns.add(f"{CALL} {callers}", (_work(shim) - before) / calls)


def _work(shim: Shim) -> int:
    return sum(shim.calls(function) for function in WORK)


def measure(config: Path) -> dict[str, list[float]]:
    """Give the rates of all rounds without a server."""
    loaded = load(config)
    device = Device.open(bootstrap.location(loaded), bootstrap.read_keyring(loaded))
    works: dict[str, Callable[[int], bytes]] = {
        DECIPHER: lambda _number: device.decipher(KEY, BLOCK, timeout=TIMEOUT_S),
        DRAW: lambda _number: device.random(len(BLOCK), timeout=TIMEOUT_S),
    }
    rounds = Rounds()
    for _ in range(ROUNDS):
        for work, call in works.items():
            for callers in CALLERS:
                rounds.add(f"{work} {callers}", rate(call, callers=callers, seconds=SECONDS))
    device.close()
    return rounds.found


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))

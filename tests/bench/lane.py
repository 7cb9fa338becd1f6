"""`lane`: callers who combine inside the lane, beside callers who take turns at a plain lock.

`python -m tests.bench.lane CONFIG` is the loop itself, in one process on a real token.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hsm.device import Device
from hsm.mechanisms import Operation
from pinvault import bootstrap
from pinvault.config import load
from pinvault.development.environment import Environment
from tests.bench import child
from tests.bench.report import Column, Rounds, Row, Table
from tests.bench.serving import SlowHsm

ROUNDS = 7
SECONDS = 0.12
BLOCK, RANDOM = "TDES block", "8 random bytes"
CASES = (
    *((BLOCK, hsm_ms, callers) for hsm_ms in (0, 1) for callers in (1, 16, 64)),
    (RANDOM, 1, 64),
)
KEY = "zpk-terminal/1"
TIMEOUT_S = 10.0
DATA = bytes(range(8))

Call = Callable[[], bytes]


def run(environment: Environment) -> list[Table]:
    """Measure."""
    found = child.run_loop(environment, "tests.bench.lane")
    rounds = Rounds(found)
    rows = []
    for work, hsm_ms, callers in CASES:
        lane, lock = (f"{way} {work} {hsm_ms} {callers}" for way in ("lane", "lock"))
        least, most = rounds.span(lane, lock)
        values = rounds.median(lock), rounds.median(lane), rounds.ratio(lane, lock)
        what = f"{work}, HSM + {hsm_ms} ms, {callers} {'caller' if callers == 1 else 'callers'}"
        rows.append(Row(what, (*values, least, most)))
    return [
        Table(
            title="Many callers at one token: calls a second",
            columns=(
                Column("plain lock"),
                Column("lane"),
                Column("lane / lock", 2),
                Column("least", 2),
                Column("most", 2),
            ),
            rows=rows,
            reading=(
                "At 1 caller the ratio is what the lane itself costs; above, it is what combining "
                "gains, most with a slow token."
            ),
            conditions=(
                f"In process, SoftHSM, median of {ROUNDS} rounds of {SECONDS} s in turns; the "
                "added time passes outside Python's lock, as with a network HSM."
            ),
        )
    ]


def measure(config: Path) -> dict[str, list[float]]:
    """Give the rates of all rounds."""
    loaded = load(config)
    slow = SlowHsm()
    device = Device.open(bootstrap.location(loaded), bootstrap.read_keyring(loaded))
    lock = threading.Lock()
    ways: dict[str, Call] = {
        f"lane {BLOCK}": lambda: device.decipher(KEY, DATA, timeout=TIMEOUT_S),
        f"lock {BLOCK}": lambda: _decipher_by_lock(device, lock),
        f"lane {RANDOM}": lambda: device.random(len(DATA), timeout=TIMEOUT_S),
        f"lock {RANDOM}": lambda: _random_by_lock(device, lock),
    }
    rounds = Rounds()
    for _ in range(ROUNDS):
        for work, hsm_ms, callers in CASES:
            slow.seconds = hsm_ms / 1e3
            for way in ("lock", "lane"):
                rate = _rate(ways[f"{way} {work}"], callers)
                rounds.add(f"{way} {work} {hsm_ms} {callers}", rate)
    slow.seconds = 0.0
    device.close()
    return rounds.found


def _decipher_by_lock(device: Device, lock: threading.Lock) -> bytes:
    """Do what the lane's leader does, for one caller at a time."""
    device._link.check_open()
    group = device._serving.permitted(Operation.DECIPHER, KEY)
    with lock:
        (outcome,) = device._turns.run(group, [DATA])
    return outcome


def _random_by_lock(device: Device, lock: threading.Lock) -> bytes:
    device._link.check_open()
    with lock:
        return device._link.random(len(DATA))


def _rate(call: Call, callers: int) -> float:
    """Give how many calls a second so many threads make."""
    counts = [0] * callers
    stop = threading.Event()

    def caller(number: int) -> None:
        while not stop.is_set():
            call()
            counts[number] += 1

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))

"""`python -m tests.bench.parts CONFIG CASE...`: where the time of some calls goes, as JSON.

The worker's own handler runs in one thread, without a server, with a clock at every seam:
parts in the call. The same parts also run in loops of their own: they are quicker there,
since everything they touch stays in the processor's caches.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

from hsm.recovery import Link
from pinvault.audit.log import AuditLog
from pinvault.clearzone.zone import ClearZone
from pinvault.client.sealing import SealingKey
from pinvault.development.environment import Environment
from pinvault.operations.admission import Admission
from pinvault.server import gate as gate_module
from pinvault.server.contract import Contract
from pinvault.server.metrics import Metrics
from tests.bench import messages
from tests.bench.place import ENCRYPT_PIN, TRANSLATE_PIN, path_of
from tests.bench.serving import Built, FakeContext, Named, build

ROUNDS = 7
CALLS = 120
DEADLINE_S = 10.0

HANDLER = "the whole handler"
REST = "gate and operation, the rest"
SEAMS: dict[str, tuple[Any, str]] = {
    "identity": (gate_module, "identify"),
    "contract": (Contract, "read"),
    "grants and limits": (Admission, "admit"),
    "clear zone": (ClearZone, "_one_face"),
    "- of it in the token": (Link, "perform"),
    "audit record": (AuditLog, "append"),
    "- of it fdatasync": (os, "fdatasync"),
    "metrics": (Metrics, "handled"),
}


@dataclass(slots=True)
class Cost:
    """CPU time of the thread and wall time, in nanoseconds."""

    cpu: int = 0
    wall: int = 0


@dataclass(slots=True)
class Seam:
    """A clock around one function, and the arguments of its last call, to repeat it alone."""

    owner: Any
    name: str
    original: Callable[..., Any] = field(init=False)
    cost: Cost = field(default_factory=Cost)
    last: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def open(self) -> None:
        """Put the clock in."""
        self.original = getattr(self.owner, self.name)
        setattr(self.owner, self.name, lambda *given, **named: self._timed(given, named))

    def close(self) -> None:
        """Take the clock out."""
        setattr(self.owner, self.name, self.original)

    def _timed(self, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self.last = given, named
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        try:
            return self.original(*given, **named)
        finally:
            self.cost.wall += time.perf_counter_ns() - wall
            self.cost.cpu += time.thread_time_ns() - cpu

    def alone(self) -> Cost:
        """Repeat the last call in a loop."""
        given, named = self.last
        return _loop(lambda: self.original(*given, **named))


def _loop(work: Callable[[], object]) -> Cost:
    cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
    for _ in range(CALLS):
        work()
    return Cost(time.thread_time_ns() - cpu, time.perf_counter_ns() - wall)


def in_the_call(work: Callable[[], object]) -> tuple[dict[str, Cost], dict[str, Seam]]:
    """Run the handler with clocks at its seams."""
    seams = {part: Seam(owner, name) for part, (owner, name) in SEAMS.items()}
    for seam in seams.values():
        seam.open()
    try:
        whole = _loop(work)
    finally:
        for seam in reversed(seams.values()):
            seam.close()
    costs = {HANDLER: whole, **{part: seam.cost for part, seam in seams.items()}}
    outer = [cost for part, cost in costs.items() if part != HANDLER and part[0] != "-"]
    costs[REST] = Cost(
        whole.cpu - sum(cost.cpu for cost in outer), whole.wall - sum(cost.wall for cost in outer)
    )
    return costs, seams


def cases(built: Built, environment: Environment) -> dict[str, tuple[str, Callable[[], bytes]]]:
    """Give what can be measured: the method, and what makes a request."""
    (device, *_), _ = built.arguments["ClearZone"]
    spki = serialization.load_der_public_key(device.public_key("pin-seal/1"))
    key = SealingKey(kid="pin-seal/1", alg="RSA-OAEP", thumbprint="", public_key=spki)
    block = messages.from_block(environment)
    same, other = (messages.translation(environment, to=to) for to in ("ISO_0", "ISO_3"))
    return {
        "block": (ENCRYPT_PIN, lambda: block),
        "envelope": (ENCRYPT_PIN, lambda: messages.from_envelope(key)),
        "to ISO_0": (TRANSLATE_PIN, lambda: same),
        "to ISO_3": (TRANSLATE_PIN, lambda: other),
    }


def measure(config: Path, *names: str) -> dict[str, dict[str, dict[str, float]]]:
    """Give, for each case and part, the medians a call in microseconds; `alone` for the first."""
    built = build(config)
    known = cases(built, Environment(config.parent))

    def work(name: str) -> Callable[[], object]:
        method, make = known[name]
        handler = built.objects["Gate"].service(Named(path_of(method))).stream_unary
        ready = iter([make() for _ in range(CALLS)])
        return lambda: handler(iter((next(ready),)), FakeContext(DEADLINE_S))

    found: dict[str, dict[str, list[Cost]]] = {}
    for number in range(ROUNDS + 1):
        for name in names:
            costs, seams = in_the_call(work(name))
            into = found.setdefault(name, {})
            if number:  # the first round warms up
                _note(into, costs)
            if number and name == names[0]:
                outer = {part: seam for part, seam in seams.items() if part[0] != "-"}
                alone = {part: seam.alone() for part, seam in outer.items()}
                _note(found.setdefault("alone", {}), {HANDLER: _loop(work(name)), **alone})
    built.worker._close()
    return {
        name: {part: _medians(costs) for part, costs in parts.items()}
        for name, parts in found.items()
    }


def _note(into: dict[str, list[Cost]], costs: dict[str, Cost]) -> None:
    for part, cost in costs.items():
        into.setdefault(part, []).append(cost)


def _medians(costs: list[Cost]) -> dict[str, float]:
    return {
        name: statistics.median(asdict(cost)[name] for cost in costs) / CALLS / 1000
        for name in ("cpu", "wall")
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), *sys.argv[2:])))

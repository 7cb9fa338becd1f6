"""A unary call of TDES blocks beside an empty one behind the same gate, and beside a bare one."""

from tests.bench import child
from tests.bench.child import BenchServer
from tests.bench.load import with_h2load
from tests.bench.parts import HANDLER
from tests.bench.place import BARE_PATH, Environment, gated_path, path_of
from tests.bench.report import Column, Rounds, Row, Table

ROUNDS = 15
UNDER_WAY = 16
CALLS = 240
GATED, BARE = "the gate, empty operation", "no gate, empty method"


def kinds(method: str) -> dict[str, str]:
    """Give the paths that are called in turns, by what the tables call them."""
    name = method.rpartition(".")[2]
    return {name: path_of(method), GATED: gated_path(method), BARE: BARE_PATH}


def with_blocks(server: BenchServer, method: str, message: bytes) -> Rounds:
    """Measure the CPU time of the server a call."""
    found = Rounds()
    for number in range(ROUNDS + 1):
        for name, path in kinds(method).items():
            measured = with_h2load(server, path, message, calls=CALLS, under_way=UNDER_WAY)
            if number:  # the first round warms up
                found.add(name, measured.cpu_us)
    return found


def table(title: str, found: Rounds) -> Table:
    """Give the costs and their ratios."""

    def values(name: str) -> tuple[float, ...]:
        ratio, (least, most) = found.ratio(name, GATED), found.span(name, GATED)
        return found.median(name), ratio, least, most, found.ratio(name, BARE)

    rounds = len(found.found[GATED])
    return Table(
        title=f"{title}: CPU time of the server",
        columns=(
            Column("us a call"),
            Column("x the gate", 2),
            Column("least", 2),
            Column("most", 2),
            Column("x bare", 2),
        ),
        rows=[Row(name, values(name)) for name in found.found],
        reading=(
            "A call costs so many times an empty one behind the same gate (identity, grant, rate, "
            "contract, durable audit record), and that so many times gRPC alone."
        ),
        conditions=(
            f"Same message sizes, {UNDER_WAY} calls under way, median of {rounds} rounds in turns, "
            "every call checked to be OK. TLS is left out and the caller's identity fixed, on all "
            "sides alike: h2load has no client certificate."
        ),
    )


def parts(environment: Environment, title: str, *cases: str) -> Table:
    """Show where the time of some cases goes; `tests.bench.parts` knows them by name."""
    found = child.run_loop(environment, "tests.bench.parts", *cases)
    alone = found["alone"]

    def values(part: str) -> tuple[float | None, ...]:
        costs = [found[case] for case in cases]
        return (
            alone[part]["cpu"] if part in alone else None,
            *(
                value
                for cost in costs
                for value in (
                    cost[part]["cpu"],
                    cost[part]["wall"],
                    cost[part]["cpu"] / cost[HANDLER]["cpu"],
                )
            ),
        )

    return Table(
        title=f"{title}, part by part, in one thread without a server",
        columns=(
            Column("alone CPU us"),
            *(
                column
                for case in cases
                for column in (
                    Column(f"{case} CPU us"),
                    Column(f"{case} wall us"),
                    Column(f"{case} share", 2),
                )
            ),
        ),
        rows=[Row(part, values(part)) for part in found[cases[0]]],
        reading=(
            "Shares are of the handler's CPU time, all that stands between gRPC and the answer; "
            f"wall beyond CPU is waiting for the disk; alone, in a loop, a part of {cases[0]} is "
            "quicker."
        ),
    )

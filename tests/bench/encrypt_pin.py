"""`encrypt-pin`: what a call of EncryptPin costs the server, beside calls that do less."""

from tests.bench import child, messages
from tests.bench.child import BenchServer
from tests.bench.load import with_grpc, with_h2load
from tests.bench.parts import HANDLER
from tests.bench.place import BARE_PATH, GATED_PATH, PATH, Environment
from tests.bench.report import Column, Rounds, Row, Table

ROUNDS = 5
UNDER_WAY = 16
BLOCK_CALLS = 500
ENVELOPE_CALLS = 160
SPARE_ENVELOPES = 40

KINDS = {
    "EncryptPin": PATH,
    "the gate, empty operation": GATED_PATH,
    "no gate, empty method": BARE_PATH,
}
CALL, GATED, BARE = KINDS


def run(environment: Environment) -> list[Table]:
    """Measure."""
    with BenchServer(environment) as server:
        blocks = _blocks(server)
        envelopes = _envelopes(server)
    return [
        _table("TDES PIN block to TDES PIN block, h2load", blocks),
        _table("sealed envelope to TDES PIN block, a gRPC client", envelopes),
        _parts(environment),
    ]


def _blocks(server: BenchServer) -> Rounds:
    message = messages.from_block(server.environment)
    found = Rounds()
    for number in range(ROUNDS + 1):
        for name, path in KINDS.items():
            calls = BLOCK_CALLS if number else BLOCK_CALLS // 4
            measured = with_h2load(server, path, message, calls=calls, under_way=UNDER_WAY)
            if number:  # the first round warms up
                found.add(name, measured.cpu_us)
    return found


def _envelopes(server: BenchServer) -> Rounds:
    found = Rounds()
    for number in range(ROUNDS + 1):
        calls = ENVELOPE_CALLS if number else SPARE_ENVELOPES
        requests = messages.from_envelopes(server.port, calls)
        for name, path in KINDS.items():
            measured = with_grpc(server, path, requests, under_way=UNDER_WAY)
            if number:
                found.add(name, measured.cpu_us)
    return found


def _table(title: str, found: Rounds) -> Table:
    def values(name: str) -> tuple[float, ...]:
        ratio, (least, most) = found.ratio(name, GATED), found.span(name, GATED)
        return found.median(name), ratio, least, most, found.ratio(name, BARE)

    return Table(
        title=f"EncryptPin, {title}: CPU time of the server",
        columns=(
            Column("us a call"),
            Column("x the gate", 2),
            Column("least", 2),
            Column("most", 2),
            Column("x bare", 2),
        ),
        rows=[Row(name, values(name)) for name in KINDS],
        reading=(
            "A call costs so many times an empty one behind the same gate (identity, grant, "
            "contract, durable audit record), and that so many times gRPC alone."
        ),
        conditions=(
            f"Same message sizes, {UNDER_WAY} calls under way, median of {ROUNDS} rounds in turns, "
            "every call checked to be OK. TLS is left out and the caller's identity fixed, on all "
            "sides alike: h2load has no client certificate."
        ),
    )


def _parts(environment: Environment) -> Table:
    found = child.run_loop(environment, "tests.bench.parts")
    block, envelope, alone = found["block"], found["envelope"], found["alone"]

    def values(part: str) -> tuple[float | None, ...]:
        return (
            alone[part]["cpu"] if part in alone else None,
            *(block[part]["cpu"], block[part]["wall"], _share(block, part)),
            *(envelope[part]["cpu"], envelope[part]["wall"], _share(envelope, part)),
        )

    return Table(
        title="EncryptPin, part by part, in one thread without a server",
        columns=(
            Column("alone CPU us"),
            Column("block CPU us"),
            Column("block wall us"),
            Column("block share", 2),
            Column("envelope CPU us"),
            Column("envelope wall us"),
            Column("envelope share", 2),
        ),
        rows=[Row(part, values(part)) for part in block],
        reading=(
            "Shares are of the handler's CPU time, all that stands between gRPC and the answer; "
            "wall beyond CPU is waiting for the disk; alone, in a loop, a part is quicker."
        ),
    )


def _share(parts: dict[str, dict[str, float]], part: str) -> float:
    return parts[part]["cpu"] / parts[HANDLER]["cpu"]

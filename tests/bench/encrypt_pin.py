"""`encrypt-pin`: what a call of EncryptPin costs the server, beside calls that do less."""

from tests.bench import beside_empty, messages
from tests.bench.child import BenchServer
from tests.bench.load import with_grpc
from tests.bench.place import ENCRYPT_PIN, Environment
from tests.bench.report import Rounds, Table

ROUNDS = 5
ENVELOPE_CALLS = 160
SPARE_ENVELOPES = 40


def run(environment: Environment) -> list[Table]:
    """Measure."""
    with BenchServer(environment) as server:
        blocks = beside_empty.with_blocks(server, ENCRYPT_PIN, messages.from_block(environment))
        envelopes = _envelopes(server)
    return [
        beside_empty.table("EncryptPin, TDES PIN block to TDES PIN block, h2load", blocks),
        beside_empty.table(
            "EncryptPin, sealed envelope to TDES PIN block, a gRPC client", envelopes
        ),
        beside_empty.parts(environment, "EncryptPin", "block", "envelope"),
    ]


def _envelopes(server: BenchServer) -> Rounds:
    found = Rounds()
    for number in range(ROUNDS + 1):
        calls = ENVELOPE_CALLS if number else SPARE_ENVELOPES
        requests = messages.from_envelopes(server.port, calls)
        for name, path in beside_empty.kinds(ENCRYPT_PIN).items():
            measured = with_grpc(server, path, requests, under_way=beside_empty.UNDER_WAY)
            if number:
                found.add(name, measured.cpu_us)
    return found

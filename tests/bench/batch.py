"""`batch`: TranslatePinBatch beside the cipher alone, and beside psec item by item.

`python -m tests.bench.batch CONFIG` is the loop without a server, in one process on a real token.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pinvault.development.environment import Environment
from pinvault.v1 import pin_block_pb2 as pb
from tests.bench import child
from tests.bench.child import BenchFailed, BenchServer
from tests.bench.load import with_grpc
from tests.bench.place import TRANSLATE_PIN_BATCH, path_of
from tests.bench.report import Column, Rounds, Row, Table
from tests.bench.serving import FakeContext, Named, build
from tests.support import zone
from tests.support.batch import packed

ROUNDS = 7
ITEMS = 10_000
PSEC_ITEMS = 500
CALLS = 6
PIN = "4829"
PATH = path_of(TRANSLATE_PIN_BATCH)
GRPC, GATE, LIMIT, PSEC = "through gRPC", "through the gate", "OpenSSL alone", "psec, item by item"


@dataclass(frozen=True, slots=True)
class Case:
    """A pair of formats, under the zone keys that fit them."""

    source: zone.Format
    target: zone.Format

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{'AES' if self.is_aes else 'TDES'}, {self.source} to {self.target}"

    @property
    def is_aes(self) -> bool:
        """Whether the blocks are those of format 4, 16 bytes that are enciphered twice."""
        return self.source == "ISO_4"

    @property
    def keys(self) -> tuple[str, str]:
        """The names of both keys."""
        return ("zpk-terminal-aes", "zpk-switch-aes") if self.is_aes else TDES_KEYS


TDES_KEYS = ("zpk-terminal", "zpk-switch")
CASES = (Case("ISO_0", "ISO_0"), Case("ISO_0", "ISO_3"), Case("ISO_4", "ISO_4"))


@dataclass(frozen=True, slots=True)
class Batch:
    """A case with its blocks, one PAN each, and the values of both keys."""

    case: Case
    pans: list[str]
    blocks: list[bytes]
    keys: tuple[bytes, bytes]

    @classmethod
    def of(cls, case: Case, environment: Environment) -> "Batch":
        """Make a batch; every account in it is another one."""
        opener, maker = map(environment.zone_key, case.keys)
        pans = [f"400000{number:08d}00" for number in range(ITEMS)]
        blocks = [zone.block(PIN, pan=pan, form=case.source, key=opener) for pan in pans]
        return cls(case, pans, blocks, (opener, maker))

    @property
    def request(self) -> bytes:
        """The message that asks for it."""
        source, target = (
            pb.PinBlockColumn(key=key, format=pb.ColumnFormat.Value(f"COLUMN_FORMAT_{form}"))
            for key, form in zip(self.case.keys, (self.case.source, self.case.target), strict=True)
        )
        return pb.TranslatePinBatchRequest(
            source=source,
            target=target,
            pin_blocks=b"".join(self.blocks),
            pans=b"".join(map(packed, self.pans)),
        ).SerializeToString()

    def by_openssl(self) -> Callable[[], object]:
        """Give what runs the ciphers over the same bytes, and does nothing else."""
        kind = algorithms.AES if self.case.is_aes else TripleDES
        opener, maker = (Cipher(kind(key), modes.ECB()) for key in self.keys)
        data, times = b"".join(self.blocks), 2 if self.case.is_aes else 1

        def work() -> None:
            for _ in range(times):
                maker.encryptor().update(opener.decryptor().update(data))

        return work

    def by_psec(self) -> None:
        """Translate the first items as a program that has the keys itself would."""
        opener, maker = self.keys
        for pan, block in zip(self.pans[:PSEC_ITEMS], self.blocks, strict=False):
            pin = zone.pin_of(block, pan=pan, form=self.case.source, key=opener)
            zone.block(pin, pan=pan, form=self.case.target, key=maker)


def run(environment: Environment) -> list[Table]:
    """Measure."""
    inside = Rounds(child.run_loop(environment, "tests.bench.batch"))
    outside = Rounds()
    with BenchServer(environment) as server:
        for batch in _batches(environment):
            _through_grpc(server, batch, outside)
    return [_table(case, inside, outside) for case in CASES]


def _through_grpc(server: BenchServer, batch: Batch, found: Rounds) -> None:
    messages, limit = [batch.request] * CALLS, batch.by_openssl()
    for number in range(ROUNDS + 1):
        measured = with_grpc(server, PATH, messages, under_way=1)
        if number:  # the first round warms up
            found.add(f"{batch.case.name} {GRPC}", ITEMS / measured.cpu_us * 1e6)
            found.add(f"{batch.case.name} {LIMIT}", _rate(limit, ITEMS))


def _table(case: Case, inside: Rounds, outside: Rounds) -> Table:
    limit, psec = f"{case.name} {LIMIT}", f"{case.name} {PSEC}"

    def row(what: str, rounds: Rounds) -> Row:
        name = f"{case.name} {what}"
        beside_psec = rounds.ratio(name, psec) if psec in rounds.found else None
        values = rounds.median(name), rounds.ratio(name, limit), *rounds.span(name, limit)
        return Row(what, (*values, beside_psec))

    return Table(
        title=f"TranslatePinBatch of {ITEMS:,} items, {case.name}: items a second of CPU time",
        columns=(
            Column("items/s"),
            Column("x OpenSSL", 3),
            Column("least", 3),
            Column("most", 3),
            Column("x psec", 1),
        ),
        rows=[row(GRPC, outside), *(row(what, inside) for what in (GATE, LIMIT, PSEC))],
        reading=(
            "OpenSSL deciphers and enciphers the same bytes in one piece, looking at none: what it "
            "does in a second is the limit. psec makes the same translation item by item."
        ),
        conditions=(
            f"One core's CPU time, the server's for gRPC; median of {ROUNDS} rounds in turns. "
            "Everything is done that a call has done: identity, grant, rate, contract, every PAN "
            "and every nibble looked at, durable audit record."
        ),
    )


def measure(config: Path) -> dict[str, list[float]]:
    """Give the rates of all rounds without a server."""
    built, rounds = build(config), Rounds()
    handler = built.objects["Gate"].service(Named(PATH)).stream_unary
    for batch in _batches(Environment(config.parent)):
        request = batch.request

        def call(request: bytes = request) -> bytes:
            return handler(iter((request,)), FakeContext(10.0))

        _require_all_done(call())
        works = {
            GATE: (call, ITEMS),
            LIMIT: (batch.by_openssl(), ITEMS),
            PSEC: (batch.by_psec, PSEC_ITEMS),
        }
        for _ in range(ROUNDS):
            for name, (work, items) in works.items():
                rounds.add(f"{batch.case.name} {name}", _rate(work, items))
    built.worker._close()
    return rounds.found


def _batches(environment: Environment) -> list[Batch]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # psec takes TDES from where it stood
        return [Batch.of(case, environment) for case in CASES]


def _require_all_done(reply: bytes) -> None:
    statuses = pb.TranslatePinBatchResponse.FromString(reply).statuses
    if statuses != bytes([pb.TRANSLATE_PIN_BATCH_STATUS_DONE]) * ITEMS:
        raise BenchFailed("not every item of the batch was done")


def _rate(work: Callable[[], object], items: int) -> float:
    """Give how many items a second of CPU time."""
    began = time.process_time()
    for _ in range(CALLS):
        work()
    return items * CALLS / (time.process_time() - began)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))

"""`edge`: ConnectFi's set-pin through the edge, beside an empty Starlette route and one gRPC call.

A request finds its card (GetCard), seals the PIN and sets it (SetPin). What it is held against gets
PINs that were sealed before, and makes SetPin alone.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import grpc

from pinvault.client import writing
from pinvault.client.vault import Vault
from pinvault.development import edge as development
from pinvault.development.child import START_TIMEOUT_S
from pinvault.development.environment import Environment
from pinvault.v1 import card_pin_pb2 as pb
from tests.bench import messages
from tests.bench.cards import PROGRAM, PROGRAM_HEAD, UNBOUNDED, client
from tests.bench.child import BenchChild, BenchFailed, BenchServer
from tests.bench.edge_serving import CALL, EMPTY
from tests.bench.report import Column, Rounds, Row, Table

ROUNDS = 5
CARDS = 64
REQUESTS = 2 * CARDS
UNDER_WAY = (1, 8)
MIDDLE = 8
PINS = ("4831", "9027")
SET_PIN = "/ibis/card/set-pin"
CONNECTFI, CALLED, BARE = "ConnectFi set-pin", "empty route and one gRPC call", "empty route"
UNREACHED = 'per_caller = "999999/s"\nper_card = "999999/s"\n'


@dataclass(frozen=True, slots=True)
class Measured:
    """Microseconds of CPU time a request, of edge and of server, and requests a second."""

    edge_us: float
    server_us: float
    rate: float


class BenchEdge(BenchChild):
    """An edge of `tests.bench.edge_serving` before a server, for the length of a `with` block."""

    def __init__(self, server: BenchServer) -> None:
        environment = server.environment
        config = development.write(environment, server_port=0, ports=development.Ports())
        head = 'kind = "connectfi"\n'
        config.write_text(config.read_text().replace(head, head + UNREACHED))
        log = environment.root / "edge" / "bench.log"
        command = ("tests.bench.edge_serving", str(config), str(server.port))
        super().__init__(environment, log, *command)
        self.server = server

    def __enter__(self) -> Self:
        super().__enter__()
        self._wait()
        return self

    def measure(self, path: str, bodies: Sequence[bytes], *, under_way: int) -> Measured:
        """Make each request once."""
        requests = [_request(path, body) for body in bodies]
        edge, server = self.cpu_s(), self.server.cpu_s()
        began = time.monotonic()
        asyncio.run(_ask_all(self.port, requests, under_way))
        seconds = time.monotonic() - began
        edge, server = self.cpu_s() - edge, self.server.cpu_s() - server
        count = len(requests)
        return Measured(edge / count * 1e6, server / count * 1e6, count / seconds)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                asyncio.run(_ask_all(self.port, [_request(EMPTY, b"{}")], 1))
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise BenchFailed("the edge does not serve")


def _request(path: str, body: bytes) -> bytes:
    token = development.VENDORS[0].headers["x-connectfi-token"]
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx-connectfi-token: {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _ask_all(port: int, requests: Sequence[bytes], under_way: int) -> None:
    """Ask over so many connections, which stay open; every answer must be 200."""
    left = iter(requests)

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in left:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
            answer = await reader.readexactly(int(fields[b"content-length"]))
            if head.split(b" ", 2)[1] != b"200":
                raise BenchFailed(f"a request was refused: {answer.decode()}")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(caller() for _ in range(under_way)))


def run(environment: Environment) -> list[Table]:
    """Measure."""
    text = environment.config.read_text()
    config = environment.root / "edge-bench.toml"
    config.write_text(text.replace(PROGRAM_HEAD, PROGRAM_HEAD + UNBOUNDED))
    with (
        BenchServer(environment, config=config) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        BenchEdge(server) as edge,
    ):
        return [_table(edge, client(channel))]


def _table(edge: BenchEdge, vault: Vault) -> Table:
    asked, called = (_register(vault, first) for first in (0, CARDS))
    cpu, server, rate = Rounds(), Rounds(), Rounds()
    for number in range(ROUNDS + 1):
        found = (cpu, server, rate) if number else (Rounds(), Rounds(), Rounds())  # warms up
        for under_way in UNDER_WAY:
            for name, path, bodies in (
                (CONNECTFI, SET_PIN, _asking(asked)),
                (CALLED, CALL, _calling(vault, called)),
                (BARE, EMPTY, _asking(asked)),
            ):
                measured = edge.measure(path, bodies, under_way=under_way)
                values = (measured.edge_us, measured.server_us, measured.rate)
                for rounds, value in zip(found, values, strict=True):
                    rounds.add(f"{name}, {under_way}", value)

    def values(name: str) -> tuple[float, ...]:
        own, base = f"{name}, {MIDDLE}", f"{CALLED}, {MIDDLE}"
        least, most = cpu.span(own, base)
        return (
            *(rate.median(f"{name}, {under_way}") for under_way in UNDER_WAY),
            *(cpu.median(own), cpu.ratio(own, base), least, most, server.median(own)),
        )

    return Table(
        title="ConnectFi set-pin through the edge",
        columns=(
            *(Column(f"requests/s, {under_way} under way") for under_way in UNDER_WAY),
            Column("edge CPU us"),
            *(Column("x one call", 2), Column("least", 2), Column("most", 2)),
            Column("server CPU us"),
        ),
        rows=[Row(name, values(name)) for name in (CONNECTFI, CALLED, BARE)],
        reading=(
            "A request costs the edge so many times an empty Starlette route that makes one gRPC "
            "call. It makes two (GetCard, SetPin), and seals the PIN by RSA and AES."
        ),
        conditions=(
            f"{REQUESTS} requests a round over connections that stay open, each card twice with "
            f"two PINs; median of {ROUNDS} rounds in turns, CPU times with {MIDDLE} under way; "
            "every answer checked to be 200. SQLite and SoftHSM; TLS is left out on all sides, and "
            "the client is Python on the same machine."
        ),
    )


def _register(vault: Vault, first: int) -> list[tuple[str, str]]:
    """Register cards; give their ids at the vendor, and at the server."""
    found = []
    for number in range(first, first + CARDS):
        card = vault.cards.register(
            program=PROGRAM,
            pan=messages.PAN,
            expiry="3012",
            status="ACTIVE",
            sequence_number=f"{number:03}",
            external_id=f"icrd_{number}",
        )
        found.append((f"icrd_{number}", card.card_id))
    return found


def _asking(cards: Sequence[tuple[str, str]]) -> list[bytes]:
    return [
        json.dumps({"cFiCardId": name, "pin": pin}).encode() for pin in PINS for name, _ in cards
    ]


def _calling(vault: Vault, cards: Sequence[tuple[str, str]]) -> list[bytes]:
    return [
        pb.SetPinRequest(
            card=pb.CardSelector(card_id=card_id),
            new_source=writing.source(vault.seal(pin, card=card_id)),
            request_id=str(uuid.uuid4()),
        ).SerializeToString()
        for pin in PINS
        for _, card_id in cards
    ]

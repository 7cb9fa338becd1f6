"""Cards with PINs in the stores of two servers, and what a call's transactions cost alone.

Alone are the very statements of a call, in the same transactions, over the same rows and from as
many threads on one core: no HSM, no gate and no gRPC.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc

from pinvault.client import PinBlock
from pinvault.client.vault import Vault
from pinvault.development.environment import Environment
from pinvault.store import Store, upgrade
from tests.bench import messages
from tests.bench.child import BenchFailed, BenchServer
from tests.bench.load import Measured
from tests.store import million
from tests.support.databases import PostgresServer

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
PROGRAM = "debit"
TRY_LIMIT = 3
CARDS = 128
"""More than there are calls under way, so that no two are about one card."""
TIMEOUT_S = 10.0
WAIT_S = 60.0
PROGRAM_HEAD = f"[programs.{PROGRAM}]\n"
UNBOUNDED = 'changes = "999999/s"\n'


@dataclass(frozen=True, slots=True)
class Place:
    """A server on one of the engines, its store, and the ids of cards that are in it."""

    engine: str
    server: BenchServer
    store: Store
    cards: tuple[str, ...]

    def card(self, number: int) -> str:
        """Give one of the cards, in turns."""
        return self.cards[number % len(self.cards)]


@contextmanager
def places(environment: Environment, *, others: int = 0) -> Iterator[tuple[Place, ...]]:
    """Serve from SQLite and from PostgreSQL, with cards whose PINs are set in both.

    So many others, which nobody calls about, are there before.
    """
    with ExitStack() as held:
        database = PostgresServer()
        held.callback(database.stop)
        folder = held.enter_context(TemporaryDirectory(dir=environment.root))
        addresses = {
            SQLITE: f"sqlite:///{folder}/store.db",
            POSTGRESQL: database.create(),
        }
        found = []
        for index, (engine, address) in enumerate(addresses.items()):
            upgrade(address)
            store = held.enter_context(closing(Store.open(address, wait_s=WAIT_S)))
            if others:
                million.fill(store, others)
            config = _configure(environment, engine, address)
            server = held.enter_context(BenchServer(environment, config=config, index=index))
            found.append(Place(engine, server, store, _register(environment, server)))
        yield tuple(found)


def _configure(environment: Environment, engine: str, address: str) -> Path:
    """Give a second configuration, with another store and PINs that may change at any rate."""
    text = environment.config.read_text()
    for old, new in (
        (f"sqlite:///{environment.store}", address),
        (PROGRAM_HEAD, PROGRAM_HEAD + UNBOUNDED),
    ):
        if old not in text:
            raise BenchFailed("the environment's configuration is not what it was")
        text = text.replace(old, new)
    config = environment.root / f"{engine.lower()}.toml"
    config.write_text(text)
    return config


def _register(environment: Environment, server: BenchServer) -> tuple[str, ...]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        vault = client(channel)
        return tuple(_registered(vault, environment, number) for number in range(CARDS))


def client(channel: grpc.Channel) -> Vault:
    """Give the SDK on a channel."""
    return Vault(
        channel,
        sealing_profile="sealed-card",
        sealing_key="pin-seal",
        thumbprints=(),
        timeout_s=TIMEOUT_S,
    )


def _registered(vault: Vault, environment: Environment, number: int) -> str:
    card = vault.cards.register(
        program=PROGRAM,
        pan=messages.PAN,
        expiry="3012",
        status="ACTIVE",
        sequence_number=f"{number:03}",
    )
    block = messages.terminal_block(environment)
    source = PinBlock(key="zpk-terminal", format="ISO_0", ciphertext=block, pan=messages.PAN)
    vault.cards.set_pin(card.card_id, new_pin=source)
    return card.card_id


def alone(works: Sequence[Callable[[], object]], *, under_way: int) -> Measured:
    """Do each work once, in threads that share a core as those of a worker do."""
    core = min(os.sched_getaffinity(0))
    with ThreadPoolExecutor(
        under_way, initializer=lambda: os.sched_setaffinity(0, {core})
    ) as threads:
        cpu_began, began = time.process_time(), time.monotonic()
        for _ in threads.map(lambda work: work(), works):
            pass
        seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
    return Measured(cpu_s / len(works) * 1e6, len(works) / seconds)


def now() -> int:
    """Give the time as the store keeps it, in microseconds."""
    return time.time_ns() // 1000

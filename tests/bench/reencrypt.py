"""`reencrypt`: stored rows moved to another key version, beside the same statements alone.

`python -m tests.bench.reencrypt CONFIG fill|move [CONFIG]` is a child: it fills a store, or moves
columns as it is told, one line of JSON at a time.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from sqlalchemy import bindparam, select, text, update

from hsm import keyring
from pinvault.bootstrap.reencrypt import open_reencryption
from pinvault.clearzone.restore import RestoreZone, StoredColumn
from pinvault.config import load
from pinvault.development.environment import Environment
from pinvault.store import Store, upgrade
from pinvault.store.reencrypt import CIPHERTEXTS
from tests.bench import child
from tests.bench.child import BenchFailed
from tests.bench.report import Column, Rounds, Row, Table
from tests.support.databases import PostgresServer
from tests.support.stored import Maker

ROUNDS = 9
ROWS = 8_000
ONE_BY_ONE = 2_000
CHUNK = 2_000
BLOCKS, PANS = "pin.reference", "card.pan"
KEYS = {BLOCKS: "pin-reference", PANS: "pan-store"}
POSTGRESQL, SQLITE = "PostgreSQL", "SQLite"
MOVED, BARE, SINGLY, ZONE = "moved", "bare statements", "row by row", "clear zone"
CASES = ((POSTGRESQL, BLOCKS, 1), (POSTGRESQL, BLOCKS, 2), (POSTGRESQL, PANS, 1))
CASES += ((SQLITE, BLOCKS, 1), (SQLITE, PANS, 1))
UNDISTURBED = ("autovacuum=off", "checkpoint_timeout=1h", "max_wal_size=8GB")
"""What PostgreSQL does now and then would fall on one round and not on another."""
IDS = {"card": "id", "pin": "card_id"}
ADDRESS = 'address = "sqlite:///{root}/store.db"'
STORE_WAIT_S = 60.0


def run(environment: Environment) -> list[Table]:
    """Measure."""
    rounds = Rounds()
    server = PostgresServer(*UNDISTURBED)
    try:
        configs = {
            POSTGRESQL: _with_store(environment, server.create()),
            SQLITE: environment.config,
        }
        for config in configs.values():
            _fill(environment, config)
        for name in KEYS.values():
            _rotate(environment, name)
        for engine, config in configs.items():
            _measure(environment, engine, config, rounds)
    finally:
        server.stop()
    return [_table(rounds)]


def _table(rounds: Rounds) -> Table:
    rows = []
    for engine, column, processes in CASES:
        ways = (MOVED, BARE, ZONE)
        moved, bare, zone = (f"{engine} {column} {processes} {way}" for way in ways)
        values = (rounds.median(bare), rounds.median(moved), rounds.ratio(moved, bare))
        what = f"{engine}, {column}, {processes} {'process' if processes == 1 else 'processes'}"
        rows.append(Row(what, (*values, *rounds.span(moved, bare), rounds.median(zone))))
    for engine in (POSTGRESQL, SQLITE):
        what = f"{engine}, {BLOCKS}, one UPDATE a row"
        rows.append(Row(what, (rounds.median(f"{engine} {SINGLY}"), *[None] * 5)))
    return Table(
        title="Re-encryption: rows a second",
        columns=(
            Column("bare statements"),
            Column("moved"),
            Column("moved / bare", 2),
            Column("least", 2),
            Column("most", 2),
            Column("clear zone, CPU us a row", 1),
        ),
        rows=rows,
        reading=(
            "Bare statements are the very same: they claim, read and write the same rows, and no "
            "block is opened. A ratio of 1 would be a re-encryption that costs nothing. The clear "
            "zone's CPU time has the token's in it."
        ),
        conditions=(
            f"{ROWS:,} rows in chunks of {CHUNK:,}, every commit synced; SoftHSM; median of "
            f"{ROUNDS} rounds in turns, each on the same rows."
        ),
    )


def _with_store(environment: Environment, url: str) -> Path:
    """Give a second configuration of the environment, whose store is elsewhere."""
    upgrade(url)
    address = f'address = "{url}"'
    written = environment.config.read_text()
    config = environment.root / "other-store.toml"
    config.write_text(written.replace(ADDRESS.format(root=environment.root), address))
    if address not in config.read_text():
        raise BenchFailed("the environment's configuration names its store otherwise")
    return config


def _fill(environment: Environment, config: Path) -> None:
    """Have the token make rows of both columns, and keep them."""
    child.run_loop(environment, "tests.bench.reencrypt", "fill", str(config))
    with closing(_store(config)) as store, store.write() as db:
        for table, id_ in IDS.items():
            db.execute(text(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}"))
            db.execute(text(f"CREATE INDEX kept_{table}_id ON kept_{table} ({id_})"))


def _store(config: Path) -> Store:
    section = load(config).config.store
    assert section is not None
    return Store.open(section.address, wait_s=STORE_WAIT_S)


def _rotate(environment: Environment, name: str) -> None:
    entry = keyring.load(environment.root / "keyring.toml").entry(f"{name}/1")
    command = ["-m", "pinvault", "key", "rotate", str(environment.config), f"{name}/1"]
    subprocess.run(
        [sys.executable, *command, "--check-value", entry.check_value],
        env=child.variables(environment),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _measure(environment: Environment, name: str, config: Path, rounds: Rounds) -> None:
    cases = [case for case in CASES if case[0] == name]
    most = max(processes for *_, processes in cases)
    with ExitStack() as held:
        movers = [held.enter_context(_Mover(environment, config)) for _ in range(most)]
        store = held.enter_context(closing(_store(config)))
        for number in range(ROUNDS + 1):
            found = rounds if number else Rounds()  # the first round warms up
            for case in cases:
                _round(store, movers[: case[2]], case, found)
            _reset(store, BLOCKS)
            found.add(f"{name} {SINGLY}", _singly(store))


def _round(
    store: Store, movers: "Sequence[_Mover]", case: tuple[str, str, int], rounds: Rounds
) -> None:
    for way in (BARE, MOVED):
        _reset(store, case[1])
        began = time.perf_counter()
        for mover in movers:
            mover.begin(column=case[1], moves=way == MOVED)
        ended = [mover.end() for mover in movers]
        seconds = time.perf_counter() - began
        if sum(each["moved"] for each in ended) != ROWS:
            raise BenchFailed("not every row was moved once")
        name = " ".join(map(str, case))
        rounds.add(f"{name} {way}", ROWS / seconds)
        if way == MOVED:
            rounds.add(f"{name} {ZONE}", sum(each["zone_s"] for each in ended) / ROWS * 1e6)


def _reset(store: Store, column: str) -> None:
    """Put every row back under the first version, and clear what that left behind."""
    target = CIPHERTEXTS[column]
    table, id_, data, key = target.id.table, target.id.name, target.data.name, target.key.name
    with store.write() as db:
        db.execute(text("DELETE FROM reencrypt_chunk"))
        db.execute(
            text(
                f"UPDATE {table} SET {data} = kept.{data}, {key} = kept.{key} "
                f"FROM kept_{table} AS kept WHERE kept.{id_} = {table}.{id_}"
            )
        )
    engine = store._writer
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.execute(text(f"VACUUM ANALYZE {table}, reencrypt_chunk"))


def _singly(store: Store) -> float:
    """Give how many rows a second one UPDATE a row changes, in transactions of a chunk."""
    pin = CIPHERTEXTS[BLOCKS]
    write = (
        update(pin.id.table)
        .where(pin.id == bindparam("id"), pin.data == bindparam("data"))
        .values({pin.key: "pin-reference/2"})
    )
    began, after = time.perf_counter(), ""
    for _ in range(ONE_BY_ONE // CHUNK):
        with store.read() as db:
            rows = select(pin.id, pin.data).where(pin.id > after).order_by(pin.id).limit(CHUNK)
            found = db.execute(rows).all()
        with store.write() as db:
            for card_id, data in found:
                db.execute(write, {"id": card_id, "data": data})
        after = found[-1][0]
    return ONE_BY_ONE / (time.perf_counter() - began)


class _Mover:
    """A process that moves columns when it is told, for the length of a `with` block."""

    def __init__(self, environment: Environment, config: Path) -> None:
        self._command = [sys.executable, "-m", "tests.bench.reencrypt", str(config), "move"]
        self._variables = child.variables(environment)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            env=self._variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._heard()
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.stdin.close()

    def begin(self, **told: object) -> None:
        """Have it begin."""
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, float]:
        """Wait until it ends; give how many rows it moved, and what the clear zone took."""
        return self._heard()

    def _heard(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed("a process that moves rows ended")
        return json.loads(line)


class _NoZone:
    """Gives the rows back as they are, so that nothing but the statements is left."""

    def pans(self, sealed: StoredColumn, **_: object) -> list[bytes | None]:
        return list(sealed.ciphertexts)

    def blocks(self, sealed: StoredColumn, **_: object) -> list[bytes | None]:
        return list(sealed.ciphertexts)


class _ClockedZone:
    """A clear zone, and the CPU time that it has taken, the token's in it, in seconds."""

    def __init__(self, zone: RestoreZone) -> None:
        self._zone = zone
        self.cpu_s = 0.0

    def pans(self, sealed: StoredColumn, **told: Any) -> list[bytes | None]:
        return self._clocked(partial(self._zone.pans, sealed, **told))

    def blocks(self, sealed: StoredColumn, **told: Any) -> list[bytes | None]:
        return self._clocked(partial(self._zone.blocks, sealed, **told))

    def _clocked(self, work: Callable[[], list[bytes | None]]) -> list[bytes | None]:
        began = time.thread_time()
        try:
            return work()
        finally:
            self.cpu_s += time.thread_time() - began


def fill(config: Path) -> None:
    """Put rows into the store, under the first versions."""
    with open_reencryption(load(config), size=CHUNK, rest_s=0.0, pause=time.sleep) as job:
        zone = job.work.zone
        Maker(device=zone._device, index=zone._index).fill(job.work.store, range(ROWS))


def move(config: Path) -> None:
    """Move columns as they are told on standard input, to its end."""
    loaded = load(config)
    with open_reencryption(loaded, size=CHUNK, rest_s=0.0, pause=lambda _: None) as job:
        bare = replace(job.work, zone=_NoZone())
        zone = _ClockedZone(job.work.zone)
        real = replace(job.work, zone=zone)
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            told, zone.cpu_s = json.loads(line), 0.0
            work, present = real if told["moves"] else bare, job.columns[told["column"]]
            moved = sum(step.moved for step in work.move(told["column"], present))
            print(json.dumps({"moved": moved, "zone_s": zone.cpu_s}), flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "fill":
        fill(Path(sys.argv[3]))
        print(json.dumps("filled"))
    else:
        move(Path(sys.argv[1]))

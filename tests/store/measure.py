"""Transactions a second: `python -m tests.store.measure`, every commit synced on both engines.

Each worker redeems control tokens of its own, one a transaction, as a server's thread would.
"""

import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from threading import Thread

from pinvault.store import Store, cards, tokens, upgrade
from tests.store.samples import NOW, SECOND, card, hashed
from tests.support.databases import PostgresServer

TOKENS = 2_000


def prepare(address: str, workers: int) -> None:
    upgrade(address)
    store = Store.open(address)
    with store.write() as db:
        for name in names(workers):
            cards.insert_card(db, card(name))
            values = {"card_id": name, "kind": "SET_PIN", "caller": "bank"}
            hashes = {"token_hash": hashed(name), "seal": hashed("seal")}
            tokens.issue(db, **values, **hashes, now=NOW, expires_at=NOW + SECOND)
    store.close()


def names(workers: int) -> list[str]:
    return [f"{worker}-{number}" for worker in range(workers) for number in range(TOKENS)]


def redeem_all(store: Store, worker: int, latencies: list[float]) -> None:
    for number in range(TOKENS):
        token_hash = hashed(f"{worker}-{number}")
        began = time.perf_counter()
        with store.write() as db:
            found = tokens.redeem(db, token_hash=token_hash, kind="SET_PIN", caller="bank", now=NOW)
        latencies.append(time.perf_counter() - began)
        assert found


def child(address: str, workers: list[int], results: object) -> None:
    store = Store.open(address)
    latencies: list[float] = []
    threads = [Thread(target=redeem_all, args=(store, w, latencies)) for w in workers]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put((began, time.perf_counter(), latencies))  # type: ignore[attr-defined]
    store.close()


def measure(address: str, processes: int, threads: int) -> str:
    prepare(address, processes * threads)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    groups = [range(p * threads, (p + 1) * threads) for p in range(processes)]
    children = [
        context.Process(target=child, args=(address, list(group), results)) for group in groups
    ]
    for process in children:
        process.start()
    found = [results.get() for _ in children]
    for process in children:
        process.join()
    seconds = max(end for _, end, _ in found) - min(began for began, _, _ in found)
    latencies = [latency * 1000 for _, _, each in found for latency in each]
    cuts = statistics.quantiles(latencies, n=100)
    rate = processes * threads * TOKENS / seconds
    return f"{rate:7.0f} tx/s   p50 {cuts[49]:6.2f} ms   p99 {cuts[98]:7.2f} ms"


def main() -> None:
    server = PostgresServer()
    with tempfile.TemporaryDirectory() as folder:
        for processes, threads in ((1, 1), (1, 4), (4, 1)):
            shape = f"{processes} process(es) of {threads} thread(s)"
            file = Path(folder, f"{processes}-{threads}.db")
            print(f"SQLite     {shape}: {measure(f'sqlite:///{file}', processes, threads)}")
            print(f"PostgreSQL {shape}: {measure(server.create(), processes, threads)}")
    server.stop()


if __name__ == "__main__":
    main()

"""`check-pin`: what CheckPin costs beside the bare transactions that it needs, on both engines.

A right PIN in a block, checked with a PVV. PinBlockService.VerifyPin does the same with a PVV that
the caller brings, and no store. `--cards N` fills both stores with N further cards before.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from pinvault.development.environment import Environment
from pinvault.store import Store, cards, pins
from pinvault.v1 import card_pin_pb2 as pb
from pinvault.v1 import pin_block_pb2, resources_pb2
from tests.bench import beside_store, messages
from tests.bench.beside_store import ALONE, Turn
from tests.bench.cards import CARDS, TRY_LIMIT, Place, now, places
from tests.bench.load import DEADLINE_S, Work, with_grpc
from tests.bench.place import path_of
from tests.bench.report import Column, Row, Table

CHECK_PIN = path_of("CardPinService.CheckPin")
VERIFY_PIN = path_of("PinBlockService.VerifyPin")
UNDER_WAY = 16
BITE, BITES = 2_000, 5


def run(environment: Environment, *, others: int = 0) -> list[Table]:
    """Measure, among so many other cards."""
    source = messages.terminal_pin(environment)
    among = f"among {CARDS + others:,} cards"
    with places(environment, others=others) as found:
        turns = {name: turn for place in found for name, turn in _turns(place, source)}
        turns |= {"VerifyPin, no store": _verify(found[0], source)}
        costs = beside_store.table(
            f"CheckPin beside its transactions, {among}",
            turns,
            unit="calls",
            reading=(
                "Alone are the same four transactions: read the card, read its PIN, count a try, "
                "clear the tries. A `rate x alone` of 1 would be a call that costs nothing else."
            ),
        )
        return [costs, _memory(found, source, among)]


def _turns(place: Place, source: resources_pb2.PinSource) -> Iterator[tuple[str, Turn]]:
    check = beside_store.calls(place, CHECK_PIN, about=lambda card: _calling(card, source))
    yield f"CheckPin, {place.engine}", check
    bare = beside_store.transactions(place, lambda card_id: in_the_store(place.store, card_id))
    yield f"{ALONE}, {place.engine}", bare


def _calling(card_id: str, source: resources_pb2.PinSource) -> Work:
    message = _request(card_id, source)
    return lambda channel: channel.unary_unary(CHECK_PIN)(message, timeout=DEADLINE_S)


def _request(card_id: str, source: resources_pb2.PinSource) -> bytes:
    card = pb.CardSelector(card_id=card_id)
    return pb.CheckPinRequest(card=card, source=source).SerializeToString()


def _verify(place: Place, source: resources_pb2.PinSource) -> Turn:
    with place.store.read() as db:
        stored = pins.get_pin(db, place.card(0))
    scheme = resources_pb2.VisaPvvScheme(name="visa", key_index=1)
    pvv = resources_pb2.VisaPvv(scheme=scheme, pvv=stored.value)
    message = pin_block_pb2.VerifyPinRequest(
        source=source,
        pan=messages.PAN,
        verification_value=resources_pb2.VerificationValue(visa_pvv=pvv),
    ).SerializeToString()
    calls = [message] * beside_store.CALLS
    return lambda under_way: with_grpc(place.server, VERIFY_PIN, calls, under_way=under_way)


def in_the_store(store: Store, card_id: str) -> None:
    """Do what CheckPin does in the store for a right PIN, statement by statement."""
    with store.read() as db:
        assert cards.get_card(db, card_id)
    with store.read() as db:
        assert pins.get_pin(db, card_id)
    counted = store.transact(lambda db: pins.count_try(db, card_id, limit=TRY_LIMIT, now=now()))
    assert counted
    generation = counted.generation
    assert store.transact(lambda db: pins.clear_tries(db, card_id, generation=generation))


def _memory(found: tuple[Place, ...], source: resources_pb2.PinSource, among: str) -> Table:
    """Tell what workers hold while they serve."""
    rows = []
    for place in found:
        requests = [_request(place.card(number), source) for number in range(BITE)]
        held = [_resident_mb(place.server.pid)]
        for _ in range(BITES):
            with_grpc(place.server, CHECK_PIN, requests, under_way=UNDER_WAY)
            held.append(_resident_mb(place.server.pid))
        rows.append(Row(place.engine, tuple(held)))
    return Table(
        title=f"Memory of the worker, MB resident, {among}",
        columns=(
            Column("after the rounds", 1),
            *(Column(f"{BITE * number:,} calls later", 1) for number in range(1, BITES + 1)),
        ),
        rows=rows,
        reading="Flat, if nothing is kept of a call.",
    )


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

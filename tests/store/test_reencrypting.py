"""A whole re-encryption: every row once, beside others and a service, and on after any end."""

import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from pinvault.clearzone.restore import RestoreZone
from pinvault.model.keys import KeyDirectory, State
from pinvault.operations.reencrypt import Fault, Left, Reencrypt, Step
from pinvault.store import Store, pins
from pinvault.store.schema import card, metadata, pin
from tests.store.samples import read, write
from tests.support.stored import INDEX, NOW, Maker, generations, id_of, maker

COLUMNS = {"card.pan": "pan-store", "pin.reference": "pin-reference", "pin.reveal": "pin-reveal"}
ROWS = 23
SIZE = 5
LEASE_S = 30.0


def use_case(store: Store, *, active: int = 2, size: int = SIZE, **named: Any) -> Reencrypt:
    device, directory = generations(active)
    given = {
        "zone": RestoreZone(device, index=INDEX.of),
        "keys": directory,
        "now": lambda: NOW / 1e6,
        "pause": lambda _: None,
        "lease_s": LEASE_S,
    }
    return Reencrypt(store=store, pans="pan-store", worker="one", size=size, **given | named)


def steps_of(work: Reencrypt, column: str, *, way: str = "move") -> Iterator[Step]:
    present = work.keys.get(COLUMNS[column])
    assert present is not None
    return getattr(work, way)(column, present)


def moved(work: Reencrypt, *columns: str) -> int:
    """Move columns, or all, to the end; how many rows."""
    return sum(step.moved for column in columns or COLUMNS for step in steps_of(work, column))


def left_of(steps: Iterator[Step]) -> set[Left]:
    return {left for step in steps for left in step.left}


def rows_of(store: Store) -> dict[str, tuple[Any, ...]]:
    """All ciphertexts with their keys, by card."""
    columns = (card.c.pan_cipher, card.c.pan_key)
    columns += (pin.c.reference, pin.c.reference_key, pin.c.reveal, pin.c.reveal_key)
    with store.read() as db:
        found = db.execute(select(card.c.id, *columns).join(pin)).all()
    return {card_id: tuple(rest) for card_id, *rest in found}


def made_by(maker: Maker, number: int, *, digits: bytes = b"4829") -> tuple[Any, ...]:
    """A row as the maker's versions would have it."""
    pins = maker.material(number, digits=digits)
    both = (pins.reference, pins.reference_key, pins.reveal, pins.reveal_key)
    return (maker.pan(number), maker.pan_key, *both)


def all_made_by(maker: Maker, numbers: range = range(ROWS)) -> dict[str, tuple[Any, ...]]:
    return {id_of(number): made_by(maker, number) for number in numbers}


def everything(store: Store) -> list[list[Any]]:
    with store.read() as db:
        return [list(db.execute(table.select())) for table in metadata.sorted_tables]


def spoil(store: Store, number: int, **change: object) -> None:
    with store.write() as db:
        table = card if "pan_cipher" in change or "pan_key" in change else pin
        id_ = table.c.id if table is card else table.c.card_id
        db.execute(update(table).where(id_ == id_of(number)).values(change))


def test_every_column_moves(store: Store) -> None:
    """To the ciphertexts that the new versions would have made; then there is nothing to do."""
    maker(1).fill(store, range(ROWS))
    work = use_case(store)
    assert moved(work) == 3 * ROWS
    assert rows_of(store) == all_made_by(maker(2))
    assert moved(work) == 0
    assert [work.rows_by_key(column) for column in COLUMNS] == [
        {f"{name}/2": ROWS} for name in COLUMNS.values()
    ]


def test_several_old_versions_move_from_one_chunk(store: Store) -> None:
    for number in range(9):
        maker(1 + number % 3).fill(store, [number])
    assert moved(use_case(store, active=3, size=100)) == 3 * 6
    assert rows_of(store) == all_made_by(maker(3), range(9))


def test_columns_move_apart(store: Store) -> None:
    maker(1).fill(store, range(ROWS))
    assert moved(use_case(store), "pin.reveal") == ROWS
    old, new = made_by(maker(1), 0), made_by(maker(2), 0)
    assert rows_of(store)[id_of(0)] == (*old[:4], *new[4:])


def test_pins_without_a_block_are_no_rows(store: Store) -> None:
    maker(1, reveals=False).fill(store, range(3))
    assert moved(use_case(store), "pin.reveal") == 0
    assert moved(use_case(store), "pin.reference") == 3


def test_what_is_damaged_is_left_and_told(store: Store) -> None:
    """All others move, and the job ends."""
    maker(1).fill(store, range(ROWS))
    spoil(store, 3, pan_cipher=maker(1).pan(4))
    spoil(store, 7, reference=b"short")
    before = rows_of(store)
    unreadable = Fault.UNREADABLE
    assert left_of(steps_of(use_case(store), "card.pan")) == {
        Left(id_of(3), "pan-store/1", unreadable)
    }
    assert left_of(steps_of(use_case(store), "pin.reference")) == {
        Left(id_of(3), "pin-reference/1", unreadable),  # it is bound to a PAN that is not there
        Left(id_of(7), "pin-reference/1", unreadable),
    }
    after, wanted = rows_of(store), all_made_by(maker(2))
    assert after[id_of(3)][:4] == before[id_of(3)][:4]
    assert after[id_of(7)][2:4] == before[id_of(7)][2:4]
    moved_rows = {n: after[id_of(n)][:4] == wanted[id_of(n)][:4] for n in range(ROWS)}
    assert [n for n, is_moved in moved_rows.items() if not is_moved] == [3, 7]


@pytest.mark.parametrize("key", ["pin-reveal/1", "pin-reference/3", "zpk-switch/1"])
def test_a_row_does_not_choose_the_key_that_opens_it(store: Store, key: str) -> None:
    """One of another name, or one that this process does not know, moves nothing."""
    made = replace(maker(1), reference_key="pin-reveal/1") if key == "pin-reveal/1" else maker(1)
    made.fill(store, [1])
    spoil(store, 1, reference_key=key)
    found = left_of(steps_of(use_case(store), "pin.reference"))
    assert found == {Left(id_of(1), key, Fault.KEY)}
    assert rows_of(store)[id_of(1)][3] == key


def test_rows_under_a_retired_version_are_left(store: Store) -> None:
    """Of PIN blocks too, whose PAN does not open any more."""
    maker(1).fill(store, [1])
    work = use_case(store)
    retired = KeyDirectory(
        replace(key, state=State.RETIRED) if key.id == "pan-store/1" else key for key in work.keys
    )
    work = replace(work, keys=retired)
    assert left_of(steps_of(work, "card.pan")) == {Left(id_of(1), "pan-store/1", Fault.KEY)}
    assert left_of(steps_of(work, "pin.reference")) == {
        Left(id_of(1), "pin-reference/1", Fault.KEY)
    }


def test_a_dry_run_does_all_but_write(store: Store) -> None:
    maker(1).fill(store, range(ROWS))
    maker(2).fill(store, [ROWS])
    spoil(store, 2, pan_cipher=bytes(16))
    before = everything(store)
    work = use_case(store)
    steps = list(steps_of(work, "card.pan", way="try_out"))
    assert sum(step.rows for step in steps) == ROWS
    assert steps[-1].done == steps[-1].total == ROWS
    assert left_of(iter(steps)) == {Left(id_of(2), "pan-store/1", Fault.UNREADABLE)}
    assert everything(store) == before


def test_verify_opens_every_row_under_its_key(store: Store) -> None:
    """Of old and of new versions, and writes nothing."""
    maker(1).fill(store, range(ROWS))
    maker(2).fill(store, range(ROWS, 2 * ROWS))
    work = use_case(store)
    for column in COLUMNS:
        steps = list(steps_of(work, column, way="verify"))
        assert sum(step.rows for step in steps) == 2 * ROWS
        assert not left_of(iter(steps))
    new = maker(2)
    spoil(store, ROWS + 1, reveal=new.block("pin-reveal/2", 5))
    before = everything(store)
    assert left_of(steps_of(work, "pin.reveal", way="verify")) == {
        Left(id_of(ROWS + 1), "pin-reveal/2", Fault.UNREADABLE)
    }
    assert everything(store) == before


def test_it_goes_on_from_where_it_was_stopped(store: Store) -> None:
    maker(1).fill(store, range(ROWS))
    first = list(itertools.islice(steps_of(use_case(store), "card.pan"), 2))
    assert [(step.moved, step.done, step.total) for step in first] == [(5, 1, 5), (5, 2, 5)]
    assert moved(use_case(store, size=7), "card.pan") == ROWS - 10
    assert [row[:2] for row in rows_of(store).values()] == [
        row[:2] for row in all_made_by(maker(2)).values()
    ]


def test_a_claim_that_was_lost_writes_nothing(store: Store) -> None:
    """Another process takes the chunk over while the token is slow."""
    maker(1).fill(store, range(ROWS))
    other = use_case(store, lease_s=0.0)

    class Slow(RestoreZone):
        def pans(self, *given: Any, **named: Any) -> list[bytes | None]:
            made = super().pans(*given, **named)
            assert moved(other, "card.pan") in {ROWS, 0}
            return made

    slow = use_case(store, lease_s=0.0, zone=Slow(generations(2)[0], index=INDEX.of))
    assert moved(slow, "card.pan") == 0
    assert work_is_done(store, "card.pan")


def work_is_done(store: Store, *columns: str) -> bool:
    work = use_case(store)
    return all(set(work.rows_by_key(column)) == {f"{COLUMNS[column]}/2"} for column in columns)


def move_in_a_process(address: str, worker: str) -> int:
    store = Store.open(address)
    try:
        return moved(replace(use_case(store, pause=time.sleep, now=time.time), worker=worker))
    finally:
        store.close()


def test_processes_share_the_work(
    store: Store, address: str, processes: ProcessPoolExecutor
) -> None:
    """Together they move every row once."""
    rows = range(80)
    maker(1).fill(store, rows)
    counts = list(processes.map(move_in_a_process, [address] * 3, ["one", "two", "three"]))
    assert sum(counts) == 3 * len(rows)
    assert rows_of(store) == all_made_by(maker(2), rows)


CHILD = """
import sys
from pinvault.store import Store
from tests.store.test_reencrypting import steps_of, use_case

work = use_case(Store.open(sys.argv[1]))
for step in steps_of(work, "pin.reference"):
    print(step.done, flush=True)
"""


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_process_leaves_nothing_half_done(
    store: Store, address: str, repository: Path, after: int
) -> None:
    """What it had claimed is claimed again when its time is over."""
    rows = range(60)
    maker(1).fill(store, rows)
    command = [sys.executable, "-c", CHILD, address]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(after):
            assert child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    later = use_case(store, now=lambda: NOW / 1e6 + LEASE_S)
    done = moved(later, "pin.reference")
    assert len(rows) - SIZE * len(rows) < done <= len(rows) - SIZE * after
    assert work_is_done(store, "pin.reference")
    old, new = all_made_by(maker(1), rows), all_made_by(maker(2), rows)
    assert rows_of(store) == {
        card_id: (*old[card_id][:2], *row[2:4], *old[card_id][4:]) for card_id, row in new.items()
    }


def test_a_service_goes_on_meanwhile(store: Store) -> None:
    """PINs that are set meanwhile, under the new version or still under the old, are not lost."""
    rows = range(30)
    maker(1).fill(store, rows)
    last: dict[int, bytes] = {}

    def serve() -> None:
        for change in range(90):
            number = change * 7 % len(rows)
            digits = b"%04d" % (1000 + change)
            set_pin(store, maker(1 + change % 2), number, digits)
            last[number] = digits

    service = threading.Thread(target=serve)
    service.start()
    while service.is_alive():
        moved(use_case(store, size=7), "pin.reference", "pin.reveal")
    service.join()
    moved(use_case(store))
    new = maker(2)
    assert rows_of(store) == {id_of(n): made_by(new, n, digits=last.get(n, b"4829")) for n in rows}


def set_pin(store: Store, by: Maker, number: int, digits: bytes) -> None:
    present = read(store, pins.get_pin, id_of(number))
    assert present is not None
    material = by.material(number, digits=digits)
    given = {"replaces": present.generation, "now": NOW}
    assert write(store, pins.put_pin, id_of(number), material, **given)


def test_it_rests_between_chunks(store: Store) -> None:
    maker(1).fill(store, range(ROWS))
    rests: list[float] = []
    moved(use_case(store, pause=rests.append, rest_s=0.25), "card.pan")
    assert rests == [0.25] * 5

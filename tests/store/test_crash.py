"""A process that is killed leaves whole transactions, and holds up nobody."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pinvault.store import Store, cards, outbox, pins
from tests.store.samples import NOW, SECOND, add_cards, read, write

CHILD = """
import sys
from itertools import count
from pinvault.store import Store, cards, outbox, pins
from tests.store.samples import NOW, card, material, message

store = Store.open(sys.argv[1])
print("up", flush=True)
for number in count():
    name = f"card {number:06}"
    with store.write() as db:
        cards.insert_card(db, card(name))
        pins.put_pin(db, name, material(), replaces=pins.NO_PIN, now=NOW)
        outbox.add(db, message(name), now=NOW)
    print(name, flush=True)
"""


@pytest.mark.parametrize("after_s", [0.05, 0.15])
def test_a_killed_process_leaves_whole_transactions(
    store: Store, address: str, repository: Path, after_s: float
) -> None:
    """What it said was committed is there, and of everything all parts or none."""
    command = [sys.executable, "-c", CHILD, address]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        time.sleep(after_s)
        child.send_signal(signal.SIGKILL)
        said = child.stdout.read().splitlines(keepends=True)
    said = [line.rstrip() for line in said if line.endswith("\n")]
    stored = [each.id for each in read(store, cards.cards_after, "", count=10_000)]
    assert stored[: len(said)] == said
    assert len(stored) - len(said) in {0, 1}
    assert all(read(store, pins.get_pin, name) for name in stored)
    values = {"now": NOW, "until": NOW + SECOND, "count": 10_000}
    assert sorted(each.id for each in write(store, outbox.claim, **values)) == stored
    add_cards(store, "others go on")

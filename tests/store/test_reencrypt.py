"""Re-encryption: every row once, never over a change, and on from where it was left."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from pinvault.store import Store, cards, pins, reencrypt, schema
from pinvault.store.pins import PinMaterial
from pinvault.store.reencrypt import CIPHERTEXTS, Progress
from tests.store.conftest import empty
from tests.store.samples import NOW, SECOND, add_cards, read, write

PAN = CIPHERTEXTS["card.pan"]
LEASE = NOW + 30 * SECOND


def claim(store: Store, *, now: int = NOW) -> reencrypt.Chunk | None:
    values = {"worker": "one", "now": now, "until": now + 30 * SECOND}
    return write(store, reencrypt.claim, "job", **values)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, 12), later=st.integers(0, 12), size=st.integers(1, 5))
def test_chunks_hold_every_row_once(store: Store, first: int, later: int, size: int) -> None:
    """Rows that came after all others are found by the next plan."""
    empty(store)
    planned = 0
    for begin, end in ((0, first), (first, first + later)):
        add_cards(store, *(f"{number:02}" for number in range(begin, end)))
        planned += write(store, reencrypt.plan, "job", PAN, size=size)
    assert write(store, reencrypt.plan, "job", PAN, size=size) == 0
    met: list[str] = []
    chunks = 0
    while chunk := claim(store):
        rows = read(store, reencrypt.rows_of, chunk, PAN, present="storage/2")
        assert 0 < len(rows) <= size
        met += [row.id for row in rows]
        chunks += 1
    assert met == [f"{number:02}" for number in range(first + later)]
    assert chunks == planned
    assert read(store, reencrypt.progress, "job") == Progress(planned, 0, 0)


def test_a_row_that_changed_meanwhile_is_left(store: Store) -> None:
    add_cards(store, "a", "b", "c")
    write(store, reencrypt.plan, "job", PAN, size=10)
    chunk = claim(store)
    assert chunk is not None
    rows = read(store, reencrypt.rows_of, chunk, PAN, present="storage/2")
    with store.write() as db:
        changes = {"a": {"pan_cipher": b"newer"}, "b": {"pan_key": "storage/3"}}
        for card_id, change in changes.items():
            db.execute(update(schema.card).where(schema.card.c.id == card_id).values(change))
    anew = [(row, b"anew") for row in rows]
    assert write(store, reencrypt.write_back, PAN, anew, present="storage/2") == 1
    assert write(store, reencrypt.write_back, PAN, [], present="storage/2") == 0
    assert write(store, reencrypt.finish, chunk, now=NOW, changed=1)
    assert read(store, reencrypt.rows_left, PAN, present="storage/2")
    left = read(store, reencrypt.rows_of, chunk, PAN, present="storage/2")
    assert [(row.id, row.data, row.key) for row in left] == [
        ("a", b"newer", "storage/1"),
        ("b", b"enciphered", "storage/3"),
    ]


def test_a_claim_that_ran_out_cannot_finish(store: Store) -> None:
    add_cards(store, "a")
    write(store, reencrypt.plan, "job", PAN, size=10)
    first = claim(store)
    assert claim(store) is None
    second = claim(store, now=LEASE)
    assert first is not None
    assert second is not None
    assert not write(store, reencrypt.finish, first, now=NOW, changed=1)
    assert write(store, reencrypt.finish, second, now=NOW, changed=1)
    assert not write(store, reencrypt.finish, second, now=NOW, changed=1)
    assert claim(store, now=LEASE + LEASE) is None
    assert read(store, reencrypt.progress, "job") == Progress(1, 1, 1)


def test_ciphertexts_of_pins_move_apart(store: Store) -> None:
    add_cards(store, "a", "b")
    both = PinMaterial(
        method="compare", reference=b"1", reference_key="k/1", reveal=b"2", reveal_key="k/1"
    )
    write(store, pins.put_pin, "a", both, replaces=pins.NO_PIN, now=NOW)
    bare = PinMaterial(method="pvv", value="1234")
    write(store, pins.put_pin, "b", bare, replaces=pins.NO_PIN, now=NOW)
    target = CIPHERTEXTS["pin.reveal"]
    write(store, reencrypt.plan, "job", target, size=10)
    chunk = claim(store)
    assert chunk is not None
    rows = read(store, reencrypt.rows_of, chunk, target, present="k/2")
    assert [(row.id, row.data) for row in rows] == [("a", b"2")]
    assert write(store, reencrypt.write_back, target, [(rows[0], b"3")], present="k/2") == 1
    assert not read(store, reencrypt.rows_left, target, present="k/2")
    assert read(store, reencrypt.rows_left, CIPHERTEXTS["pin.reference"], present="k/2")
    stored = read(store, pins.get_pin, "a")
    assert stored is not None
    assert (stored.reveal, stored.reveal_key) == (b"3", "k/2")
    assert (stored.reference, stored.reference_key) == (b"1", "k/1")


@pytest.mark.parametrize("column", ["pin.reference", "pin.reveal"])
def test_ciphertexts_of_pins_come_with_the_pans_of_their_cards(store: Store, column: str) -> None:
    add_cards(store, "a", "b", "c", "d")
    both = PinMaterial(
        method="block", reference=b"1", reference_key="k/1", reveal=b"2", reveal_key="k/1"
    )
    newer = replace(both, reference_key="k/2", reveal_key="k/2")
    for card_id, material in (("a", newer), ("b", both), ("d", both)):
        write(store, pins.put_pin, card_id, material, replaces=pins.NO_PIN, now=NOW)
    target = CIPHERTEXTS[column]
    assert write(store, reencrypt.plan, "job", target, size=10) == 1
    chunk = claim(store)
    assert chunk is not None
    rows = read(store, reencrypt.pin_rows_of, chunk, target, present="k/2")
    plain = read(store, reencrypt.rows_of, chunk, target, present="k/2")
    assert [(row.id, row.data, row.key) for row in rows] == [
        (row.id, row.data, row.key) for row in plain
    ]
    assert [row.id for row in rows] == ["b", "d"]
    for row in rows:
        of_card = read(store, cards.get_card, row.id)
        assert of_card is not None
        assert (row.pan_cipher, row.pan_key) == (of_card.pan_cipher, of_card.pan_key)
        assert row.pan_index == of_card.pan_index
    changed = write(store, reencrypt.write_back, target, [(r, b"3") for r in rows], present="k/2")
    assert changed == 2

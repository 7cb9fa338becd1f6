"""Every statement that the store sends finds its rows by an index, among a hundred thousand."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from pinvault.store import (
    Store,
    cards,
    idempotency,
    outbox,
    pins,
    reencrypt,
    sessions,
    sweeping,
    tokens,
    upgrade,
    velocity,
)
from pinvault.store.idempotency import IdempotencyKey
from pinvault.store.schema import metadata
from tests.store.samples import NOW, SECOND, card, hashed, material, message, session

ROWS, FEW = 100_000, 10_000
MANY = {"card", "pin", "outbox"}
KEY = IdempotencyKey(caller="bank", method="SetPin", key="42")
LEASE = NOW + 30 * SECOND
PAN = reencrypt.CIPHERTEXTS["card.pan"]
REFERENCE = reencrypt.CIPHERTEXTS["pin.reference"]

NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS"
    " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})",
    "postgresql": "WITH numbers(n) AS (SELECT generate_series(1, {rows}))",
}
HASH = {
    "sqlite": "CAST(printf('%032d', n) AS BLOB)",
    "postgresql": "decode(lpad(n::text, 64, '0'), 'hex')",
}
FILLS = {
    "card": "'n' || n, 'debit', 'x' || n, {hash}, {hash}, 'storage/1', '1234', '01', '3012', 'A',"
    " 0, 0, {hash}",
    "pin": "'n' || n, 'block', NULL, {hash}, 'storage/1', NULL, NULL, 0, 0, NULL, NULL, 1, 1",
    "control_token": "'n' || n, 'SET_PIN', {hash}, {hash}, 'bank', 0, {now} + n, NULL",
    "pin_session": "'n' || n, {hash}, NULL, 'n' || n, 'set', 'bank', '', 0, {now} + n, NULL, NULL",
    "idempotency": "'bank', 'SetPin', 'n' || n, {hash}, 1, NULL, 0, {now} + n",
    "outbox": "'n' || n, 'core', 'pin.set', 'n' || n, '{{}}', 0, 0, CASE WHEN n < 2000"
    " THEN 'pending' WHEN n < 3000 THEN 'dead' ELSE 'delivered' END, {now} + n",
    "velocity": "'pan', {hash}, 1, {now} + n",
    "reencrypt_chunk": "'job', 'n' || n, 'n' || n, 0, NULL, 0, NULL, 0",
}


@pytest.fixture(scope="module")
def full(new_address: Callable[[], str]) -> Iterator[Store]:
    address = new_address()
    upgrade(address)
    store = Store.open(address, wait_s=60)
    with store.write() as db:
        name = db.dialect.name
        for table, values in FILLS.items():
            row = values.format(hash=HASH[name], now=NOW)
            into = f"INSERT INTO {table}"
            numbers = NUMBERS[name].format(rows=ROWS if table in MANY else FEW)
            db.exec_driver_sql(f"{into} {numbers} SELECT {row} FROM numbers")
        db.execute(text("ANALYZE"))
    yield store
    store.close()


def everything(db: Connection) -> None:
    """Each function of the store once."""
    assert cards.insert_card(db, card("card"))
    assert cards.get_card(db, "card")
    assert cards.cards_with_pan(db, hashed("card"))
    assert cards.card_with_external_id(db, "debit", "x7")
    assert len(cards.cards_after(db, "n5", count=10)) == 10
    assert cards.set_status(db, "card", expected="A", status="B", now=NOW)
    assert pins.put_pin(db, "card", material(), replaces=pins.NO_PIN, now=NOW)
    assert pins.put_pin(db, "card", material(), replaces=1, now=NOW)
    assert pins.put_pin(db, "card", material(), replaces=2, now=NOW, unblocks=True)
    assert pins.count_try(db, "card", limit=3, now=NOW)
    assert pins.give_back(db, "card", try_round=3)
    assert pins.clear_tries(db, "card", generation=3)
    assert pins.count_try(db, "card", limit=1, now=NOW)
    assert pins.block(db, "card", try_round=4, limit=1, now=NOW)
    assert pins.unblock(db, "card")
    assert not pins.unblock(db, "card")
    assert pins.get_pin(db, "card")
    values: dict[str, Any] = {"kind": "SET_PIN", "token_hash": hashed(""), "caller": "bank"}
    tokens.issue(db, card_id="card", **values, seal=hashed(""), now=NOW, expires_at=LEASE)
    assert tokens.find(db, **values, now=NOW)
    assert tokens.redeem(db, **values, now=NOW) == "card"
    sessions.add_session(db, session("s"), secret_hash=hashed("link"))
    assert sessions.get_session(db, "s", now=NOW)
    page = hashed("page")
    assert sessions.exchange(db, "s", secret_hash=hashed("link"), page_hash=page, now=NOW)
    assert sessions.is_pages(db, "s", page_hash=page, now=NOW)
    assert sessions.count_entry(db, "s", page_hash=page, limit=3, now=NOW)
    assert sessions.use(db, "s", page_hash=page, now=NOW)
    fingerprint = hashed("request")
    for _ in range(2):
        idempotency.begin(db, KEY, fingerprint=fingerprint, now=NOW, lease_until=LEASE)
    assert idempotency.recall(db, KEY, fingerprint=fingerprint, now=NOW)
    assert idempotency.finish(db, KEY, attempt=NOW, answer=b"", keep_until=LEASE)
    assert not idempotency.release(db, KEY, attempt=1)
    outbox.add(db, message("m"), now=NOW)
    assert outbox.claim(db, now=NOW, until=LEASE, count=10)
    assert not outbox.claim(db, now=NOW, until=LEASE, count=10, past=["core"])
    assert outbox.give_up(db, "m", attempt=1, now=NOW)
    assert outbox.get(db, "m")
    assert outbox.page(db, state="dead", after=outbox.get(db, "n2500"), count=10)
    assert outbox.queue(db, now=NOW).dead
    assert outbox.resend(db, "m", now=NOW)
    values = {"scope": "pan", "subject": hashed(""), "limit": 3, "now": NOW, "ends_at": LEASE}
    assert velocity.count_use(db, **values)
    assert velocity.uses(db, scope="pan", subject=hashed(""), now=NOW).count
    assert reencrypt.plan(db, "other", PAN, size=ROWS) == 2
    chunk = reencrypt.claim(db, "job", worker="one", now=NOW, until=LEASE)
    assert chunk
    rows = reencrypt.rows_of(db, chunk, PAN, present="storage/2")
    assert reencrypt.write_back(db, PAN, [(row, b"") for row in rows[:0]], present="k/2") == 0
    assert reencrypt.write_back(db, PAN, [(row, b"new") for row in rows], present="k/2") == 1
    assert not reencrypt.pan_rows_of(db, chunk, present="k/2")
    assert reencrypt.pin_rows_of(db, chunk, REFERENCE, present="storage/2")
    assert reencrypt.finish(db, chunk, now=NOW, changed=1)
    assert sweeping.sweep(db, now=NOW + 10, count=10) > 0


def test_every_statement_is_served_by_an_index(full: Store) -> None:
    sent: dict[str, Any] = {}

    def note(_db: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        one = parameters[0] if isinstance(parameters, list) else parameters
        sent.setdefault(statement, one)

    with full.write() as db:
        event.listen(db, "before_cursor_execute", note)
        everything(db)
        event.remove(db, "before_cursor_execute", note)
        assert len(sent) > 35
        found = {statement: walks(db, statement, values) for statement, values in sent.items()}
        db.rollback()
    assert {statement: plan for statement, plan in found.items() if plan} == {}


def walks(db: Connection, statement: str, parameters: Any) -> list[str]:
    """The steps of a plan that look at all rows of a table, or at all of an index."""
    explain = "EXPLAIN QUERY PLAN" if db.dialect.name == "sqlite" else "EXPLAIN"
    rows = db.exec_driver_sql(f"{explain} {statement}", parameters).all()
    steps = [str(row[-1]).strip() for row in rows]
    if db.dialect.name == "sqlite":
        tables = tuple(f"SCAN {table}" for table in metadata.tables)
        return [step for step in steps if step.startswith(tables)]
    return [step for step in steps if "Seq Scan on" in step]

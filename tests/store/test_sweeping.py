"""The sweep removes what is over, in bites, and nothing else."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from pinvault.store import Store, cards, idempotency, outbox, schema, sessions, sweeping, tokens
from pinvault.store.idempotency import IdempotencyKey
from pinvault.store.sessions import PinSession
from tests.store.conftest import empty
from tests.store.samples import NOW, card, hashed, message, session, write

OVER, ALIVE = NOW, NOW + 1


def fill(store: Store, over: int, alive: int) -> None:
    with store.write() as db:
        assert cards.insert_card(db, card("card"))
        for number in range(over + alive):
            name = str(number)
            ends = OVER if number < over else ALIVE
            key = IdempotencyKey(caller="bank", method="SetPin", key=name)
            values = {"card_id": "card", "kind": name, "caller": "bank", "token_hash": hashed(name)}
            tokens.issue(db, **values, seal=hashed(name), now=NOW - 9, expires_at=ends)
            idempotency.begin(db, key, fingerprint=hashed(""), now=NOW - 9, lease_until=ends)
            kept = session(name)
            made = {field: getattr(kept, field) for field in PinSession.__slots__}
            new = PinSession(**made | {"expires_at": ends})
            sessions.add_session(db, new, secret_hash=hashed(name))
            outbox.add(db, message(name), now=NOW - 9)
            outbox.claim(db, now=NOW - 9, until=NOW, count=1)
            outbox.delivered(db, name, attempt=1, keep_until=ends)
        outbox.add(db, message("pending"), now=NOW - 9)


SWEPT = (schema.control_token, schema.pin_session, schema.idempotency, schema.outbox)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(over=st.integers(0, 7), alive=st.integers(0, 3), count=st.integers(1, 4))
def test_what_is_over_goes_in_bites(store: Store, over: int, alive: int, count: int) -> None:
    empty(store)
    fill(store, over, alive)
    left = over
    while removed := write(store, sweeping.sweep, now=NOW, count=count):
        assert removed == min(left, count) * len(SWEPT)
        left -= removed // len(SWEPT)
    assert left == 0
    with store.read() as db:
        rows = {table.name: db.scalar(select(func.count()).select_from(table)) for table in SWEPT}
    assert rows == {table.name: alive for table in SWEPT} | {"outbox": alive + 1}

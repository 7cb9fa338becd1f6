"""Idempotency keys: one attempt at a time, one answer, and no way back for who was late."""

import pytest
from sqlalchemy import Connection

from pinvault.store import Store, idempotency
from pinvault.store.idempotency import Begun, IdempotencyKey, Known
from pinvault.store.sweeping import sweep
from tests.store.samples import NOW, SECOND, hashed, read, write

KEY = IdempotencyKey(caller="bank", method="SetPin", key="42")
LEASE = NOW + 30 * SECOND
KEEP = NOW + 3600 * SECOND


def begin(
    store: Store, *, key: IdempotencyKey = KEY, word: str = "request", now: int = NOW
) -> Begun | Known:
    values = {"now": now, "lease_until": now + LEASE - NOW}
    return write(store, idempotency.begin, key, fingerprint=hashed(word), **values)


def finish(store: Store, attempt: int, answer: bytes = b"answer") -> bool:
    values = {"attempt": attempt, "answer": answer, "keep_until": KEEP}
    return write(store, idempotency.finish, KEY, **values)


def recall(store: Store, *, word: str = "request", now: int = NOW) -> Known | None:
    return read(store, idempotency.recall, KEY, fingerprint=hashed(word), now=now)


def test_a_key_is_recalled_as_it_would_be_met_and_not_taken(store: Store) -> None:
    assert recall(store) is None
    assert begin(store) == Begun(NOW)
    assert recall(store) == Known(is_same_request=True, answer=None)
    assert recall(store, now=LEASE) is None
    assert finish(store, NOW)
    assert recall(store, now=LEASE) == Known(is_same_request=True, answer=b"answer")
    assert recall(store, word="other") == Known(is_same_request=False, answer=b"answer")
    assert recall(store, now=KEEP) is None
    assert begin(store, now=KEEP) == Begun(KEEP)


@pytest.mark.parametrize("answer", [b"answer", b""])
def test_the_journey_of_a_key(store: Store, answer: bytes) -> None:
    assert begin(store) == Begun(NOW)
    assert begin(store) == Known(is_same_request=True, answer=None)
    assert begin(store, word="other") == Known(is_same_request=False, answer=None)
    assert finish(store, NOW, answer)
    assert not finish(store, NOW, b"another")
    assert begin(store, now=LEASE) == Known(is_same_request=True, answer=answer)
    assert begin(store, word="other") == Known(is_same_request=False, answer=answer)
    assert begin(store, now=KEEP) == Begun(KEEP)


@pytest.mark.parametrize(
    "other",
    [
        IdempotencyKey(caller="other", method="SetPin", key="42"),
        IdempotencyKey(caller="bank", method="ChangePin", key="42"),
        IdempotencyKey(caller="bank", method="SetPin", key="43"),
    ],
    ids=["caller", "method", "key"],
)
def test_keys_are_a_callers_and_a_methods_own(store: Store, other: IdempotencyKey) -> None:
    assert begin(store) == Begun(NOW)
    assert begin(store, key=other, word="other") == Begun(NOW)


def test_whoever_lost_the_lease_cannot_finish(store: Store) -> None:
    assert begin(store) == Begun(NOW)
    assert begin(store, now=LEASE) == Begun(LEASE)
    assert not finish(store, NOW)
    assert not write(store, idempotency.release, KEY, attempt=NOW)
    assert finish(store, LEASE)


def test_what_was_released_may_be_sent_again(store: Store) -> None:
    assert begin(store) == Begun(NOW)
    assert write(store, idempotency.release, KEY, attempt=NOW)
    assert begin(store, word="other") == Begun(NOW)
    assert finish(store, NOW)
    assert not write(store, idempotency.release, KEY, attempt=NOW)


@pytest.mark.parametrize("goes_by", ["release", "sweep"])
def test_whoever_was_late_ends_no_request_that_came_after_the_next(
    store: Store, goes_by: str
) -> None:
    """Its row is gone, and the id stands for another request."""
    assert begin(store) == Begun(NOW)
    assert begin(store, now=LEASE) == Begun(LEASE)
    if goes_by == "release":
        assert write(store, idempotency.release, KEY, attempt=LEASE)
    else:
        assert write(store, sweep, now=KEEP, count=10) == 1
    assert begin(store, word="other", now=KEEP) == Begun(KEEP)
    assert not finish(store, NOW, b"late")
    assert not finish(store, LEASE, b"late")
    assert not write(store, idempotency.release, KEY, attempt=NOW)
    assert finish(store, KEEP)


def test_an_answer_is_undone_with_the_work(store: Store) -> None:
    def work(db: Connection) -> None:
        assert idempotency.finish(db, KEY, attempt=NOW, answer=b"answer", keep_until=KEEP)
        raise KeyError

    assert begin(store) == Begun(NOW)
    with pytest.raises(KeyError):
        store.transact(work)
    assert begin(store) == Known(is_same_request=True, answer=None)

"""Sessions: exchanged once, entered a few times, used once, and never by another secret."""

from typing import Any

import pytest

from pinvault.store import Store, sessions
from tests.store.samples import NOW, SECOND, add_cards, hashed, read, session, write

LINK, PAGE = hashed("link"), hashed("page")
LATE = NOW + 600 * SECOND


@pytest.fixture
def added(store: Store) -> Store:
    add_cards(store, "card")
    write(store, sessions.add_session, session("s"), secret_hash=LINK)
    return store


def exchange(store: Store, **other: Any) -> sessions.PinSession | None:
    values = {"secret_hash": LINK, "page_hash": PAGE, "now": NOW} | other
    return write(store, sessions.exchange, "s", **values)


def test_the_journey_of_a_session(added: Store) -> None:
    assert read(added, sessions.get_session, "s", now=NOW) == session("s")
    assert exchange(added) == session("s")
    assert exchange(added) is None
    for number in (1, 2, 3):
        entered = write(added, sessions.count_entry, "s", page_hash=PAGE, limit=3, now=NOW)
        assert entered is not None
        assert entered.entries == number
    assert write(added, sessions.count_entry, "s", page_hash=PAGE, limit=3, now=NOW) is None
    used = write(added, sessions.use, "s", page_hash=PAGE, now=NOW)
    assert used is not None
    assert used.card_id == "card"
    assert write(added, sessions.use, "s", page_hash=PAGE, now=NOW) is None
    assert write(added, sessions.count_entry, "s", page_hash=PAGE, limit=9, now=NOW) is None
    assert read(added, sessions.get_session, "s", now=NOW) is None


def test_a_session_that_expired_is_none(added: Store) -> None:
    assert read(added, sessions.get_session, "s", now=LATE) is None
    assert exchange(added, now=LATE) is None
    assert exchange(added) is not None
    assert write(added, sessions.count_entry, "s", page_hash=PAGE, limit=3, now=LATE) is None
    assert write(added, sessions.use, "s", page_hash=PAGE, now=LATE) is None


def test_another_secret_opens_nothing(added: Store) -> None:
    assert exchange(added, secret_hash=PAGE) is None
    for wrong in (LINK, PAGE):  # nothing was exchanged yet, so no page has a secret
        assert write(added, sessions.count_entry, "s", page_hash=wrong, limit=3, now=NOW) is None
        assert write(added, sessions.use, "s", page_hash=wrong, now=NOW) is None
    assert exchange(added) is not None
    assert write(added, sessions.use, "s", page_hash=LINK, now=NOW) is None
    assert write(added, sessions.use, "other", page_hash=PAGE, now=NOW) is None
    assert write(added, sessions.use, "s", page_hash=PAGE, now=NOW) is not None

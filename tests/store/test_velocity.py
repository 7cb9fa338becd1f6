"""Counted uses against a window that is kept in two variables."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinvault.store import Store, sweeping, velocity
from tests.store.conftest import empty
from tests.store.samples import NOW, hashed, read, write

WINDOW = 5
LIMIT = 3


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.integers(-2, 4), max_size=20))
def test_a_window_counts_up_to_its_limit(store: Store, steps: list[int]) -> None:
    """Time may go back: that lengthens a window and forgives nothing."""
    empty(store)
    now, uses, ends_at = NOW, 0, 0
    for step in steps:
        now += step
        if now >= ends_at:
            uses, ends_at = 0, now + WINDOW
        expected = uses + 1 if uses < LIMIT else None
        assert count(store, now) == expected
        uses = expected or uses
        assert told(store, now) == velocity.Uses(uses, ends_at)


def count(store: Store, now: int, *, scope: str = "pan", subject: str = "a") -> int | None:
    values = {"limit": LIMIT, "now": now, "ends_at": now + WINDOW}
    return write(store, velocity.count_use, scope=scope, subject=hashed(subject), **values)


def told(store: Store, now: int, *, scope: str = "pan", subject: str = "a") -> velocity.Uses:
    return read(store, velocity.uses, scope=scope, subject=hashed(subject), now=now)


def test_a_window_is_told_without_being_counted(store: Store) -> None:
    assert told(store, NOW) == velocity.Uses(0, NOW)
    count(store, NOW)
    for now in (NOW, NOW + WINDOW - 1):
        assert told(store, now) == velocity.Uses(1, NOW + WINDOW)
    assert told(store, NOW + WINDOW) == velocity.Uses(0, NOW + WINDOW)
    assert told(store, NOW, subject="b") == told(store, NOW, scope="other") == velocity.Uses(0, NOW)


def test_scopes_and_subjects_count_apart(store: Store) -> None:
    for scope, subject in (("pan", "a"), ("pan", "b"), ("caller", "a")):
        assert [count(store, NOW, scope=scope, subject=subject) for _ in range(4)] == [
            1,
            2,
            3,
            None,
        ]


def test_what_is_over_is_swept(store: Store) -> None:
    count(store, NOW, subject="old")
    count(store, NOW + 1, subject="new")
    assert write(store, sweeping.sweep, now=NOW + WINDOW, count=10) == 1
    assert count(store, NOW + 1, subject="new") == 2

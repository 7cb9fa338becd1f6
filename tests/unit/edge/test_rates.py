"""Rates: never more than the burst and what has flowed since, for each name apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.edge.dialect import Refused
from pinvault.edge.rates import Buckets, Failures, Rate, Rates


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    burst=st.integers(1, 20),
    period=st.sampled_from([1.0, 60.0, 3600.0]),
    steps=st.lists(st.floats(0, 1), max_size=60),
)
def test_no_more_are_let_through_than_the_rate_allows(burst, period, steps) -> None:
    clock = Clock()
    buckets = Buckets(Rate(burst, period), now=clock)
    taken = []
    for step in steps:
        clock.now += step * period / burst
        if buckets.wait(b"name") == 0.0:
            taken.append(clock.now)
    for index, begin in enumerate(taken):
        for count, end in enumerate(taken[index:], start=1):
            assert count <= burst + (end - begin) * burst / period + 1e-3


@given(burst=st.integers(1, 20))
def test_who_waits_as_long_as_told_is_let_through(burst: int) -> None:
    clock = Clock()
    buckets = Buckets(Rate(burst, 60.0), now=clock)
    assert all(buckets.wait(b"name") == 0.0 for _ in range(burst))
    wait = buckets.wait(b"name")
    assert wait == pytest.approx(60.0 / burst)
    clock.now += wait
    assert buckets.wait(b"name") == 0.0
    assert buckets.wait(b"other") == 0.0


def test_a_full_table_refuses_and_forgets_who_has_waited() -> None:
    clock = Clock()
    buckets = Buckets(Rate(1, 10.0), now=clock, slots=2)
    assert [buckets.wait(name) > 0 for name in (b"a", b"b", b"c")] == [False, False, True]
    clock.now += 10.0
    assert buckets.wait(b"c") == 0.0


def test_callers_and_cards_are_counted_apart() -> None:
    rates = Rates(per_caller=Rate(3, 60.0), per_card=Rate(1, 60.0), now=Clock())
    rates.spend("acme", card="4000001234562000")
    with pytest.raises(Refused) as refused:
        rates.spend("other", card="4000001234562000")
    assert (refused.value.reason, refused.value.retry_after_s) == ("RATE_EXCEEDED", 60.0)
    rates.spend("acme", card="4111111111111111")
    rates.spend("acme")
    with pytest.raises(Refused):
        rates.spend("acme")


def test_a_caller_and_its_card_can_be_counted_one_after_the_other() -> None:
    rates = Rates(per_caller=Rate(9, 60.0), per_card=Rate(1, 60.0), now=Clock())
    rates.spend("acme")
    rates.spend_card("4000001234562000")
    with pytest.raises(Refused):
        rates.spend_card("4000001234562000")


def waits(failures: Failures, stranger: str) -> float | None:
    try:
        failures.require_few(stranger)
    except Refused as refused:
        return refused.retry_after_s
    return None


def test_who_has_failed_too_often_waits_and_is_heard_again() -> None:
    clock = Clock()
    failures = Failures(Rate(2, 60.0), now=clock)
    for _ in range(9):
        assert waits(failures, "one") is None  # asking costs nothing
    failures.count("one")
    assert waits(failures, "one") is None
    failures.count("one")
    assert waits(failures, "one") == 30.0
    assert waits(failures, "other") is None
    clock.now += 30.0
    assert waits(failures, "one") is None


@given(together=st.integers(1, 50), burst=st.integers(1, 20))
def test_what_failed_together_is_waited_for_one_by_one(together: int, burst: int) -> None:
    """Requests that were let in before the first of them had failed gain nothing."""
    clock = Clock()
    failures = Failures(Rate(burst, 60.0), now=clock)
    for _ in range(burst + together):
        failures.count("one")
    assert waits(failures, "one") == pytest.approx((together + 1) * 60.0 / burst)
    clock.now += 60.0 / burst * together
    assert waits(failures, "one") is not None
    clock.now += 60.0 / burst + 1e-6
    assert waits(failures, "one") is None


def test_many_who_fail_shut_nobody_out_and_take_no_more_room() -> None:
    failures = Failures(Rate(1, 60.0), now=Clock(), slots=8)
    for number in range(100):
        failures.count(str(number))
    assert len(failures._buckets._full_at) == 8
    assert waits(failures, "new") is None
    assert waits(failures, "99") == 60.0
    assert waits(failures, "0") is None


def test_no_stranger_is_kept_as_it_is_called() -> None:
    failures = Failures(Rate(1, 60.0), now=Clock())
    failures.count("192.0.2.1")
    assert "192.0.2.1" not in repr(failures._buckets._full_at)


def test_no_card_is_kept_as_it_is_called() -> None:
    rates = Rates(per_caller=Rate(3, 60.0), per_card=Rate(1, 60.0), now=Clock())
    rates.spend("acme", card="4000001234562000")
    assert b"4000001234562000" not in repr(vars(rates._cards)).encode()

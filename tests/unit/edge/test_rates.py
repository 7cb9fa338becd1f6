"""Rates: never more than the burst and what has flowed since, for each caller and card apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.edge.dialect import Refused
from pinvault.edge.rates import Buckets, Rate, Rates


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


def test_no_card_is_kept_as_it_is_called() -> None:
    rates = Rates(per_caller=Rate(3, 60.0), per_card=Rate(1, 60.0), now=Clock())
    rates.spend("acme", card="4000001234562000")
    assert b"4000001234562000" not in repr(vars(rates._cards)).encode()

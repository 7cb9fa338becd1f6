"""Pauses: within their bounds, growing, drawn apart, and about three days in all."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.notify.backoff import LAST_ATTEMPT, LONGEST_S, SHORTEST_S, pause_s

attempts = st.integers(1, 10_000)
shares = st.floats(0, 1)


def at(share: float):
    """Draw at a share of the way."""
    return lambda least, most: least + share * (most - least)


@given(attempts, shares, st.floats(0, 1e9))
def test_a_pause_is_within_its_bounds(attempt: int, share: float, asked_s: float) -> None:
    assert SHORTEST_S <= pause_s(attempt, draw=at(share), asked_s=asked_s) <= LONGEST_S


@given(attempts, shares)
def test_pauses_do_not_shrink(attempt: int, share: float) -> None:
    assert pause_s(attempt, draw=at(share)) <= pause_s(attempt + 1, draw=at(share))


@given(attempts, st.floats(0, LONGEST_S))
def test_who_asks_for_more_is_heeded(attempt: int, asked_s: float) -> None:
    assert pause_s(attempt, draw=min, asked_s=asked_s) == max(SHORTEST_S, asked_s)


@given(attempts)
def test_jitter_is_full(attempt: int) -> None:
    bound = pause_s(attempt, draw=max)
    assert pause_s(attempt, draw=min) == SHORTEST_S
    assert bound == LONGEST_S or bound == SHORTEST_S * 2**attempt


def in_all_s(draw) -> float:
    return sum(pause_s(attempt, draw=draw) for attempt in range(1, LAST_ATTEMPT))


def test_it_takes_about_three_days_in_all() -> None:
    assert in_all_s(at(0.5)) / 3600 == pytest.approx(74.8, abs=0.1)
    drawn = random.Random(1)
    days = sorted(in_all_s(drawn.uniform) / 86_400 for _ in range(500))
    assert days[5] > 2
    assert days[-5] < 4.5

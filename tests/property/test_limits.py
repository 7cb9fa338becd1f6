"""Rates against simple models: exactly the token bucket, and never more than the words allow."""

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinvault.policy.limits import (
    PERIODS,
    LimitExceeded,
    Limits,
    Nonces,
    Rate,
    RateError,
    parse_rate,
)
from pinvault.policy.shared_table import SharedTable

START = 1_770_000_000.0
HASH = bytes(20)

steady = settings(max_examples=60)
ONE_PER_MINUTE = Rate(count=1, period_s=60.0, burst=1)


@contextmanager
def new_table() -> Iterator[SharedTable]:
    with tempfile.TemporaryDirectory() as name:
        table = SharedTable.open(Path(name) / "table", secret=bytes(32), slots=256)
        yield table
        table.close()


def check(limits: Limits, *, now: float, method: str = "A.Encrypt", **options: object) -> bool:
    given: dict[str, object] = {
        "caller": "app",
        "pan_hash": HASH,
        "per_caller": None,
        "per_pan": None,
    }
    try:
        limits.check(method=method, now=now, **(given | options))  # type: ignore[arg-type]
    except LimitExceeded:
        return False
    return True


class Bucket:
    """The textbook token bucket, in exact numbers."""

    def __init__(self, interval: Fraction, burst: int) -> None:
        self.interval, self.burst = interval, burst
        self.tokens, self.at = Fraction(burst), Fraction(0)

    def take(self, now: Fraction) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) / self.interval)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


steps = st.lists(st.integers(0, 5000), min_size=1, max_size=60)


@steady
@given(steps, st.integers(1, 4096), st.integers(1, 8))
def test_it_is_the_token_bucket_exactly(gaps: list[int], ticks: int, burst: int) -> None:
    """In ticks of 1/1024 s, which float64 holds exactly at this distance from 1970."""
    bucket = Bucket(Fraction(ticks, 1024), burst)
    with new_table() as table:
        for moment in itertools.accumulate(gaps):
            wait = table.conform(
                b"k", now=START + moment / 1024, interval=ticks / 1024, burst=burst
            )
            assert (wait == 0.0) == bucket.take(Fraction(moment, 1024))
            assert wait <= ticks / 1024


@steady
@given(
    st.lists(st.floats(0, 3), min_size=2, max_size=80),
    st.integers(1, 500),
    st.integers(1, 9),
    st.sampled_from(["s", "min"]),
)
def test_no_window_holds_more_than_burst_and_rate(gaps, count, burst, period) -> None:
    rate = parse_rate(f"{count}/{period} burst {burst}")
    with new_table() as table:
        limits = Limits(table)
        times = [
            now
            for now in itertools.accumulate(gaps)
            if check(limits, now=START + now, per_pan=rate)
        ]
    for first, last in itertools.combinations(range(len(times)), 2):
        allowed = rate.burst + (times[last] - times[first]) / rate.interval_s
        assert last - first + 1 <= allowed + 0.01


@steady
@given(steps, st.integers(1, 4096), st.integers(1, 8))
def test_who_waits_as_told_is_let_through(gaps: list[int], ticks: int, burst: int) -> None:
    with new_table() as table:
        now = START
        for gap in gaps:
            now += gap / 1024
            wait = table.conform(b"k", now=now, interval=ticks / 1024, burst=burst)
            now += wait
            if wait:
                assert table.conform(b"k", now=now, interval=ticks / 1024, burst=burst) == 0.0


@steady
@given(
    st.lists(
        st.tuples(st.integers(0, 100), st.sampled_from(["A.Encrypt", "A.EncryptChange"])),
        max_size=60,
    )
)
def test_methods_with_different_rates_cannot_launder_each_others_use(calls) -> None:
    """The account of a PAN is one: the laxer rate bounds the sum, the stricter its own method."""
    rates = {
        "A.Encrypt": parse_rate("10/min burst 10"),
        "A.EncryptChange": parse_rate("60/min burst 1"),
    }
    moment, admitted = 0, []
    with new_table() as table:
        limits = Limits(table)
        for gap, method in calls:
            moment += gap
            if check(limits, now=START + moment / 1024, method=method, per_pan=rates[method]):
                admitted.append((moment / 1024, method))
    encrypts = [at for at, method in admitted if method == "A.Encrypt"]
    for first, last in itertools.combinations(range(len(encrypts)), 2):
        assert last - first + 1 <= 10 + (encrypts[last] - encrypts[first]) / 6


def test_ten_thousand_encryptions_for_one_pan_stop_at_ten() -> None:
    rate = parse_rate("10/h")
    with new_table() as table:
        limits = Limits(table)
        passed = sum(check(limits, now=START + n / 1000, per_pan=rate) for n in range(2000))
        assert passed == 10
        assert check(limits, now=START, per_pan=rate, pan_hash=b"another PAN")
        assert check(limits, now=START, per_pan=rate, caller="another caller")
        assert not check(limits, now=START + 2, per_pan=rate, method="A.EncryptChange")
        assert check(limits, now=START + 361, per_pan=rate)


def test_a_callers_rate_is_by_method_and_asked_first() -> None:
    with new_table() as table:
        limits = Limits(table)
        both = {"per_caller": ONE_PER_MINUTE, "per_pan": parse_rate("2/min")}
        assert check(limits, now=START, **both)
        with pytest.raises(LimitExceeded) as caught:
            limits.check(caller="app", method="A.Encrypt", pan_hash=HASH, now=START, **both)
        assert (caught.value.scope, caught.value.retry_after_s) == ("caller", 60.0)
        assert check(limits, now=START, method="A.Other", **both)
        with pytest.raises(LimitExceeded) as caught:
            limits.check(caller="app", method="A.Third", pan_hash=HASH, now=START, **both)
        assert (caught.value.scope, caught.value.retry_after_s) == ("pan", 30.0)


def test_callers_and_pans_cannot_be_spelt_into_each_other() -> None:
    with new_table() as table:
        limits = Limits(table)
        assert check(limits, now=START, caller="ab", pan_hash=b"c", per_pan=ONE_PER_MINUTE)
        assert check(limits, now=START, caller="a", pan_hash=b"bc", per_pan=ONE_PER_MINUTE)
        assert check(limits, now=START, caller="a", method="1:b", per_caller=ONE_PER_MINUTE)
        assert check(limits, now=START, caller="a1:", method="b", per_caller=ONE_PER_MINUTE)


class Owners:
    """Who a thing belongs to, in exact numbers: the first who shows it, while that is remembered.

    Buckets say how long: an account's events are forgotten when its bucket is full again.
    """

    def __init__(self, interval: Fraction, burst: int) -> None:
        self.interval, self.burst = interval, burst
        self.full_at: dict[bytes, Fraction] = {}
        self.owners: dict[bytes, tuple[bytes, Fraction]] = {}

    def show(self, key: bytes, things: list[bytes], now: Fraction) -> Fraction:
        """Give the seconds to wait."""
        others = [self.owners.get(thing, (key, now)) for thing in things]
        waits = [until - now for owner, until in others if owner != key and until > now]
        full_at = max(self.full_at.get(key, now), now) + self.interval
        wait = max([*waits, Fraction(0)]) or max(full_at - now - self.burst * self.interval, 0)
        if not wait:
            self.full_at[key] = full_at
            for thing in things:
                self.keep(thing, key, now, full_at)
        return Fraction(wait)

    def keep(self, thing: bytes, key: bytes, now: Fraction, until: Fraction) -> None:
        owner, before = self.owners.get(thing, (key, now))
        if owner == key or before <= now:
            self.owners[thing] = key, max(until, before)


names = st.sampled_from([b"a", b"b", b"c"])
shown = st.tuples(st.integers(0, 3000), names, st.lists(names, max_size=3), st.just(None))
kept = st.tuples(st.integers(0, 3000), names, st.lists(names, max_size=1), st.integers(0, 9000))


@steady
@given(st.lists(shown | kept, max_size=60), st.integers(1, 4096), st.integers(1, 4))
def test_a_thing_belongs_to_who_shows_it_first_exactly(
    uses: list[tuple[int, bytes, list[bytes], int | None]], ticks: int, burst: int
) -> None:
    """Of any number of things at once, shown and kept; and the rates are those of the buckets."""
    owners, moment = Owners(Fraction(ticks, 1024), burst), 0
    with new_table() as table:
        for gap, key, things, ticks_kept in uses:
            moment += gap
            now, exactly = START + moment / 1024, Fraction(moment, 1024)
            if ticks_kept is None:
                wait = table.conform(
                    key, now=now, interval=ticks / 1024, burst=burst, things=things
                )
                assert wait == owners.show(key, things, exactly)
                continue
            for thing in things:
                table.keep(thing, key, now=now, until=now + ticks_kept / 1024)
                owners.keep(thing, key, exactly, exactly + Fraction(ticks_kept, 1024))


TEN = parse_rate("10/h")


def test_a_block_is_answered_for_at_the_rate_of_one_account() -> None:
    """Shown for a thousand accounts it has one rate, and none of the others uses up theirs."""
    with new_table() as table:
        limits = Limits(table)
        passed = [
            number
            for number in range(1000)
            if check(
                limits,
                now=START + number / 1000,
                per_pan=TEN,
                pan_hash=b"%d" % (number % 200),
                blocks=[b"block"],
            )
        ]
        assert passed == [0, 200, 400, 600, 800]
        assert check(limits, now=START + 1, per_pan=TEN, pan_hash=b"7", blocks=[b"another"])


def test_one_block_that_is_anothers_refuses_the_call() -> None:
    with new_table() as table:
        limits = Limits(table)
        assert check(limits, now=START, per_pan=TEN, blocks=[b"theirs"])
        ask = {"caller": "app", "method": "A.Verify", "per_caller": None, "per_pan": TEN}
        with pytest.raises(LimitExceeded) as caught:
            limits.check(**ask, pan_hash=b"mine", now=START, blocks=[b"mine", b"theirs"])
        assert (caught.value.scope, caught.value.retry_after_s) == ("pan", 360.0)
        assert check(limits, now=START, per_pan=TEN, pan_hash=b"third", blocks=[b"mine"])


def test_a_block_is_free_again_when_its_account_is_forgotten() -> None:
    with new_table() as table:
        limits = Limits(table)
        for _ in range(3):
            assert check(limits, now=START, per_pan=TEN, blocks=[b"block"])
        other = {"per_pan": TEN, "pan_hash": b"other", "blocks": [b"block"]}
        assert not check(limits, now=START + 3 * 360 - 1, **other)
        assert check(limits, now=START + 3 * 360, **other)


def test_a_block_that_was_made_is_kept_for_a_day_and_for_its_caller() -> None:
    with new_table() as table:
        limits = Limits(table)
        limits.keep(b"block", caller="app", pan_hash=HASH, now=START)
        limits.keep(b"block", caller="app", pan_hash=b"other", now=START)
        other = {"per_pan": TEN, "pan_hash": b"other", "blocks": [b"block"]}
        assert not check(limits, now=START + 86_399, **other)
        assert check(limits, now=START, caller="another", **other)
        passed = sum(check(limits, now=START, per_pan=TEN, blocks=[b"block"]) for _ in range(20))
        assert passed == 10, "to keep it is no event"
        assert check(limits, now=START + 86_400, **other)


def test_without_a_rate_blocks_are_nobodys() -> None:
    with new_table() as table:
        limits = Limits(table)
        for number in range(20):
            assert check(limits, now=START, pan_hash=b"%d" % number, blocks=[b"block"])
        assert table.live(now=START) == 0


def test_blocks_accounts_and_callers_cannot_be_spelt_into_each_other() -> None:
    with new_table() as table:
        limits = Limits(table)
        assert check(limits, now=START, caller="ab", per_pan=TEN, blocks=[b"c"])
        for caller, block in (("a", b"bc"), ("a", b"1:bc"), ("abc", b""), ("ab", HASH)):
            assert check(
                limits, now=START, caller=caller, pan_hash=b"x", per_pan=TEN, blocks=[block]
            )


def test_a_rate_per_pan_without_a_pan_is_a_fault() -> None:
    with new_table() as table, pytest.raises(ValueError):
        check(Limits(table), now=START, pan_hash=None, per_pan=ONE_PER_MINUTE)


def test_no_rate_no_limit() -> None:
    with new_table() as table:
        assert all(check(Limits(table), now=START, pan_hash=None) for _ in range(100))
        assert table.live(now=START) == 0


def test_a_nonce_is_spent_once_while_it_is_valid() -> None:
    with new_table() as table:
        nonces = Nonces(table)
        assert nonces.spend(b"n", until=START + 60, now=START)
        assert not nonces.spend(b"n", until=START + 60, now=START + 59)
        assert nonces.spend(b"m", until=START + 60, now=START)
        assert not nonces.spend(b"late", until=START, now=START)


@steady
@given(
    st.integers(1, 999_999), st.sampled_from(sorted(PERIODS)), st.none() | st.integers(1, 999_999)
)
def test_rates_are_read_as_written(count: int, period: str, burst: int | None) -> None:
    rate = parse_rate(f"{count}/{period}" + (f" burst {burst}" if burst else ""))
    assert rate == Rate(count=count, period_s=PERIODS[period], burst=burst or count)


@steady
@given(
    st.text()
    | st.sampled_from(
        [
            "0/h",
            "10/hour",
            "10/h burst 0",
            "-1/s",
            "1.5/s",
            "10 /h",
            "10/h ",
            "10/h\n",
            "\u0661/h",
            "1/h burst",
        ]
    )
)
def test_what_is_no_rate_is_refused_without_an_echo(text: str) -> None:
    with pytest.raises(RateError) as caught:
        parse_rate(text)
    assert str(caught.value) == "not a rate"
    assert "10/h" in caught.value.remedy

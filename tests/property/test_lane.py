"""The lane under many threads: each caller gets its own result, each payload runs exactly once."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.errors import HsmTimeout, HsmUnavailable
from hsm.lane import Lane

FAILING_BATCH = "batch"
FAILING_ITEM = "item"


class RefusedError(Exception):
    """A fake's refusal."""


class Recorder:
    """A run function that doubles numbers, notes what it ran, and sees that it runs alone."""

    def __init__(self, duration: float = 0.0) -> None:
        self.duration = duration
        self.ran: Counter[int] = Counter()
        self.batches: list[tuple[object, int]] = []
        self._inside = threading.Lock()

    def __call__(self, group, payloads):
        assert self._inside.acquire(blocking=False), "two threads inside the lane"
        try:
            self.ran.update(payloads)
            self.batches.append((group, len(payloads)))
            if self.duration:
                time.sleep(self.duration)
            if group == FAILING_BATCH:
                raise RefusedError
            if group == FAILING_ITEM:
                return [RefusedError() if each % 2 else each * 2 for each in payloads]
            return [each * 2 for each in payloads]
        finally:
            self._inside.release()


def outcome(lane, group, payload, timeout):
    try:
        return lane.call(group, payload, timeout)
    except (HsmTimeout, RefusedError) as error:
        return type(error)


@settings(max_examples=60)
@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", FAILING_BATCH, FAILING_ITEM]),
            st.sampled_from([0.0, 0.0005, 0.003, 30.0, 30.0]),
        ),
        min_size=10,
        max_size=80,
    ),
    duration=st.sampled_from([0.0, 0.0002, 0.001]),
    batch_limit=st.integers(min_value=1, max_value=5),
    threads=st.integers(min_value=1, max_value=24),
)
def test_every_caller_gets_its_own_result(calls, duration, batch_limit, threads):
    recorder = Recorder(duration)
    lane = Lane(recorder, batch_limit=batch_limit)
    with ThreadPoolExecutor(threads) as pool:
        futures = [
            pool.submit(outcome, lane, group, number, timeout)
            for number, (group, timeout) in enumerate(calls)
        ]
        results = [future.result(timeout=30) for future in futures]

    assert lane.busy_since is None
    assert lane._queue == {}
    assert max((size for _, size in recorder.batches), default=0) <= batch_limit
    assert max(recorder.ran.values(), default=0) <= 1
    for number, ((group, timeout), result) in enumerate(zip(calls, results, strict=True)):
        if result is HsmTimeout:
            assert timeout < 30
            continue
        assert recorder.ran[number] == 1
        fails = group == FAILING_BATCH or (group == FAILING_ITEM and number % 2)
        assert result == (RefusedError if fails else number * 2)
        assert timeout > 0


def test_a_free_lane_runs_the_call_in_its_own_thread():
    seen = []
    lane = Lane(lambda _, payloads: [seen.append(threading.get_ident()) or 0 for _ in payloads])
    lane.call("a", 1, 1.0)
    assert seen == [threading.get_ident()]


class Gated:
    """A run function that waits in its first batch until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self.batches = []

    def __call__(self, group, payloads):
        self.batches.append((group, list(payloads)))
        self.entered.set()
        assert self.go.wait(10)
        return list(payloads)


def gather(lane, gated, calls):
    """Start one call that holds the lane, queue `calls` in their order, then let it go."""
    pool = ThreadPoolExecutor(len(calls) + 1)
    first = pool.submit(lane.call, "first", 0, 10.0)
    assert gated.entered.wait(10)
    rest = []
    for group, payload in calls:
        rest.append(pool.submit(lane.call, group, payload, 10.0))
        while sum(map(len, lane._queue.values())) < len(rest):
            time.sleep(0.0005)
    gated.go.set()
    results = [future.result(timeout=10) for future in [first, *rest]]
    pool.shutdown()
    return results


def test_callers_of_one_group_are_answered_by_one_call():
    gated = Gated()
    lane = Lane(gated)
    assert gather(lane, gated, [("a", 1), ("a", 2), ("b", 3), ("a", 4)]) == [0, 1, 2, 3, 4]
    assert gated.batches == [("first", [0]), ("a", [1, 2, 4]), ("b", [3])]


def test_a_group_that_overflows_its_batch_stands_behind_the_others():
    gated = Gated()
    lane = Lane(gated, batch_limit=2)
    gather(lane, gated, [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("a", 5)])
    assert gated.batches == [("first", [0]), ("a", [1, 2]), ("b", [4]), ("a", [3, 5])]


def test_a_caller_whose_time_runs_out_in_the_queue_is_never_run():
    gated = Gated()
    lane = Lane(gated)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lane.call, "a", 0, 10.0)
        assert gated.entered.wait(10)
        started = time.monotonic()
        with pytest.raises(HsmTimeout):
            lane.call("a", 1, 0.05)
        assert time.monotonic() - started < 5
        assert lane.busy_since is not None
        gated.go.set()
        assert first.result(10) == 0
    assert gated.batches == [("a", [0])]
    assert lane.call("a", 2, 1.0) == 2


def test_a_caller_without_time_is_refused_at_once():
    with pytest.raises(HsmTimeout):
        Lane(Recorder()).call("a", 1, 0.0)


def test_too_few_results_fail_the_whole_batch():
    lane = Lane(lambda _group, _payloads: [])
    with pytest.raises(ValueError, match="zip"):
        lane.call("a", 1, 1.0)
    assert lane.busy_since is None


def test_an_interrupted_leader_frees_the_lane_and_tells_its_followers():
    entered, go = threading.Event(), threading.Event()
    batches = []

    def run(group, payloads):
        batches.append(len(payloads))
        if group == "first":
            entered.set()
            assert go.wait(10)
            return list(payloads)
        raise KeyboardInterrupt

    lane = Lane(run)
    results = []

    def member():
        try:
            lane.call("a", 1, 10.0)
        except (KeyboardInterrupt, HsmUnavailable) as error:
            results.append(type(error))

    threads = [threading.Thread(target=lane.call, args=("first", 0, 10.0))]
    threads[0].start()
    assert entered.wait(10)
    threads += [threading.Thread(target=member) for _ in range(3)]
    for thread in threads[1:]:
        thread.start()
    while len(lane._queue.get("a", ())) < 3:
        time.sleep(0.0005)
    go.set()
    for thread in threads:
        thread.join(10)
    assert Counter(results) == {KeyboardInterrupt: 1, HsmUnavailable: 2}
    assert batches == [1, 3]
    assert lane.busy_since is None


def test_an_interrupted_waiter_leaves_the_queue():
    gated = Gated()
    lane = Lane(gated)

    class InterruptedGate:
        def acquire(self, **_):
            raise KeyboardInterrupt

        def release(self):
            return

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lane.call, "a", 0, 10.0)
        assert gated.entered.wait(10)
        original = lane._wait

        def interrupted(group, ticket, timeout):
            ticket.gate = InterruptedGate()
            original(group, ticket, timeout)

        lane._wait = interrupted
        with pytest.raises(KeyboardInterrupt):
            lane.call("b", 1, 10.0)
        lane._wait = original
        gated.go.set()
        assert first.result(10) == 0
    assert gated.batches == [("a", [0])]
    assert lane.call("b", 2, 1.0) == 2

"""The loop over the outbox: at least once, whoever dies; and nobody holds up the others."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from pinvault.notify.backoff import LAST_ATTEMPT
from pinvault.notify.delivery import Outcome, Verdict
from pinvault.operations.deliver import SECOND, Deliveries
from pinvault.store import Store, StoreUnavailable, outbox
from pinvault.store.outbox import StoredMessage
from tests.store.samples import message, read, write
from tests.support.receiver import SECRET, Receiver, says, says_in_turn, write_secret

DELIVERED = Outcome(Verdict.DELIVERED, "status-204")
REFUSED = Outcome(Verdict.FAILED, "status-503")

CHILD = """
import asyncio, random, sys, time
from pathlib import Path
from pinvault.notify.delivery import Courier
from pinvault.notify.endpoints import Endpoint
from pinvault.notify.guard import read_network, read_url
from pinvault.operations.deliver import Deliveries
from pinvault.store import Store

class Quiet:
    def polled(self, fault): pass
    def settled(self, message, outcome, state): print(message.id, state, flush=True)
    unsettled = broken = print

address, port, secret = sys.argv[1:]
endpoint = Endpoint(
    name="core", target=read_url(f"http://127.0.0.1:{port}/"), secret_files=(Path(secret),),
    programs=frozenset(), events=frozenset(), private=(read_network("127.0.0.0/8"),),
)
deliveries = Deliveries(
    store=Store.open(address), senders={"core": Courier.of(endpoint, now=time.time).deliver},
    watch=Quiet(), now=lambda: time.time_ns() // 1000, draw=random.uniform, lease_s=1, poll_s=0.1,
    at_once=8,
)
asyncio.run(deliveries.run(asyncio.Event(), grace_s=0))
"""


class Watch:
    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.faults: list[Exception | None] = []

    def polled(self, fault: Exception | None) -> None:
        self.faults.append(fault)

    def settled(self, message: StoredMessage, outcome: Outcome, state: str) -> None:
        self.states.append((message.id, state))

    def unsettled(self, message: StoredMessage, fault: Exception) -> None:
        self.states.append((message.id, "unsettled"))

    def broken(self, message: StoredMessage, fault: Exception) -> None:
        self.states.append((message.id, "broken"))


class Clock:
    """The time, and as much more as a test says."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.ahead


def add(store: Store, *ids: str, endpoint: str = "core") -> None:
    with store.write() as db:
        for each in ids:
            sent = replace(message(each), endpoint=endpoint)
            outbox.add(db, sent, now=time.time_ns() // 1000)


def run(store: Store, senders, until: Callable[[Watch], bool], **other) -> Watch:
    """Deliver until something is so."""
    watch = Watch()
    grace_s = other.pop("grace_s", 5)
    settings = {"now": Clock(), "draw": random.uniform, "poll_s": 0.02} | other
    deliveries = Deliveries(store=store, senders=senders, watch=watch, **settings)

    async def work() -> None:
        stopping = asyncio.Event()
        running = asyncio.create_task(deliveries.run(stopping, grace_s=grace_s))
        async with asyncio.timeout(30):
            while not until(watch):
                await asyncio.sleep(0.005)
                if running.done():
                    running.result()
        stopping.set()
        await running

    asyncio.run(work())
    return watch


def settles(count: int) -> Callable[[Watch], bool]:
    return lambda watch: len(watch.states) >= count


def always(outcome: Outcome):
    async def send(message_id: str, body: str) -> Outcome:
        return outcome

    return send


def state(store: Store, message_id: str) -> tuple[str, int]:
    found = read(store, outbox.get, message_id)
    assert found is not None
    return found.state, found.attempts


def test_what_is_due_is_sent_and_settled(store: Store) -> None:
    names = [f"m{number}" for number in range(30)]
    add(store, *names)
    watch = run(store, {"core": always(DELIVERED)}, settles(30))
    assert sorted(watch.states) == sorted((name, "delivered") for name in names)
    assert {state(store, name) for name in names} == {("delivered", 1)}


def test_what_failed_is_sent_again_later_and_is_dead_in_the_end(store: Store) -> None:
    add(store, "a")
    clock = Clock()
    for attempt in range(1, LAST_ATTEMPT + 1):
        watch = run(store, {"core": always(REFUSED)}, settles(1), now=clock)
        is_last = attempt == LAST_ATTEMPT
        assert watch.states == [("a", "dead" if is_last else "pending")]
        found = read(store, outbox.get, "a")
        assert found is not None
        if not is_last:
            assert 4 * SECOND < found.next_at - clock() <= 6 * 3600 * SECOND
        clock.ahead += 6 * 3600 * SECOND
    assert state(store, "a") == ("dead", LAST_ATTEMPT)


def test_what_is_sent_again_by_hand_has_one_attempt_at_least(store: Store) -> None:
    test_what_failed_is_sent_again_later_and_is_dead_in_the_end(store)
    for outcome, end in ((REFUSED, "dead"), (DELIVERED, "delivered")):
        assert write(store, outbox.resend, "a", now=0)
        assert run(store, {"core": always(outcome)}, settles(1)).states == [("a", end)]


def test_a_receiver_that_asks_for_time_gets_it(store: Store) -> None:
    add(store, "a", "b")
    outcome = Outcome(Verdict.FAILED, "status-429", retry_after_s=1e9)
    run(store, {"core": always(outcome)}, settles(2))
    found = read(store, outbox.get, "a")
    assert found is not None
    assert found.next_at - time.time_ns() // 1000 == pytest.approx(6 * 3600 * SECOND, rel=0.01)


def test_an_endpoint_that_is_gone_ends_its_message(store: Store) -> None:
    add(store, "a")
    run(store, {"core": always(Outcome(Verdict.GIVEN_UP, "status-410"))}, settles(1))
    assert state(store, "a") == ("dead", 1)


def test_an_endpoint_that_nobody_knows_ends_it_after_an_hour(store: Store) -> None:
    add(store, "a", endpoint="removed")
    clock = Clock()
    assert run(store, {}, settles(1), now=clock).states == [("a", "pending")]
    clock.ahead = 3601 * SECOND
    assert run(store, {}, settles(1), now=clock).states == [("a", "dead")]


def test_a_fault_of_ours_is_one_messages_alone(store: Store) -> None:
    async def send(message_id: str, body: str) -> Outcome:
        if message_id == "a":
            raise KeyError(body)
        return DELIVERED

    add(store, "a", "b")
    watch = run(store, {"core": send}, settles(3))
    assert sorted(watch.states) == [("a", "broken"), ("a", "pending"), ("b", "delivered")]


def test_who_is_slow_has_its_share_and_no_more(store: Store) -> None:
    """A hundred messages wait for one that hangs, all due before those for another."""
    hung = Counter[str]()

    async def hang(message_id: str, body: str) -> Outcome:
        hung[message_id] += 1
        await asyncio.sleep(60)
        raise AssertionError

    add(store, *(f"slow{number}" for number in range(100)), endpoint="slow")
    add(store, *(f"m{number}" for number in range(40)))
    senders = {"slow": hang, "core": always(DELIVERED)}
    watch = run(store, senders, settles(40), at_once=24, grace_s=0)
    assert {end for _, end in watch.states} == {"delivered"}
    assert len(hung) == 12
    # What was cut short is claimed still: nobody sends it before the claim has run out.
    assert read(store, outbox.queue, now=time.time_ns() // 1000).due == 100 - len(hung)


SLOW = tuple(f"slow{number}" for number in range(10))


@pytest.mark.parametrize("at_once", [11, 40, 64])
def test_however_many_are_slow_who_is_well_waits_for_none_of_them(
    store: Store, at_once: int
) -> None:
    """Not one attempt with ten that hang has ended when the last message of all has left."""
    begun = Counter[str]()

    def hangs(endpoint: str):
        async def send(message_id: str, body: str) -> Outcome:
            begun[endpoint] += 1
            await asyncio.sleep(60)
            raise AssertionError

        return send

    for endpoint in SLOW:
        add(store, *(f"{endpoint}-{number}" for number in range(12)), endpoint=endpoint)
    add(store, "last")
    senders = {endpoint: hangs(endpoint) for endpoint in SLOW} | {"core": always(DELIVERED)}
    watch = run(store, senders, settles(1), at_once=at_once, grace_s=0)
    assert watch.states == [("last", "delivered")]
    assert max(begun.values()) <= at_once // 11


def test_who_fails_at_once_holds_up_nobody_either(store: Store) -> None:
    """An attempt with who is away leaves its place to the next, and who is well has a turn.

    A third has one place left, so messages are claimed one by one.
    """
    tried, before = Counter[str](), list[int]()

    async def away(message_id: str, body: str) -> Outcome:
        tried[message_id] += 1
        return Outcome(Verdict.FAILED, "connect")

    async def hang(message_id: str, body: str) -> Outcome:
        await asyncio.sleep(60)
        raise AssertionError

    async def well(message_id: str, body: str) -> Outcome:
        before.append(len(tried))
        return DELIVERED

    add(store, *(f"slow{number}" for number in range(3)), endpoint="slow")
    add(store, *(f"m{number:03}" for number in range(200)), endpoint="away")
    add(store, "last")
    senders = {"slow": hang, "away": away, "core": well}
    run(store, senders, lambda _: bool(before), at_once=12, grace_s=0)
    assert before[0] <= 4


def test_who_is_not_known_takes_no_place(store: Store) -> None:
    """Nothing is sent for them, and they wait for none either."""
    for endpoint in ("removed", "renamed"):
        add(store, *(f"{endpoint}-{number}" for number in range(10)), endpoint=endpoint)
    add(store, "last")
    watch = run(store, {"core": always(DELIVERED)}, settles(21), at_once=1)
    assert ("last", "delivered") in watch.states
    assert Counter(end for _, end in watch.states) == {"pending": 20, "delivered": 1}


def test_a_claim_that_ran_out_settles_nothing(store: Store) -> None:
    """A sender that slept for too long comes back when another has delivered."""
    add(store, "a")

    async def sleepy(message_id: str, body: str) -> Outcome:
        await asyncio.to_thread(run, store, {"core": always(DELIVERED)}, settles(1))
        return REFUSED

    watch = run(store, {"core": sleepy}, settles(1), lease_s=0.05, at_once=1)
    assert watch.states == [("a", "too-late")]
    assert state(store, "a") == ("delivered", 2)


def test_what_is_under_way_is_finished_when_it_stops(store: Store) -> None:
    async def send(message_id: str, body: str) -> Outcome:
        await asyncio.sleep(0.3)
        return DELIVERED

    add(store, "a")
    run(store, {"core": send}, lambda watch: state(store, "a")[1] == 1)
    assert state(store, "a") == ("delivered", 1)


def test_a_store_that_is_away_is_waited_for(store: Store, monkeypatch) -> None:
    add(store, "a")
    real, met = store.transact, set[str]()

    def transact(work):
        if work.__name__ not in met:  # the first claim, and the end of the first attempt
            met.add(work.__name__)
            raise StoreUnavailable("the store is away")
        return real(work)

    monkeypatch.setattr(store, "transact", transact)
    watch = run(store, {"core": always(DELIVERED)}, settles(2), lease_s=1)
    assert watch.states == [("a", "unsettled"), ("a", "delivered")]
    assert isinstance(watch.faults[0], StoreUnavailable)
    assert state(store, "a") == ("delivered", 2)


def start(address: str, receiver: Receiver, secret: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, address, str(receiver.port), str(secret)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def everything_is_delivered(store: Store, names: list[str]) -> None:
    deadline = time.monotonic() + 30
    while {state(store, name)[0] for name in names} != {"delivered"}:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_senders_share_the_work(store: Store, address: str, tmp_path: Path) -> None:
    """Each message is sent once as long as nobody dies."""
    names = [f"m{number:03}" for number in range(150)]
    secret = write_secret(tmp_path / "secret")
    with Receiver() as receiver:
        senders = [start(address, receiver, secret) for _ in range(2)]
        add(store, *names)
        everything_is_delivered(store, names)
        for sender in senders:
            sender.kill()
        told = [sender.communicate()[0].count("delivered") for sender in senders]
        assert sorted(receiver.ids()) == names
        for got in receiver.received:
            Webhook(SECRET).verify(got.body, got.headers)
    assert sum(told) >= len(names) - 2  # one may be killed before it has said so


def test_a_sender_that_is_killed_loses_nothing(store: Store, address: str, tmp_path: Path) -> None:
    """Killed between claim and settlement, again and again: sent at least once, under one id."""
    names = [f"m{number:03}" for number in range(60)]
    secret = write_secret(tmp_path / "secret")
    add(store, *names)
    slowly = says("204 No Content")

    def answer(connection) -> None:
        time.sleep(0.15)
        slowly(connection)

    with Receiver(answer) as receiver:
        for _ in range(2):
            with start(address, receiver, secret) as sender:
                before = len(receiver.received)
                while len(receiver.received) < before + 10:
                    time.sleep(0.005)
                sender.send_signal(signal.SIGKILL)
            assert any(state(store, name)[0] == "pending" for name in receiver.ids())
        receiver.answer = slowly
        with start(address, receiver, secret) as sender:
            everything_is_delivered(store, names)
            sender.kill()
        assert set(receiver.ids()) == set(names)
        assert len(receiver.received) > len(names)
        bodies = {(got.headers["webhook-id"], got.body) for got in receiver.received}
        assert len(bodies) == len(names)


def test_a_receiver_that_recovers_gets_its_message(store: Store, tmp_path: Path) -> None:
    from tests.unit.notify.test_delivery import LOOPBACK, Courier, Endpoint, read_url

    answers = says_in_turn(
        says("503 Busy", "Retry-After: 1"), says("429 Slow", "Retry-After: 1"), says("200 OK")
    )
    add(store, "a")
    clock = Clock()
    with Receiver(answers) as receiver:
        endpoint = Endpoint(
            name="core",
            target=read_url(f"http://127.0.0.1:{receiver.port}/"),
            secret_files=(write_secret(tmp_path / "secret"),),
            programs=frozenset(),
            events=frozenset(),
            private=LOOPBACK,
        )
        send = Courier.of(endpoint, now=time.time).deliver
        ends = []
        for _ in range(3):
            ends += run(store, {"core": send}, settles(1), now=clock).states
            clock.ahead += 60 * SECOND
        assert [end for _, end in ends] == ["pending", "pending", "delivered"]
        assert receiver.ids() == ["a"] * 3

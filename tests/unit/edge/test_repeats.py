"""Answers that are given again: to whom, for how long, and what happens meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.edge.dialect import Answer, Refused
from pinvault.edge.repeats import Repeats

LIFE_S = 60.0


class Desk:
    """Repeats on a clock of its own, and how often it had to make an answer."""

    def __init__(self, *, slots: int = 16) -> None:
        self.now, self.made = 0.0, 0
        self.repeats = Repeats(now=lambda: self.now, slots=slots)

    def ask(self, request_id: str = "r1", same: str = "card", *, caller: str = "acme") -> bytes:
        def do() -> tuple[Answer, float]:
            self.made += 1
            return Answer(status=200, body=str(self.made).encode()), self.now + LIFE_S

        return self.repeats.once(caller=caller, request_id=request_id, same=same, do=do).body


def test_a_repeat_gets_the_same_answer_while_it_is_good() -> None:
    desk = Desk()
    assert [desk.ask(), desk.ask()] == [b"1", b"1"]
    desk.now = LIFE_S - 0.001
    assert desk.ask() == b"1"
    desk.now = LIFE_S
    assert [desk.ask(), desk.ask()] == [b"2", b"2"]


def test_callers_and_ids_are_apart() -> None:
    desk = Desk()
    answers = [desk.ask("r1"), desk.ask("r2"), desk.ask("r1", caller="other"), desk.ask("r1")]
    assert answers == [b"1", b"2", b"3", b"1"]


def test_another_request_under_an_id_is_refused() -> None:
    desk = Desk()
    desk.ask(same="one")
    with pytest.raises(Refused) as caught:
        desk.ask(same="other")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert desk.ask(same="one") == b"1"


@pytest.mark.parametrize("error", [Refused("CARD_UNKNOWN"), RuntimeError(), KeyboardInterrupt()])
def test_a_refused_request_frees_its_id(error: BaseException) -> None:
    desk = Desk()

    def fail() -> tuple[Answer, float]:
        raise error

    with pytest.raises(type(error)):
        desk.repeats.once(caller="acme", request_id="r1", same="one", do=fail)
    assert desk.ask(same="other") == b"1"


def test_a_request_that_is_under_way_is_not_done_twice() -> None:
    desk, begun, go_on = Desk(), threading.Event(), threading.Event()

    def slow() -> tuple[Answer, float]:
        begun.set()
        assert go_on.wait(5)
        return Answer(status=200, body=b"slow"), LIFE_S

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(
            desk.repeats.once, caller="acme", request_id="r1", same="card", do=slow
        )
        assert begun.wait(5)
        with pytest.raises(Refused) as caught:
            desk.ask()
        go_on.set()
        assert first.result().body == b"slow"
    assert (caught.value.reason, caught.value.retry_after_s) == ("REQUEST_IN_PROGRESS", 1.0)
    assert desk.ask() == b"slow"


def test_when_it_is_full_the_oldest_is_forgotten() -> None:
    desk = Desk(slots=2)
    for request_id in ("r1", "r2", "r3"):
        desk.ask(request_id)
    assert [desk.ask("r3"), desk.ask("r2")] == [b"3", b"2"]
    assert desk.ask("r1") == b"4"


@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from((0, 30, 61))), max_size=20))
def test_an_answer_is_never_older_than_it_is_good(steps: list[tuple[str, int]]) -> None:
    desk, made_at = Desk(), {}
    for request_id, wait in steps:
        desk.now += wait
        before = desk.made
        body = desk.ask(request_id)
        if desk.made > before:
            made_at[body] = desk.now
        assert desk.now - made_at[body] < LIFE_S
    assert desk.made == len(made_at)


def test_no_answer_is_shown() -> None:
    desk = Desk()
    desk.repeats.once(
        caller="acme",
        request_id="r1",
        same="card",
        do=lambda: (Answer(status=200, body=b"https://a/#secret"), LIFE_S),
    )
    assert "secret" not in repr(vars(desk.repeats))

"""Events: to those who subscribed, of their programs, and nothing worth stealing."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pinvault.model.cards import CardEvent, CardStatus, EventType
from pinvault.notify.endpoints import Endpoint
from pinvault.notify.events import Endpoints
from pinvault.notify.guard import read_url

PROGRAMS = ["credit", "debit", "prepaid"]
subscriptions = st.lists(
    st.tuples(
        st.frozensets(st.sampled_from(PROGRAMS)), st.frozensets(st.sampled_from(list(EventType)))
    ),
    max_size=5,
)


def endpoint(name: str, programs: frozenset[str], events: frozenset[EventType]) -> Endpoint:
    target = read_url("https://hooks.example/t0ps3cret")
    return Endpoint(
        name=name, target=target, secret_files=(Path("s"),), programs=programs, events=events
    )


def happened(event: EventType, program: str = "debit", **how: Any) -> CardEvent:
    facts = {
        "card_id": "card_g",
        "external_id": None,
        "last_four": "7817",
        "expiry": "2506",
        "status": CardStatus.ACTIVE,
        "registered_at": 0.0,
        "at": 0.0,
    }
    return CardEvent(type=event, program=program, **(facts | how))


@given(subscriptions, st.sampled_from(list(EventType)), st.sampled_from(PROGRAMS))
def test_who_subscribed_is_told_and_nobody_else(subscribed, event, program) -> None:
    every = Endpoints(endpoint(f"e{n}", *each) for n, each in enumerate(subscribed))
    told = every.of(happened(event, program))
    assert [name for name, _ in told] == [
        f"e{n}"
        for n, (programs, events) in enumerate(subscribed)
        if program in programs and event in events
    ]


def test_a_body_says_what_when_and_of_which_card() -> None:
    every = Endpoints([endpoint("core", frozenset({"debit"}), frozenset(EventType))])
    ((_, body),) = every.of(
        happened(EventType.PIN_CHECKED_BLOCKED, external_id="icrd_1", at=1_767_225_600.25)
    )
    assert json.loads(body) == {
        "type": "pin.checked.blocked",
        "timestamp": "2026-01-01T00:00:00.250Z",
        "data": {"card_id": "card_g", "program": "debit", "external_id": "icrd_1"},
    }


def test_a_card_without_an_external_id_has_none_in_the_body() -> None:
    every = Endpoints([endpoint("core", frozenset({"debit"}), frozenset(EventType))])
    ((_, body),) = every.of(happened(EventType.PIN_SET))
    assert json.loads(body)["data"] == {"card_id": "card_g", "program": "debit"}


def test_an_endpoint_does_not_show_where_it_is() -> None:
    assert "t0ps3cret" not in repr(endpoint("core", frozenset(), frozenset()))

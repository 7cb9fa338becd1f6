"""Attack: a thief of a card with a zone key of its own guesses its PIN, and looks for free tries.

Counted is how many PINs the HSM compares for it, and of how many it learns anything. The limit is
three; whatever gives tries back is bounded, by the program's `changes` or by a rate for the PAN.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from hsm.errors import HsmDataRefused, HsmTimeout
from pinvault.model.cards import ById, CardStatus, SessionAction
from pinvault.model.errors import Reason, Refusal
from pinvault.model.faults import ClearedFault
from pinvault.model.pan import Pan
from pinvault.model.pins import Format, PinBlockSource, PinSource
from pinvault.operations.cards.once import Request
from pinvault.policy.limits import Rate, parse_rate
from pinvault.store import upgrade
from tests.support.vault import (
    CALLER,
    ORIGIN,
    PAN,
    PROGRAMS,
    Crash,
    Fault,
    Vault,
    call,
    reason_of,
    rows,
)

PIN = "7392"
LIMIT, CHANGES = 3, 10
DAY_S = 86_400
RATE = 2 + 10
"""Calls for a PAN in an hour: two made the card and its PIN."""
UNREADABLE = PinBlockSource(key="zpk/1", format=Format.ISO_4, pan=Pan(PAN), ciphertext=bytes(16))


class Thief:
    """Guesses the PIN of a card, each time another, and knows what was compared and learnt."""

    def __init__(self, folder: Path, program: str = "credit", **how: Any) -> None:
        address = f"sqlite:///{folder}/store.db"
        upgrade(address)
        self.vault = Vault(address, folder, **how)
        self.card = self.vault.add_with_pin(PIN, program=program).card_id
        self.recorded = self.vault.block(PIN)
        self.compared: set[str] = set()
        self.learnt: set[str] = set()
        self._guesses = (f"{n:04}" for n in count(3000) if f"{n:04}" != PIN)
        self._mine = threading.local()
        for name in ("check", "change"):
            zone = self.vault.desk.zone
            setattr(zone, name, self._noted(getattr(zone, name)))

    def _noted(self, compare: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            outcome = compare(*arguments, **named)
            self.compared.add(self._mine.digits)
            return outcome

        return noted

    def guess(self, ask: Callable[[str], Any] | None = None) -> Reason | None:
        """Guess once, by a check or another way to ask; give why it was refused."""
        digits = self._mine.digits = next(self._guesses)
        try:
            matches = (ask or self.checks)(digits)
        except Refusal as refusal:
            return refusal.reason
        assert not matches
        self.learnt.add(digits)
        return None

    def goes_on(self, times: int, ask: Callable[[str], Any] | None = None) -> None:
        for _ in range(times):
            self.guess(ask)

    def checks(self, digits: str) -> bool:
        return self.check(self.vault.block(digits))

    def check(self, source: PinSource, request: Request | None = None) -> bool:
        made = call("CheckPin")
        asked = request or Request()
        return self.vault.check(made, card=ById(self.card), source=source, request=asked).matches

    def changes(self, digits: str, new: str = "8264") -> bool:
        return self.vault.changes(self.card, digits, new).matches

    def places_recorded(self) -> None:
        self.vault.set(call("SetPin"), card=ById(self.card), control_token=None, new=self.recorded)

    def resets_to_recorded(self) -> None:
        self.vault.reset(call("ResetPin"), card=ById(self.card), new=self.recorded)

    def submits(self, digits: str) -> bool:
        """Guess by the hosted page, in a session of its own."""
        vault = self.vault
        made = vault.create_session(
            call("CreatePinSession"),
            card=ById(self.card),
            action=SessionAction.CHANGE,
            origin=ORIGIN,
        )
        return self.submits_in(made.session_id, self.opens(made), digits)

    def opens(self, made: Any) -> str:
        opened = self.vault.open_session(
            call("OpenPinSession"), session_id=made.session_id, secret=made.secret
        )
        return opened.page_secret

    def submits_in(self, session_id: str, page_secret: str, digits: str) -> bool:
        vault = self.vault
        return vault.submit(
            call("SubmitPin"),
            session_id=session_id,
            page_secret=page_secret,
            current=vault.block(digits),
            new=vault.block("8264"),
        ).matches

    def is_blocked(self) -> bool:
        return self.vault.card(self.card).pin.blocked


@pytest.fixture
def thief(tmp_path: Path) -> Iterator[Thief]:
    made = Thief(tmp_path)
    yield made
    made.vault.close()


WAYS: dict[str, Callable[[Thief], Callable[[str], bool]]] = {
    "check": lambda thief: thief.checks,
    "change": lambda thief: thief.changes,
    "change to a weak PIN": lambda thief: lambda digits: thief.changes(digits, "1111"),
    "sessions": lambda thief: thief.submits,
    "request ids": lambda thief: (
        lambda digits: thief.check(
            thief.vault.block(digits), Request(f"id-{digits}", digits.encode())
        )
    ),
    "envelopes": lambda thief: (
        lambda digits: thief.check(thief.vault.envelope(digits, card=thief.card))
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_ask_has_the_three_tries_and_no_more(thief: Thief, way: str) -> None:
    thief.goes_on(10, WAYS[way](thief))
    assert len(thief.compared) == len(thief.learnt) == LIMIT
    assert thief.is_blocked()


def test_all_ways_share_the_three_tries(thief: Thief) -> None:
    for way in [*WAYS, *WAYS]:
        thief.guess(WAYS[way](thief))
    assert len(thief.compared) == LIMIT


def test_a_flood_in_every_way_has_three_tries(thief: Thief) -> None:
    ways = [WAYS[way](thief) for way in WAYS]
    with ThreadPoolExecutor(12) as pool:
        told = list(pool.map(lambda n: thief.guess(ways[n % len(ways)]), range(60)))
    assert len(thief.compared) == len(thief.learnt) == LIMIT
    assert set(told) == {None, Reason.PIN_BLOCKED}
    assert thief.vault.told().count("pin.checked.blocked") == 1


# What does not open costs no try, and gives none


def test_what_does_not_open_gives_no_try_back(thief: Thief) -> None:
    for _ in range(10):
        for _ in range(3):
            with pytest.raises(Refusal):
                thief.check(UNREADABLE)
        thief.guess()
    assert len(thief.compared) == LIMIT


def test_what_does_not_open_beside_what_does_gives_no_try_back(thief: Thief) -> None:
    """A change with an unreadable new PIN compares nothing, and so tells nothing of the first."""
    vault, told = thief.vault, set()
    for digits in (PIN, "3000"):
        made = call("ChangePin")
        with pytest.raises(Refusal) as refused:
            vault.change(made, card=ById(thief.card), current=vault.block(digits), new=UNREADABLE)
        told.add((refused.value.reason, refused.value.cause))
    assert len(told) == 1
    assert thief.compared == set()
    thief.goes_on(10)
    assert len(thief.compared) == LIMIT


def test_floods_of_what_does_not_open_give_no_try_back(thief: Thief) -> None:
    """A try that is to come back counts as long as it is away, so fewer may be compared."""

    def ask(number: int) -> None:
        if number % 2:
            thief.guess()
        else:
            with suppress(Refusal):
                thief.check(UNREADABLE)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(80)))
    thief.goes_on(5)
    assert 1 <= len(thief.compared) <= LIMIT
    assert thief.is_blocked()


# Request ids


def test_an_id_tells_its_answer_again_and_no_other(thief: Thief) -> None:
    first = Request("a", b"first")
    source = thief.vault.block("3000")
    for _ in range(5):
        assert thief.guess(lambda _: thief.check(source, first)) is None
    assert len(thief.compared) == 1
    other = lambda digits: thief.check(thief.vault.block(digits), Request("a", digits.encode()))  # noqa: E731
    for _ in range(5):
        assert thief.guess(other) is Reason.REQUEST_ID_REUSED
    assert len(thief.compared) == 1
    thief.vault.clock.now += DAY_S
    assert thief.guess(lambda _: thief.check(source, first)) is None
    assert len(thief.compared) == 2
    thief.goes_on(5)
    assert len(thief.compared) == LIMIT


def test_an_id_whose_call_died_gives_no_try_back(thief: Thief) -> None:
    source, same = thief.vault.block("3000"), Request("a", b"same")
    for _ in range(10):
        for step in range(12):
            thief.vault.faults.reset()
            thief.vault.faults.at[step] = Fault.CRASH_BEFORE
            with suppress(Crash):
                thief.guess(lambda _: thief.check(source, same))
        thief.vault.faults.reset()
        thief.vault.clock.now += 61
    assert len(thief.compared) <= LIMIT
    thief.goes_on(5)
    assert len(thief.compared) <= LIMIT
    assert thief.is_blocked()


# Calls that die or fail at a moment of the thief's choice


@pytest.mark.parametrize("fault", [*Fault, HsmTimeout(), HsmDataRefused()], ids=str)
@pytest.mark.parametrize("way", ["check", "change", "sessions"])
def test_no_moment_to_fail_gives_a_free_answer(
    thief: Thief, way: str, fault: Fault | Exception
) -> None:
    """Whatever fails, and when: who learns something, or has something compared, pays a try."""
    ask, vault = WAYS[way](thief), thief.vault
    for step in count():
        _unblock(thief)
        before = len(thief.compared), len(thief.learnt)
        vault.faults.reset()
        vault.faults.at[step] = fault
        with suppress(Crash, ClearedFault):
            thief.guess(ask)
        met = len(vault.faults.steps) > step
        vault.faults.reset()
        tries_left = vault.card(thief.card).pin.tries_left
        assert tries_left in (LIMIT, LIMIT - 1)
        if (len(thief.compared), len(thief.learnt)) != before:
            assert tries_left == LIMIT - 1
        if not met:
            break
    assert step > 6


# What gives tries back


def test_a_recorded_pin_that_is_set_again_gives_as_many_tries_as_changes_let(
    thief: Thief,
) -> None:
    """Two of ten thousand for each new PIN that is left, and the last that block; then a wall."""
    for _ in range(3 * CHANGES):
        thief.goes_on(LIMIT - 1)
        with suppress(Refusal):
            thief.places_recorded()
    left = CHANGES - 1
    assert len(thief.compared) == left * (LIMIT - 1) + LIMIT == 21
    assert thief.is_blocked()
    thief.vault.clock.now += DAY_S
    thief.places_recorded()
    thief.goes_on(5)
    assert len(thief.compared) == 21


def test_a_recorded_pin_that_is_reset_again_gives_as_many_tries_as_changes_let(
    thief: Thief,
) -> None:
    for _ in range(3 * CHANGES):
        thief.goes_on(LIMIT + 2)
        with suppress(Refusal):
            thief.resets_to_recorded()
    assert len(thief.compared) == CHANGES * LIMIT
    blocked = thief.vault.told().count("pin.checked.blocked")
    assert blocked == CHANGES
    assert thief.vault.told().count("pin.reset") == CHANGES - 1


def _recorded_pair(thief: Thief) -> None:
    """The right PIN, and a weak one in its place: refused, and all tries are there again."""
    vault = thief.vault
    new = vault.block("1111")
    vault.change(call("ChangePin"), card=ById(thief.card), current=thief.recorded, new=new)


def _unblock(thief: Thief) -> None:
    thief.vault.unblock(call("UnblockPin"), card=ById(thief.card))


GIVE_BACK: dict[str, tuple[Callable[[Thief], Any], int]] = {
    "a recorded block of the PIN": (lambda thief: thief.check(thief.recorded), 7),
    "a recorded block and a weak PIN": (_recorded_pair, 7),
    "who may unblock": (_unblock, 10),
}


@pytest.mark.parametrize("back", GIVE_BACK)
def test_tries_that_come_back_are_bounded_by_the_rate_for_the_pan(
    tmp_path: Path, back: str
) -> None:
    """Ten calls with a PIN in an hour; some of them give tries back, and guess nothing."""
    give_back, compared = GIVE_BACK[back]
    thief = Thief(tmp_path, grants=rows(per_pan=parse_rate(f"{RATE}/h")))
    for _ in range(20):
        thief.goes_on(LIMIT - 1)
        with suppress(Refusal):
            give_back(thief)
    assert len(thief.compared - {PIN}) == compared
    thief.vault.close()


def test_a_recorded_envelope_of_the_pin_gives_tries_back_once(thief: Thief) -> None:
    recorded = thief.vault.envelope(PIN, card=thief.card)
    for _ in range(10):
        thief.goes_on(LIMIT - 1)
        with suppress(Refusal):
            thief.check(recorded)
    assert len(thief.learnt) == (LIMIT - 1) + LIMIT
    assert thief.is_blocked()


def test_entries_of_a_session_end_before_its_time(thief: Thief) -> None:
    """Weak PINs use up no tries, since the right one comes with them: but they use up entries."""
    made = thief.vault.create_session(
        call("CreatePinSession"), card=ById(thief.card), action=SessionAction.SET, origin=ORIGIN
    )
    page = thief.opens(made)
    told = []
    for _ in range(8):
        with pytest.raises(Refusal) as refused:
            thief.vault.submit(
                call("SubmitPin"),
                session_id=made.session_id,
                page_secret=page,
                current=None,
                new=thief.vault.block("1111"),
            )
        told.append(refused.value.reason)
    entries = PROGRAMS["credit"].session_entries
    assert told == [Reason.PIN_WEAK] * entries + [Reason.SESSION_REFUSED] * (8 - entries)


def test_the_id_of_a_session_uses_nothing_up(tmp_path: Path) -> None:
    """It stands in addresses. With a wrong secret nothing is spent of the card, or told."""
    rare = Rate(count=2, period_s=3600, burst=2)
    address = f"sqlite:///{tmp_path}/store.db"
    upgrade(address)
    vault = Vault(address, tmp_path, grants=rows(CALLER, "debit", per_pan=rare))
    card = vault.add().card_id  # which is one of the two
    made = vault.create_session(
        call("CreatePinSession"), card=ById(card), action=SessionAction.SET, origin=ORIGIN
    )

    def submit(page_secret: str) -> object:
        return vault.submit(
            call("SubmitPin"),
            session_id=made.session_id,
            page_secret=page_secret,
            current=None,
            new=vault.envelope(PIN, card=card),
        )

    opened = vault.open_session(
        call("OpenPinSession"), session_id=made.session_id, secret=made.secret
    )
    for status in (CardStatus.SUSPENDED, CardStatus.ACTIVE):
        vault.set_status(call("SetCardStatus"), card=ById(card), status=status)
        for secret in ("s" * 43, made.secret):
            assert reason_of(lambda secret=secret: submit(secret)) is Reason.SESSION_REFUSED
    assert submit(opened.page_secret)

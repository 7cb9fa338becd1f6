"""The PIN vault against a model of its rules, whatever is asked, fails or dies, and in what order.

After every call the store is read, and must be as the model says: after a fault or a death, as it
was after one of the call's transactions, or with what a refusal gives back. An answer must be the
model's, and all that the call does must be in the store then.

`PINVAULT_MODEL_WALKS` takes that many walks, others each time, in place of the few of every day.
"""

import copy
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from hsm.errors import HsmDataRefused, HsmTimeout
from pinvault.clearzone.pin import Pin as ClearPin
from pinvault.clearzone.strength import weak
from pinvault.model.cards import CardStatus, SessionAction, TokenKind, Window
from pinvault.model.errors import Reason, Refusal
from pinvault.model.faults import ClearedFault
from pinvault.store import Store, StoreUnavailable, upgrade
from pinvault.store.schema import metadata
from tests.support.vault import (
    CALLER,
    DEBIT,
    Clock,
    Crash,
    Fault,
    Faults,
    Vault,
    rows,
)
from tests.support.vault import PROGRAMS as OF_VAULT
from tests.support.vault_model import Answer, Ask, Expected, Given, Model, World
from tests.support.vault_seen import Asker, Reader, Words, apart_from

WALKS = int(os.environ.get("PINVAULT_MODEL_WALKS", "0"))
TILL = "till-app"
NO_CARD = "card_" + "g" * 26
GOOD = ("7392", "8264", "5830", "4821")
WEAK = ("1111", "1234")
LONG = "73926184"
"""Longer than any program allows."""
SEALED_FOR_S, SKEW_S = 120, 30
TIGHT = {
    "changes": Window(count=4, period_s=3600),
    "reveals": Window(count=2, period_s=3600),
    "token_s": {TokenKind.SET_PIN: 300.0, TokenKind.REVEAL_PIN: 60.0},
    "session_s": 300.0,
    "session_entries": 2,
}
PROGRAMS = {name: replace(OF_VAULT[name], **TIGHT) for name in ("debit", "credit", "prepaid")}
PROGRAMS["late"] = replace(DEBIT, name="late", **TIGHT)
"""What there can be too much of, there soon is."""
FAULTS: tuple[Fault | Exception, ...] = (
    *Fault,
    StoreUnavailable("away", in_doubt=True),
    HsmTimeout(),
    HsmDataRefused(),
)
OF_A_FAULT = {
    Reason.STORE_UNAVAILABLE,
    Reason.HSM_UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED,
    Reason.PIN_SOURCE_REFUSED,
}
hosts = st.integers(0, 1)
request_ids = st.sampled_from(("", "", "", "a", "b"))
programs = st.sampled_from((*("debit", "credit", "prepaid") * 4, "late"))
others = st.sampled_from((False,) * 7 + (True,))
"""Whether it is another caller than it should be."""
plans = st.one_of(st.none(), st.tuples(st.integers(0, 11), st.sampled_from(FAULTS)))
"""Which step of a call fails, and how."""
Plan = tuple[int, Fault | Exception] | None
back = st.sampled_from((0, 0, 0, 1, 2))
"""Of what there are several: the last, the one before, …"""


@dataclass(frozen=True)
class How:
    """How a PIN is given: which digits, and in what."""

    digits: str
    kind: str
    back: int


hows = st.builds(
    How,
    digits=st.sampled_from((*GOOD * 3, *WEAK, LONG)),
    kind=st.sampled_from((*("block", "envelope") * 3, "broken", "replayed", "foreign")),
    back=back,
)
guesses = st.builds(
    How,
    digits=st.sampled_from(("right", *GOOD)),
    kind=st.sampled_from((*("block", "envelope") * 3, "broken", "replayed")),
    back=back,
)


def is_weak(digits: str, current: str | None) -> bool:
    assert DEBIT.rules is not None
    now = None if current is None else ClearPin(current.encode())
    return weak(ClearPin(digits.encode()), rules=DEBIT.rules, current=now)


class VaultMachine(RuleBasedStateMachine):
    store: Store  # of the test that runs it
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        with self.store.write() as db:
            for table in reversed(metadata.sorted_tables):
                db.execute(table.delete())
        self.clock, self.faults, self.words = Clock(), Faults(), Words()
        self.askers = [self.started(host) for host in (0, 1)]
        self.reader = Reader(self.vault(2, Faults()), self.words, (*GOOD, *WEAK))
        self.model = Model(PROGRAMS, is_weak)
        self.past: list[Ask] = []
        self.envelopes: list[Given] = []
        self.doubtful: set[Given] = set()
        self.tokens: dict[TokenKind, list[str]] = {kind: [] for kind in TokenKind}
        self.sessions: list[tuple[str, str]] = []
        self.wrong: Counter[tuple[str, int]] = Counter()
        self.done: dict[str, Ask] = {}
        self.done_without_id: set[str] = set()

    def vault(self, host: int, faults: Faults) -> Vault:
        return Vault(
            "",
            self.folder / f"host-{host}",
            grants=(*rows(CALLER, *PROGRAMS), *rows(TILL, *PROGRAMS)),
            programs=PROGRAMS,
            clock=self.clock,
            store=self.store,
            faults=faults,
        )

    def started(self, host: int) -> Asker:
        """A process of a host begins, or begins again; what it compares is counted."""
        asker = Asker(self.vault(host, self.faults), self.words)
        zone = asker.vault.desk.zone
        for name in ("check", "change"):
            setattr(zone, name, self.counting(getattr(zone, name)))
        return asker

    def counting(self, compare: Any) -> Any:
        def counted(*arguments: Any, **named: Any) -> Any:
            outcome = compare(*arguments, **named)
            if not outcome.result:
                self.wrong[self.card, self.reader.rounds()[self.card][0]] += 1
            return outcome

        return counted

    # What is asked

    @initialize()
    def begin(self) -> None:
        for program in ("debit", "credit", "prepaid"):
            self.ask(0, Ask("RegisterCard", card=program))
            self.ask(0, Ask("SetPin", card=self.card_of(program), new=Given(GOOD[0])))

    @rule(host=hosts, plan=plans, request_id=request_ids)
    def register(self, host: int, plan: Plan, request_id: str) -> None:
        self.ask(host, Ask("RegisterCard", request_id=request_id, card="late"), plan)

    @rule(host=hosts, plan=plans, what=st.integers(0, 7), program=programs)
    def look_or_change_status(self, host: int, plan: Plan, what: int, program: str) -> None:
        """Closed cards are good for little: few are."""
        card = self.card_of(program)
        if what >= len(CardStatus):
            self.ask(host, Ask("GetCard", card=card), plan)
            self.ask(host, Ask("SetCardStatus", card=card, status=CardStatus.ACTIVE))
        else:
            status = tuple(CardStatus)[what]
            if status is not CardStatus.CLOSED or program == "late":
                self.ask(host, Ask("SetCardStatus", card=card, status=status), plan)

    @rule(host=hosts, plan=plans, program=programs)
    def unblock(self, host: int, plan: Plan, program: str) -> None:
        self.ask(host, Ask("UnblockPin", card=self.card_of(program)), plan)

    @rule(host=hosts, plan=plans, program=programs, kind=st.sampled_from(TokenKind))
    def issue(self, host: int, plan: Plan, program: str, kind: TokenKind) -> None:
        ask = Ask("IssueControlToken", card=self.card_of(program), kind=kind)
        if answer := self.ask(host, ask, plan):
            self.tokens[kind].append(answer[0])

    @rule(host=hosts, plan=plans, request_id=request_ids, program=programs, new=hows)
    def set_pin(self, host: int, plan: Plan, request_id: str, program: str, new: How) -> None:
        card = self.card_of(program)
        ask = Ask("SetPin", CALLER, request_id, card=card, new=self.given(new, card))
        self.ask(host, ask, plan)

    @rule(host=hosts, plan=plans, other=others, request_id=request_ids, new=hows, ago=back)
    def redeem(
        self, host: int, plan: Plan, other: bool, request_id: str, new: How, ago: int
    ) -> None:
        token = self.token(TokenKind.SET_PIN, ago)
        card, caller = self.card_with(token), TILL if other else CALLER
        ask = Ask("SetPin", caller, request_id, token=token, new=self.given(new, card))
        if self.ask(host, ask, plan):
            self.once(f"redeemed {token}", ask)

    @rule(host=hosts, plan=plans, request_id=request_ids, program=programs, new=hows)
    def reset(self, host: int, plan: Plan, request_id: str, program: str, new: How) -> None:
        card = self.card_of(program)
        ask = Ask("ResetPin", CALLER, request_id, card=card, new=self.given(new, card))
        self.ask(host, ask, plan)

    @rule(
        host=hosts, plan=plans, request_id=request_ids, program=programs, current=guesses, new=hows
    )
    def change(
        self, host: int, plan: Plan, request_id: str, program: str, current: How, new: How
    ) -> None:
        card = self.card_of(program)
        given = {"current": self.given(current, card), "new": self.given(new, card)}
        self.ask(host, Ask("ChangePin", CALLER, request_id, card=card, **given), plan)

    @rule(host=hosts, plan=plans, request_id=request_ids, program=programs, how=guesses)
    def check(self, host: int, plan: Plan, request_id: str, program: str, how: How) -> None:
        card = self.card_of(program)
        ask = Ask("CheckPin", CALLER, request_id, card=card, current=self.given(how, card))
        self.ask(host, ask, plan)

    @rule(host=hosts, plan=plans, program=programs, times=st.integers(1, 3))
    def guess(self, host: int, plan: Plan, program: str, times: int) -> None:
        """What else would be rare: tries used one after the other, by wrong PINs."""
        for _ in range(times):
            self.check(host, plan, "", program, How("4821", "block", 0))

    @rule(host=hosts, plan=plans, program=programs, seconds=st.sampled_from((59, 61)))
    def die_at_the_last_try(self, host: int, plan: Plan, program: str, seconds: int) -> None:
        for _ in range(2):
            self.check(host, None, "", program, How("4821", "block", 0))
        self.check(host, (4, Fault.CRASH_BEFORE), "", program, How("4821", "block", 0))
        self.wait(seconds)
        self.check(host, plan, "", program, How("right", "block", 0))

    @rule(host=hosts, plan=plans, other=others, ago=back, recipient=st.integers(0, 5))
    def reveal(self, host: int, plan: Plan, other: bool, ago: int, recipient: int) -> None:
        token, caller = self.token(TokenKind.REVEAL_PIN, ago), TILL if other else CALLER
        ask = Ask("RevealPin", caller, token=token, recipient=recipient)
        if self.ask(host, ask, plan):
            self.once(f"revealed {token}", ask)

    @rule(host=hosts, recipient=st.integers(0, 5), plan=plans)
    def issue_and_reveal(self, host: int, recipient: int, plan: Plan) -> None:
        self.issue(host, None, "prepaid", TokenKind.REVEAL_PIN)
        self.reveal(host, plan, False, 0, recipient)

    @rule(host=hosts, plan=plans, program=programs, action=st.sampled_from(SessionAction))
    def create_session(self, host: int, plan: Plan, program: str, action: SessionAction) -> None:
        ask = Ask("CreatePinSession", card=self.card_of(program), action=action)
        if answer := self.ask(host, ask, plan):
            self.sessions.append(answer[:2])

    @rule(host=hosts, plan=plans, ago=back)
    def open_session(self, host: int, plan: Plan, ago: int) -> None:
        session, secret = self.session(ago)
        ask = Ask("OpenPinSession", session=session, secret=secret)
        if answer := self.ask(host, ask, plan):
            self.sessions.append((session, answer[0]))
            self.once(f"opened {session}", ask)

    @rule(host=hosts, plan=plans, ago=back, current=guesses, new=hows)
    def submit(self, host: int, plan: Plan, ago: int, current: How, new: How) -> None:
        session, secret = self.session(ago)
        found = self.model.world.sessions.get(session)
        card = found.card if found else NO_CARD
        is_change = found is not None and found.action is SessionAction.CHANGE
        given = self.given(current, card) if is_change else None
        ask = Ask(
            "SubmitPin", session=session, secret=secret, current=given, new=self.given(new, card)
        )
        answer = self.ask(host, ask, plan)
        if answer and answer[0]:
            self.once(f"submitted {session}", ask)

    @rule(
        program=programs, action=st.sampled_from(SessionAction), plan=plans, how=guesses, new=hows
    )
    def whole_session(
        self, program: str, action: SessionAction, plan: Plan, how: How, new: How
    ) -> None:
        self.create_session(0, None, program, action)
        self.open_session(1, None, 0)
        self.submit(0, plan, 0, how, new)

    @rule(host=hosts, plan=plans, ago=st.integers(0, 3))
    def again(self, host: int, plan: Plan, ago: int) -> None:
        """The same request under its id, on whichever host."""
        if self.past:
            ask = self.past[-1 - ago % len(self.past)]
            if not self.doubtful.intersection((ask.current, ask.new)):
                self.ask(host, ask, plan)

    @rule(seconds=st.sampled_from((1, 31, 61, 91, 301, 3601)))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    # What is asked for

    def card_of(self, program: str) -> str:
        cards = self.model.world.cards.items()
        return next((card for card, each in cards if each.program == program), NO_CARD)

    def card_with(self, token: str) -> str:
        tokens = self.model.world.tokens.items()
        return next((card for (card, _), each in tokens if each.word == token), NO_CARD)

    def card_asked(self, ask: Ask) -> str:
        session = self.model.world.sessions.get(ask.session)
        return session.card if session else self.card_with(ask.token) if ask.token else ask.card

    def token(self, kind: TokenKind, ago: int) -> str:
        of_kind = self.tokens[kind]
        return of_kind[-1 - ago % len(of_kind)] if of_kind else "none"

    def session(self, ago: int) -> tuple[str, str]:
        return self.sessions[-1 - ago % len(self.sessions)] if self.sessions else ("none", "none")

    def given(self, how: How, card: str) -> Given:
        digits = how.digits
        if digits == "right":
            known = self.model.world.cards.get(card)
            digits = known.pin.verifies if known and known.pin else GOOD[0]
        if how.kind in ("block", "broken"):
            return Given(digits, broken=how.kind == "broken")
        good = [each for each in self.envelopes if each not in self.doubtful]
        if how.kind == "replayed" and good:
            return good[-1 - how.back % len(good)]
        of_card = self.card_of("credit") if how.kind == "foreign" else card
        expires = self.clock.now + SEALED_FOR_S + SKEW_S
        given = Given(digits, of_card, len(self.envelopes) + 1, expires)
        self.askers[0].source(given)  # sealed now
        self.envelopes.append(given)
        return given

    def once(self, what: str, ask: Ask) -> None:
        """What is good once was good for one request."""
        assert self.done.setdefault(what, ask) == ask
        assert ask.request_id or what not in self.done_without_id
        self.done_without_id.add(what)

    # What must be

    def ask(self, host: int, ask: Ask, plan: Plan = None) -> Answer | None:
        """Ask the vault and the model, and compare what they say and hold."""
        self.card = self.card_asked(ask)
        self.faults.reset()
        self.faults.at = dict([plan] if plan else [])
        asker, answer, reason, died = self.askers[host], None, None, False
        try:
            answer = asker.ask(ask)
        except Refusal as refusal:
            reason = refusal.reason
        except ClearedFault:
            reason = Reason.INTERNAL
        except Crash:
            died = True
        is_faulty = plan is not None and plan[0] < len(self.faults.steps)
        self.faults.reset()
        if ask.request_id:
            self.past.append(ask)
        model = self.model
        model.now, model.host, model.drawn = self.clock.now, host, asker.drawn(ask.method)
        expected, found = model.asked(ask), self.reader.world()
        if is_faulty:
            self.doubtful.update(each for each in (ask.current, ask.new) if each)
        if answer is not None or not is_faulty:
            assert (answer, reason) == (expected.answer, expected.reason)
            assert not apart_from(expected.states[-1], found)
        else:
            assert died or reason in {*OF_A_FAULT, Reason.INTERNAL, expected.reason}
            model.world = self.one_of(expected, found, died=died)
        if died:
            self.askers[host].vault.table.close()
            self.askers[host] = self.started(host)
        self.no_try_was_free()
        return answer

    def one_of(self, expected: Expected, found: World, *, died: bool) -> World:
        """Give the state that a call left behind; it is one that it may leave behind."""
        before, *after = expected.states
        may_be = [before, *after]
        if not died:
            may_be += [each for state in after for each in given_back(state, before)]
        apart = [apart_from(state, found) for state in may_be]
        assert "" in apart, min(apart, key=len)
        return copy.deepcopy(may_be[apart.index("")])

    def no_try_was_free(self) -> None:
        """Wrong PINs that were compared in a round of tries were all counted in it."""
        for card, (number, used) in self.reader.rounds().items():
            assert self.wrong[card, number] <= used <= PROGRAMS["debit"].try_limit

    def teardown(self) -> None:
        for asker in self.askers:
            asker.vault.table.close()
        self.reader.vault.table.close()


def given_back(state: World, before: World) -> Iterator[World]:
    """Give what a refusal leaves of a state: the try given back, or the id free, or both."""
    with_try = copy.deepcopy(state)
    for card, each in with_try.cards.items():
        earlier = before.cards[card].pin if card in before.cards else None
        if each.pin and earlier and each.pin.tries == earlier.tries + 1:
            each.pin.tries -= 1
    yield with_try
    for each in (copy.deepcopy(state), copy.deepcopy(with_try)):
        stays = {
            key: known.answer or known == before.ids.get(key) for key, known in each.ids.items()
        }
        each.ids = {key: known for key, known in each.ids.items() if stays[key]}
        yield each


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    address = f"sqlite:///{tmp_path}/store.db"
    upgrade(address)
    opened = Store.open(address)
    yield opened
    opened.close()


@pytest.mark.timeout(0 if WALKS else 60)
def test_the_vault_agrees_with_the_model(store: Store, tmp_path: Path) -> None:
    for host in range(3):
        (tmp_path / f"host-{host}").mkdir()
    machine = type("Machine", (VaultMachine,), {"store": store, "folder": tmp_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=WALKS or 12,
            stateful_step_count=60 if WALKS else 30,
            derandomize=not WALKS,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )

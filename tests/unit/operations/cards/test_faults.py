"""Whatever fails, and at whatever step: nothing is half-set, and no try is free.

Every step of a call, of the HSM and of the store, fails in every way in turn: before it is done,
after it is done with its answer lost, and with the caller's death. What is in the store then is
compared with what may be there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from pinvault.model.cards import ById, TokenKind, Window
from pinvault.model.errors import Reason, Refusal
from pinvault.operations.cards.once import Request
from tests.support.vault import PROGRAMS, Crash, Fault, Vault, call, read_field, reason_of

PIN, WRONG, NEW = "7392", "4821", "8264"
LIMIT = 3


@dataclass
class Outcome:
    """What became of a call with a fault."""

    reason: Reason | None = None
    died: bool = False
    steps: tuple[str, ...] = ()


Ask = Callable[[], object]
_DONE = (Fault.AFTER, Fault.CRASH_AFTER)
_OFTEN = Window(count=10_000, period_s=1)
MANY_CHANGES = {name: replace(each, changes=_OFTEN) for name, each in PROGRAMS.items()}


def stored(vault: Vault, card: str) -> tuple[int, int, bool]:
    """Tries used, generation, whether blocked."""
    with vault.store.read() as db:
        row = db.exec_driver_sql(
            "SELECT tries_used, generation, blocked_at FROM pin WHERE card_id = ?", (card,)
        ).one_or_none()
    return (0, 0, False) if row is None else (row[0], row[1], row[2] is not None)


def steps_of(vault: Vault, ask: Ask) -> list[str]:
    """The steps of a call that succeeds."""
    vault.faults.reset()
    ask()
    return list(vault.faults.steps)


def met(vault: Vault, ask: Ask, step: int, fault: Fault) -> Outcome:
    """Make the call with a fault at a step."""
    outcome = Outcome()
    vault.faults.reset()
    vault.faults.at[step] = fault
    try:
        ask()
    except Refusal as refusal:
        outcome.reason = refusal.reason
    except Crash:
        outcome.died = True
    outcome.steps = tuple(vault.faults.steps)
    vault.faults.reset()
    return outcome


CARD_CALLS = {
    "check right": lambda vault, card: vault.checks(card, PIN),
    "check wrong": lambda vault, card: vault.checks(card, WRONG),
    "change right": lambda vault, card: vault.changes(card, PIN, NEW),
    "change wrong": lambda vault, card: vault.changes(card, WRONG, NEW),
    "set": lambda vault, card: vault.places(card, NEW),
    "reset": lambda vault, card: vault.resets(card, NEW),
}
SETS = {"change right", "set", "reset"}


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("name", CARD_CALLS)
def test_a_fault_leaves_all_or_nothing_and_gives_no_try(
    make_vault: Callable[..., Vault], name: str, fault: Fault
) -> None:
    vault = make_vault(programs=MANY_CHANGES)
    ask, card = CARD_CALLS[name], vault.add_with_pin().card_id
    steps = steps_of(vault, lambda: ask(vault, card))
    writes = [number for number, step in enumerate(steps) if step == "write"]
    for step in range(len(steps)):
        vault.resets(card, PIN)
        assert not vault.checks(card, WRONG).matches
        used, generation, _ = stored(vault, card)
        told = len(vault.messages())
        outcome = met(vault, lambda: ask(vault, card), step, fault)
        then_used, then_generation, blocked = stored(vault, card)

        is_done = step == writes[-1] and fault in _DONE
        assert outcome.died or outcome.reason in (Reason.STORE_UNAVAILABLE, Reason.HSM_UNAVAILABLE)
        assert not blocked
        if name in SETS:
            assert (then_generation > generation) is is_done
            assert (len(vault.messages()) > told) is is_done
            assert vault.checks(card, NEW if is_done else PIN).matches
        else:
            assert then_generation == generation
        if is_done:
            assert then_used == (used + 1 if "wrong" in name else 0)
        elif name in ("set", "reset"):
            assert then_used == used
        else:
            # Counted, it stays: compared, in doubt, or its caller dead. Else it came back.
            first, last = writes
            is_counted = step > first or (step == first and fault in _DONE)
            in_doubt = step == first or step >= last
            assert then_used == used + (is_counted and (in_doubt or outcome.died))


@pytest.mark.parametrize("fault", Fault)
def test_a_token_is_used_up_with_the_pin_that_it_set_and_not_without(
    make_vault: Callable[..., Vault], fault: Fault
) -> None:
    vault = make_vault(programs=MANY_CHANGES)
    card = vault.add().card_id

    def token() -> str:
        made = call("IssueControlToken")
        return vault.issue(made, card=ById(card), kind=TokenKind.SET_PIN).token

    first = token()
    steps = steps_of(vault, lambda: vault.redeems(first))
    for step in range(len(steps)):
        vault.places(card, PIN)
        given = token()
        met(vault, lambda given=given: vault.redeems(given, NEW), step, fault)
        if vault.checks(card, NEW).matches:
            assert reason_of(lambda given=given: vault.redeems(given, NEW)) is (
                Reason.CONTROL_TOKEN_REFUSED
            )
        else:
            vault.redeems(given, NEW)


@pytest.mark.parametrize("fault", Fault)
def test_a_pin_that_is_reissued_is_kept_before_it_leaves_and_else_nothing_changed(
    make_vault: Callable[..., Vault], fault: Fault
) -> None:
    vault = make_vault(programs=MANY_CHANGES)
    card = vault.add_with_pin().card_id

    def issue() -> str:
        made = call("ReissuePin")
        return vault.reissue(made, card=ById(card), profile="partner").envelope

    steps = steps_of(vault, issue)
    for step in range(min(map(len, (steps, *(steps_of(vault, issue) for _ in range(9)))))):
        vault.resets(card, PIN)
        _, generation, _ = stored(vault, card)
        outcome = met(vault, issue, step, fault)
        assert outcome.died or outcome.reason in (Reason.STORE_UNAVAILABLE, Reason.HSM_UNAVAILABLE)
        # A weak PIN is drawn anew, so steps are not at the same place each time.
        met_last = outcome.steps[: step + 1].count("write") == steps.count("write")
        is_done = met_last and outcome.steps[step] == "write" and fault in _DONE
        assert stored(vault, card) == (0, generation + is_done, False)
        assert is_done or vault.checks(card, PIN).matches
    assert vault.checks(card, read_field(issue())).matches


WITH_ID = {
    "set": lambda vault, card, request: vault.places(card, NEW, request=request),
    "change": lambda vault, card, request: vault.changes(card, PIN, NEW, request=request),
    "check": lambda vault, card, request: vault.checks(card, PIN, request=request),
    "check wrong": lambda vault, card, request: vault.checks(card, WRONG, request=request),
}


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("name", WITH_ID)
def test_a_request_that_is_sent_again_is_done_exactly_once(
    make_vault: Callable[..., Vault], name: str, fault: Fault
) -> None:
    vault = make_vault(programs=MANY_CHANGES)
    ask, card = WITH_ID[name], vault.add_with_pin().card_id
    steps = steps_of(vault, lambda: ask(vault, card, Request("count", b"")))
    for step in range(len(steps)):
        vault.resets(card, PIN)
        _, generation, _ = stored(vault, card)
        request = Request(f"r-{step}", b"the same")
        met(vault, lambda request=request: ask(vault, card, request), step, fault)
        # A lease may have to run out, of who died or of a commit in doubt.
        vault.clock.now += 100
        answer = ask(vault, card, request)
        assert ask(vault, card, request) == answer
        used, then, _ = stored(vault, card)
        assert then == generation + (name in ("set", "change"))
        # What died or failed after it was compared may have cost a try more, and never one less.
        assert used in ((1, 2) if name == "check wrong" else (0,))


def test_a_store_and_an_hsm_that_stay_away_give_nothing(
    make_vault: Callable[..., Vault],
) -> None:
    vault = make_vault(programs=MANY_CHANGES)
    card = vault.add_with_pin().card_id
    steps = steps_of(vault, lambda: vault.checks(card, WRONG))
    first, last = (number for number, step in enumerate(steps) if step == "write")
    for step in range(len(steps)):
        vault.resets(card, PIN)
        vault.faults.reset()
        vault.faults.all_from = step
        assert reason_of(lambda: vault.checks(card, WRONG)) in (
            Reason.STORE_UNAVAILABLE,
            Reason.HSM_UNAVAILABLE,
        )
        vault.faults.reset()
        # With the store away too, what was counted cannot come back.
        assert stored(vault, card)[0] == (1 if first < step <= last else 0)


@pytest.mark.parametrize("name", CARD_CALLS)
def test_a_store_that_is_known_to_be_away_is_not_waited_for(
    make_vault: Callable[..., Vault], name: str
) -> None:
    vault = make_vault()
    card = vault.add_with_pin().card_id
    before = stored(vault, card)
    vault.faults.reset()
    vault.store_is_up = False
    with pytest.raises(Refusal) as refused:
        CARD_CALLS[name](vault, card)
    assert refused.value.reason is Reason.STORE_UNAVAILABLE
    assert vault.faults.steps == []
    assert stored(vault, card) == before

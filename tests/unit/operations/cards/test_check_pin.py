"""CheckPin: tries are counted before the HSM is asked, and given back only for nothing compared."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pinvault.model.cards import ById, CardStatus
from pinvault.model.errors import Reason
from pinvault.model.faults import ClearedFault
from pinvault.operations.cards.answers import PinVerdict
from pinvault.operations.cards.trial import CLOCKS_APART_S
from tests.support.vault import (
    DEBIT,
    LONGEST_CALL_S,
    OTHER_PAN,
    PROGRAMS,
    Between,
    Fault,
    Vault,
    call,
    reason_of,
)

PIN, WRONG = "7392", "4821"
KINDS = ("debit", "credit", "prepaid")


@pytest.mark.parametrize("program", KINDS)
def test_right_and_wrong_are_told_with_the_tries_that_are_left(vault: Vault, program: str) -> None:
    view = vault.add_with_pin(program=program)
    told = []
    for digits in (WRONG, PIN, WRONG, WRONG, PIN, WRONG, WRONG, WRONG):
        verdict = vault.checks(view.card_id, digits)
        told.append((verdict.matches, verdict.tries_left, verdict.blocked))
        state = vault.card(view.card_id).pin
        assert (state.tries_left, state.blocked) == told[-1][1:]
    assert told == [
        *((False, 2, False), (True, 3, False), (False, 2, False), (False, 1, False)),
        *((True, 3, False), (False, 2, False), (False, 1, False), (False, 0, True)),
    ]
    assert vault.told() == ["pin.checked.blocked", "pin.set"]


@pytest.mark.parametrize("program", KINDS)
def test_the_hsm_does_the_same_for_right_and_wrong(vault: Vault, program: str) -> None:
    view = vault.add_with_pin(program=program)
    asked = []
    for digits in (PIN, WRONG):
        vault.faults.reset()
        vault.checks(view.card_id, digits)
        asked.append(vault.faults.steps)
    assert asked[0] == asked[1]


def test_a_blocked_pin_is_not_compared_and_says_nothing(vault: Vault) -> None:
    view = vault.add_with_pin()
    for _ in range(3):
        vault.checks(view.card_id, WRONG)
    before = vault.snapshot()
    for digits in (PIN, WRONG):
        vault.faults.reset()
        assert reason_of(lambda digits=digits: vault.checks(view.card_id, digits)) is (
            Reason.PIN_BLOCKED
        )
        assert vault.faults.steps == ["read", "read"]
    assert vault.snapshot() == before


def test_a_card_without_a_pin_has_none_to_check(vault: Vault) -> None:
    view = vault.add()
    before = vault.snapshot()
    assert reason_of(lambda: vault.checks(view.card_id, PIN)) is Reason.PIN_NOT_SET
    assert vault.snapshot() == before


@pytest.mark.parametrize("status", CardStatus)
def test_statuses_say_when_a_pin_may_be_checked(vault: Vault, status: CardStatus) -> None:
    view = vault.add_with_pin()
    vault.set_status(call("SetCardStatus"), card=ById(view.card_id), status=status)
    if status is CardStatus.ACTIVE:
        assert vault.checks(view.card_id, PIN).matches
    else:
        assert reason_of(lambda: vault.checks(view.card_id, PIN)) is Reason.CARD_STATUS


def unreadable(vault: Vault):
    return replace(vault.block(PIN), ciphertext=bytes(16))


@pytest.mark.parametrize("used", range(3))
def test_what_did_not_open_costs_no_try(vault: Vault, used: int) -> None:
    view = vault.add_with_pin()
    for _ in range(used):
        vault.checks(view.card_id, WRONG)
    for _ in range(4):
        refused = reason_of(
            lambda: vault.check(call("CheckPin"), card=ById(view.card_id), source=unreadable(vault))
        )
        assert refused is Reason.PIN_SOURCE_REFUSED
    assert vault.card(view.card_id).pin.tries_left == 3 - used
    assert vault.checks(view.card_id, PIN).matches


def test_an_hsm_that_is_away_costs_no_try(vault: Vault) -> None:
    view, source = vault.add_with_pin(), vault.block(WRONG)
    for step in (5, 6, 7):
        vault.faults.reset()
        vault.faults.at[step] = Fault.BEFORE
        made = call("CheckPin")
        assert (
            reason_of(lambda made=made: vault.check(made, card=ById(view.card_id), source=source))
            is Reason.HSM_UNAVAILABLE
        )
        assert vault.card(view.card_id).pin.tries_left == 3


def test_a_deadline_that_passed_costs_no_try(vault: Vault) -> None:
    view, source = vault.add_with_pin(), vault.block(WRONG)
    late = call("CheckPin", seconds=-1)
    assert reason_of(lambda: vault.check(late, card=ById(view.card_id), source=source)) is (
        Reason.DEADLINE_EXCEEDED
    )
    assert vault.card(view.card_id).pin.tries_left == 3


# Calls that died, and calls under way at once


def die_at_the_last_try(vault: Vault, card_id: str) -> None:
    """Use all tries, and die before the last is judged."""
    for _ in range(2):
        vault.checks(card_id, WRONG)
    with Between(vault, "check", lambda: dies()), pytest.raises(Died):
        vault.checks(card_id, WRONG)


class Died(BaseException): ...


def dies() -> None:
    raise Died


def test_who_died_with_the_last_try_is_found_and_the_pin_blocked(vault: Vault) -> None:
    view = vault.add_with_pin()
    die_at_the_last_try(vault, view.card_id)
    state = vault.card(view.card_id).pin
    assert (state.tries_left, state.blocked) == (0, False)
    vault.clock.now += LONGEST_CALL_S + CLOCKS_APART_S
    assert reason_of(lambda: vault.checks(view.card_id, PIN)) is Reason.PIN_BLOCKED
    assert vault.told() == ["pin.set"]
    assert not vault.card(view.card_id).pin.blocked
    vault.clock.now += 1
    for _ in range(2):
        assert reason_of(lambda: vault.checks(view.card_id, PIN)) is Reason.PIN_BLOCKED
    assert vault.card(view.card_id).pin.blocked
    assert vault.told() == ["pin.checked.blocked", "pin.set"]


def test_a_try_that_came_back_meanwhile_prevents_the_block(vault: Vault) -> None:
    view = vault.add_with_pin()
    vault.checks(view.card_id, WRONG)
    last: list[PinVerdict] = []

    def use_the_last_and_fail() -> None:
        with Between(vault, "check", fail):
            last.append(vault.checks(view.card_id, WRONG))

    def fail() -> None:
        raise ClearedFault("away", ())

    def second() -> None:
        with pytest.raises(ClearedFault):
            use_the_last_and_fail()

    with Between(vault, "check", second):
        verdict = vault.checks(view.card_id, WRONG)
    assert (last, verdict.tries_left, verdict.blocked) == ([], 1, False)
    assert vault.told() == ["pin.set"]


def test_the_last_wrong_pin_blocks_though_an_earlier_one_is_under_way(vault: Vault) -> None:
    view = vault.add_with_pin()
    vault.checks(view.card_id, WRONG)
    with Between(vault, "check", lambda: vault.checks(view.card_id, WRONG)):
        verdict = vault.checks(view.card_id, PIN)
    assert (verdict.matches, verdict.blocked) == (True, True)
    assert vault.told() == ["pin.checked.blocked", "pin.set"]


def test_a_try_that_the_right_pin_gave_back_does_not_come_back_twice(vault: Vault) -> None:
    view = vault.add_with_pin()

    def right_and_then_wrong() -> None:
        vault.checks(view.card_id, PIN)
        vault.checks(view.card_id, WRONG)
        raise ClearedFault("away", ())

    with Between(vault, "check", right_and_then_wrong), pytest.raises(ClearedFault):
        vault.checks(view.card_id, WRONG)
    assert vault.card(view.card_id).pin.tries_left == 2


def test_a_right_pin_that_was_replaced_meanwhile_is_refused(vault: Vault) -> None:
    view = vault.add_with_pin()
    for digits in (PIN, WRONG):
        with Between(vault, "check", lambda: vault.resets(view.card_id, "8264")):
            refused = reason_of(lambda digits=digits: vault.checks(view.card_id, digits))
        assert refused is Reason.PIN_CHANGED_MEANWHILE
        assert vault.card(view.card_id).pin.tries_left == 3
        vault.resets(view.card_id, PIN)


def test_a_wrong_pin_never_blocks_the_next_generation(make_vault: Callable[..., Vault]) -> None:
    once = replace(DEBIT, try_limit=1)
    vault = make_vault(programs=PROGRAMS | {"debit": once})
    view = vault.add_with_pin()
    with Between(vault, "check", lambda: vault.resets(view.card_id, "8264")):
        assert reason_of(lambda: vault.checks(view.card_id, WRONG)) is Reason.PIN_CHANGED_MEANWHILE
    assert vault.checks(view.card_id, "8264").matches
    assert vault.checks(view.card_id, WRONG).blocked


# Keys and programs that changed since


def test_a_pin_is_verified_as_its_row_says_not_as_its_program_does_today(
    vault: Vault, make_vault: Callable[..., Vault]
) -> None:
    views = {
        program: vault.add_with_pin(program=program, sequence_number=number)
        for program, number in zip(KINDS, ("01", "02", "03"), strict=True)
    }
    other = {"debit": "credit", "credit": "prepaid", "prepaid": "debit"}
    swapped = {
        name: replace(each, scheme=PROGRAMS[other.get(name, name)].scheme)
        for name, each in PROGRAMS.items()
    }
    later = make_vault(programs=swapped)
    for view in views.values():
        assert later.checks(view.card_id, PIN).matches
        assert not later.checks(view.card_id, WRONG).matches
        assert later.changes(view.card_id, PIN, "8264").matches
        assert later.checks(view.card_id, "8264").matches


def test_a_key_that_opens_no_more_is_told_and_costs_no_try(vault: Vault) -> None:
    view = vault.add_with_pin(program="credit")
    with vault.store.write() as db:
        db.exec_driver_sql("UPDATE pin SET reference_key = 'pin-reference/9'")
    for _ in range(4):
        assert reason_of(lambda: vault.checks(view.card_id, PIN)) is Reason.KEY_STATE
    assert vault.card(view.card_id).pin.tries_left == 3


def test_what_is_stored_and_does_not_open_is_a_fault_of_ours(vault: Vault) -> None:
    view, other = vault.add_with_pin(program="credit"), vault.add_with_pin(pan=OTHER_PAN)
    with vault.store.write() as db:
        db.exec_driver_sql("UPDATE pin SET reference = zeroblob(16) WHERE reference IS NOT NULL")
    with pytest.raises(Exception, match="a fault in the clear zone"):
        vault.checks(view.card_id, PIN)
    assert vault.card(view.card_id).pin.tries_left == 3
    with vault.store.write() as db:
        db.exec_driver_sql("UPDATE card SET pan_cipher = zeroblob(16)")
    with pytest.raises(Exception, match="a fault in the clear zone"):
        vault.checks(other.card_id, PIN, pan=OTHER_PAN)


# Envelopes are good once on all hosts


def test_an_envelope_that_another_host_has_seen_is_refused_and_the_try_is_gone(
    vault: Vault, make_vault: Callable[..., Vault], tmp_path
) -> None:
    view = vault.add_with_pin()
    (tmp_path / "second").mkdir()
    second = make_vault(host=tmp_path / "second")
    for digits in (PIN, WRONG):
        source = vault.envelope(digits, card=view.card_id)
        made = call("CheckPin")
        vault.check(made, card=ById(view.card_id), source=source)
        before = second.card(view.card_id).pin.tries_left
        assert (
            reason_of(
                lambda source=source: second.check(
                    call("CheckPin"), card=ById(view.card_id), source=source
                )
            )
            is Reason.ENVELOPE_REPLAYED
        )
        assert second.card(view.card_id).pin.tries_left == before - 1
        assert (
            reason_of(
                lambda source=source: vault.check(
                    call("CheckPin"), card=ById(view.card_id), source=source
                )
            )
            is Reason.ENVELOPE_REPLAYED
        )
        assert second.card(view.card_id).pin.tries_left == before - 1
        vault.unblock(call("UnblockPin"), card=ById(view.card_id))

"""ChangePin: the current PIN and then the new one, everything or nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pinvault.model.cards import ById, CardStatus
from pinvault.model.errors import Reason
from tests.support.vault import NOW, PAN, Between, Vault, call, reason_of, refused

PIN, WRONG, NEW = "7392", "4821", "8264"
KINDS = ("debit", "credit", "prepaid")


def change(vault: Vault, card_id: str, current, new):
    made = call("ChangePin")
    return vault.change(made, card=ById(card_id), current=current, new=new)


@pytest.mark.parametrize("program", KINDS)
def test_the_right_pin_is_changed(vault: Vault, program: str) -> None:
    view = vault.add_with_pin(program=program)
    vault.checks(view.card_id, WRONG)
    verdict = vault.changes(view.card_id, PIN, NEW)
    assert (verdict.matches, verdict.tries_left, verdict.blocked) == (True, 3, False)
    assert verdict.set_at == NOW
    assert [key.id for key in verdict.source_keys] == ["zpk/1", "zpk/1"]
    assert verdict.stored_keys
    assert len(set(verdict.stored_keys)) == len(verdict.stored_keys)
    assert vault.checks(view.card_id, NEW).matches
    assert not vault.checks(view.card_id, PIN).matches
    assert vault.told() == ["pin.changed", "pin.set"]


@pytest.mark.parametrize("program", KINDS)
@pytest.mark.parametrize("new", [NEW, "1234"], ids=["good", "weak"])
def test_a_wrong_pin_costs_a_try_and_nothing_is_said_of_the_new(
    vault: Vault, program: str, new: str
) -> None:
    view = vault.add_with_pin(program=program)
    left = []
    for _ in range(3):
        verdict = vault.changes(view.card_id, WRONG, new)
        assert (verdict.matches, verdict.set_at) == (False, None)
        left.append((verdict.tries_left, verdict.blocked))
    assert left == [(2, False), (1, False), (0, True)]
    assert vault.told() == ["pin.checked.blocked", "pin.set"]
    assert reason_of(lambda: vault.changes(view.card_id, PIN, new)) is Reason.PIN_BLOCKED


@pytest.mark.parametrize("new", ["1234", PIN], ids=["weak", "the same"])
def test_a_weak_new_pin_after_the_right_one_gives_all_tries_back(vault: Vault, new: str) -> None:
    view = vault.add_with_pin()
    for _ in range(2):
        vault.checks(view.card_id, WRONG)
    before = vault.snapshot("pin")
    assert reason_of(lambda: vault.changes(view.card_id, PIN, new)) is Reason.PIN_WEAK
    assert vault.card(view.card_id).pin.tries_left == 3
    assert vault.snapshot("pin") == before
    assert vault.checks(view.card_id, PIN).matches


def test_a_right_and_weak_pair_clears_tries_once_on_all_hosts(
    vault: Vault, make_vault: Callable[..., Vault], tmp_path
) -> None:
    view = vault.add_with_pin()
    (tmp_path / "second").mkdir()
    second = make_vault(host=tmp_path / "second")
    pair = [vault.envelope(digits, card=view.card_id) for digits in (PIN, "1234")]
    vault.checks(view.card_id, WRONG)
    assert reason_of(lambda: change(vault, view.card_id, *pair)) is Reason.PIN_WEAK
    vault.checks(view.card_id, WRONG)
    assert reason_of(lambda: change(second, view.card_id, *pair)) is Reason.ENVELOPE_REPLAYED
    assert vault.card(view.card_id).pin.tries_left == 1


@pytest.mark.parametrize("broken", ["current", "new"])
def test_what_does_not_open_costs_no_try_and_changes_nothing(vault: Vault, broken: str) -> None:
    view = vault.add_with_pin()
    vault.checks(view.card_id, WRONG)
    sources = {"current": vault.block(PIN), "new": vault.block(NEW)}
    sources[broken] = replace(sources[broken], ciphertext=bytes(16))
    before = vault.snapshot("pin")
    for _ in range(4):
        assert reason_of(lambda: change(vault, view.card_id, **sources)) is (
            Reason.PIN_SOURCE_REFUSED
        )
    assert vault.snapshot("pin") == before
    assert vault.card(view.card_id).pin.tries_left == 2


def test_a_card_without_a_pin_has_none_to_change(vault: Vault) -> None:
    view = vault.add()
    assert reason_of(lambda: vault.changes(view.card_id, PIN, NEW)) is Reason.PIN_NOT_SET


@pytest.mark.parametrize("status", CardStatus)
def test_a_change_needs_a_status_to_set_and_to_check(vault: Vault, status: CardStatus) -> None:
    view = vault.add_with_pin()
    vault.set_status(call("SetCardStatus"), card=ById(view.card_id), status=status)
    if status is CardStatus.ACTIVE:
        assert vault.changes(view.card_id, PIN, NEW).matches
    else:
        assert reason_of(lambda: vault.changes(view.card_id, PIN, NEW)) is Reason.CARD_STATUS


@pytest.mark.parametrize("current", [PIN, WRONG], ids=["right", "wrong"])
def test_a_pin_that_was_set_meanwhile_stays(vault: Vault, current: str) -> None:
    view = vault.add_with_pin()
    with Between(vault, "change", lambda: vault.resets(view.card_id, "5038")):
        refusal = refused(lambda: vault.changes(view.card_id, current, NEW))
    assert refusal.reason is Reason.PIN_CHANGED_MEANWHILE
    assert vault.card(view.card_id).pin.tries_left == 3
    assert vault.checks(view.card_id, "5038").matches
    assert "pin.changed" not in vault.told()


def test_envelopes_of_both_kinds_are_taken(vault: Vault) -> None:
    view = vault.add_with_pin()
    current = vault.envelope(PIN, card=view.card_id)
    new = vault.envelope(NEW, pan=PAN)
    assert change(vault, view.card_id, current, new).matches
    assert vault.checks(view.card_id, NEW).matches

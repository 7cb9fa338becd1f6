"""SetPin and ResetPin: a new PIN is there with everything that belongs to it, or not at all."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from pinvault.model.cards import ById, CardStatus, TokenKind, Window
from pinvault.model.errors import Reason
from pinvault.operations.cards.once import Request
from tests.support.vault import (
    CALLER,
    DEBIT,
    NOW,
    OTHER_PAN,
    PAN,
    PROGRAMS,
    STRANGER,
    Between,
    Vault,
    call,
    reason_of,
    refused,
    rows,
)

KEPT = {
    "debit": ("pvv:visa:1@pvk/1", ["pvk/1"]),
    "credit": ("block", ["pin-reference/1"]),
    "prepaid": ("offset:ibm@offset/1", ["offset/1", "pin-reveal/1"]),
}


def token_for(vault: Vault, card_id: str, kind: TokenKind = TokenKind.SET_PIN) -> str:
    return vault.issue(call("IssueControlToken"), card=ById(card_id), kind=kind).token


def block_the_pin(vault: Vault, card_id: str, pan: str = PAN) -> None:
    while not vault.card(card_id).pin.blocked:
        vault.checks(card_id, "4821", pan=pan)


@pytest.mark.parametrize("program", KEPT)
def test_a_pin_is_kept_as_its_program_says(vault: Vault, program: str) -> None:
    view = vault.add(program=program)
    placed = vault.places(view.card_id, "7392")
    method, keys = KEPT[program]
    (row,) = vault.snapshot()["pin"]
    assert method in row
    assert "7392" not in row.replace("7392392", "")
    assert (placed.card_id, placed.set_at, placed.blocked) == (view.card_id, NOW, False)
    assert [key.id for key in placed.source_keys] == ["zpk/1"]
    assert [key.id for key in placed.stored_keys] == keys
    assert vault.told() == ["pin.set"]
    assert vault.checks(view.card_id, "7392").matches
    assert not vault.checks(view.card_id, "7393").matches


def test_a_set_pin_replaces_and_gives_tries_back_but_lifts_no_block(vault: Vault) -> None:
    view = vault.add_with_pin()
    vault.checks(view.card_id, "4821")
    vault.places(view.card_id, "8264")
    assert vault.card(view.card_id).pin.tries_left == 3
    assert vault.checks(view.card_id, "8264").matches
    block_the_pin(vault, view.card_id)
    assert vault.places(view.card_id, "7392").blocked
    assert vault.card(view.card_id).pin.blocked
    assert reason_of(lambda: vault.checks(view.card_id, "7392")) is Reason.PIN_BLOCKED


def test_a_reset_needs_a_pin_and_lifts_the_block(vault: Vault) -> None:
    view = vault.add()
    assert reason_of(lambda: vault.resets(view.card_id, "7392")) is Reason.PIN_NOT_SET
    vault.places(view.card_id, "7392")
    vault.resets(view.card_id, "8264")
    block_the_pin(vault, view.card_id)
    assert not vault.resets(view.card_id, "5038").blocked
    assert vault.checks(view.card_id, "5038").matches
    told = ["pin.set", "pin.reset", "pin.checked.blocked", "pin.reset", "card.pin_unblocked"]
    assert vault.told() == sorted(told)


@pytest.mark.parametrize(
    ("request_id", "known_by"),
    [
        ("", "call"),
        ("set-1", "call"),
        ("2a1f9c4e-6b7d-4e0a-8f35-9d1c7b2e4a60", "2a1f9c4e-6b7d-4e0a-8f35-9d1c7b2e4a60"),
        ("2a1f9c4e6b7d4e0a8f359d1c7b2e4a60", "call"),
    ],
)
def test_others_know_a_new_pin_by_the_callers_id_or_ours(
    vault: Vault, request_id: str, known_by: str
) -> None:
    view = vault.add(external_id="icrd_1")
    vault.places(view.card_id, "7392", request=Request(request_id=request_id))
    (message,) = vault.messages()
    body = json.loads(message.body)
    assert (body["operation"], body["external_id"]) == (known_by, "icrd_1")


WEAK_OR_UNREADABLE = {
    "weak": (lambda vault: vault.block("1234"), Reason.PIN_WEAK),
    "longer than the program's": (lambda vault: vault.block("5038274"), Reason.PIN_SOURCE_REFUSED),
    "damaged": (
        lambda vault: replace(vault.block(), ciphertext=bytes(16)),
        Reason.PIN_SOURCE_REFUSED,
    ),
    "expired": (lambda vault: vault.envelope(pan=PAN), Reason.ENVELOPE_EXPIRED),
}


@pytest.mark.parametrize("name", WEAK_OR_UNREADABLE)
@pytest.mark.parametrize("by_token", [False, True], ids=["card", "token"])
def test_a_pin_that_cannot_be_leaves_everything(vault: Vault, name: str, by_token: bool) -> None:
    view = vault.add_with_pin()
    vault.checks(view.card_id, "4821")
    token = token_for(vault, view.card_id) if by_token else None
    make, reason = WEAK_OR_UNREADABLE[name]
    new = make(vault)
    if reason is Reason.ENVELOPE_EXPIRED:
        vault.clock.now += 600
    before = vault.snapshot()
    card = None if by_token else ById(view.card_id)
    made = call("SetPin")
    assert reason_of(lambda: vault.set(made, card=card, control_token=token, new=new)) is reason
    assert vault.snapshot() == before


def test_an_offset_is_made_of_as_many_digits_as_its_scheme_has(vault: Vault) -> None:
    view = vault.add(program="prepaid")
    assert reason_of(lambda: vault.places(view.card_id, "50382")) is Reason.PIN_SOURCE_REFUSED


@pytest.mark.parametrize("status", CardStatus)
def test_statuses_say_when_a_pin_may_be_set(vault: Vault, status: CardStatus) -> None:
    view = vault.add_with_pin()
    vault.set_status(call("SetCardStatus"), card=ById(view.card_id), status=status)
    called = vault.device.calls.total()
    for work in (
        lambda: vault.places(view.card_id, "8264"),
        lambda: vault.resets(view.card_id, "5038"),
        lambda: vault.redeems(token_for(vault, view.card_id)),
    ):
        if status in (CardStatus.INACTIVE, CardStatus.ACTIVE):
            work()
        else:
            assert reason_of(work) is Reason.CARD_STATUS
            assert vault.device.calls.total() <= called + 1


# Control tokens


@pytest.mark.parametrize("kind", TokenKind)
def test_who_had_a_token_issued_may_ask_what_it_is(vault: Vault, kind: TokenKind) -> None:
    view = vault.add(program="prepaid")
    issued = vault.issue(call("IssueControlToken"), card=ById(view.card_id), kind=kind)
    before, made = vault.snapshot(), call("GetControlToken")
    found = vault.get_token(made, control_token=issued.token)
    assert (found.card_id, found.kind, found.expires_at) == (
        *(view.card_id, kind, issued.expires_at),
    )
    assert (made.notes.card, made.notes.program) == (view.card_id, "prepaid")
    assert vault.snapshot() == before


def test_a_token_that_is_not_good_means_nothing_to_anybody(
    make_vault: Callable[..., Vault],
) -> None:
    vault = make_vault(grants=(*rows(), *rows(STRANGER), *rows("poor", "credit")))
    view = vault.add()
    old = token_for(vault, view.card_id)
    token = token_for(vault, view.card_id)

    def meaning(of: str, caller: str = CALLER) -> Reason:
        return reason_of(lambda: vault.get_token(call("GetControlToken", caller), control_token=of))

    unknown = "0f4cd42a-4f0e-4a63-9d5b-6f5f5c1f7c11"
    for of, caller in ((old, CALLER), (unknown, CALLER), (token, STRANGER), (token, "poor")):
        assert meaning(of, caller) is Reason.CONTROL_TOKEN_REFUSED
    vault.redeems(token)
    assert meaning(token) is Reason.CONTROL_TOKEN_REFUSED
    late = token_for(vault, view.card_id)
    vault.clock.now += 3601
    assert meaning(late) is Reason.CONTROL_TOKEN_REFUSED
    forged = token_for(vault, view.card_id)
    with vault.store.write() as db:
        db.exec_driver_sql("UPDATE control_token SET expires_at = expires_at + 1")
    assert meaning(forged) is Reason.CONTROL_TOKEN_REFUSED


def test_a_token_sets_one_pin(vault: Vault) -> None:
    view = vault.add()
    token = token_for(vault, view.card_id)
    assert vault.redeems(token).card_id == view.card_id
    before = vault.snapshot()
    assert reason_of(lambda: vault.redeems(token)) is Reason.CONTROL_TOKEN_REFUSED
    assert vault.snapshot() == before
    assert token not in repr(before)


def test_a_token_says_nothing_of_its_card_and_lasts_as_long_as_the_program_says(
    vault: Vault,
) -> None:
    view = vault.add(program="prepaid")
    for kind, lifetime in ((TokenKind.SET_PIN, 3600), (TokenKind.REVEAL_PIN, 300)):
        issued = vault.issue(call("IssueControlToken"), card=ById(view.card_id), kind=kind)
        assert (issued.card_id, issued.expires_at) == (view.card_id, NOW + lifetime)
        assert issued.token[14] == "4"
        assert issued.token not in repr(issued)


def test_the_newest_token_alone_is_good(vault: Vault) -> None:
    view = vault.add()
    older, newer = token_for(vault, view.card_id), token_for(vault, view.card_id)
    assert reason_of(lambda: vault.redeems(older)) is Reason.CONTROL_TOKEN_REFUSED
    vault.redeems(newer)


def test_a_token_is_for_its_use_its_time_and_its_caller(
    make_vault: Callable[..., Vault],
) -> None:
    vault = make_vault(grants=(*rows(), *rows("second"), *rows(STRANGER, "other")))
    view = vault.add(program="prepaid")
    reveal = token_for(vault, view.card_id, TokenKind.REVEAL_PIN)
    token = token_for(vault, view.card_id)
    before, called = vault.snapshot(), vault.device.calls.total()
    for work in (
        lambda: vault.redeems(reveal),
        lambda: vault.redeems(token, caller="second"),
        lambda: vault.redeems(token, caller=STRANGER),
        lambda: vault.redeems("00000000-0000-4000-8000-000000000000"),
    ):
        refusal = refused(work)
        assert (refusal.reason, refusal.field) == (Reason.CONTROL_TOKEN_REFUSED, "")
    vault.clock.now += 3600
    assert reason_of(lambda: vault.redeems(token)) is Reason.CONTROL_TOKEN_REFUSED
    assert (vault.snapshot(), vault.device.calls.total()) == (before, called)


def test_a_token_for_a_card_that_is_the_callers_no_more_is_refused(
    vault: Vault, make_vault: Callable[..., Vault]
) -> None:
    token = token_for(vault, vault.add().card_id)
    later = make_vault(grants=rows(CALLER, "credit"))
    assert reason_of(lambda: later.redeems(token)) is Reason.CONTROL_TOKEN_REFUSED


def test_nothing_to_reveal_needs_no_token(vault: Vault) -> None:
    card, kind = ById(vault.add().card_id), TokenKind.REVEAL_PIN
    made = call("IssueControlToken")
    assert reason_of(lambda: vault.issue(made, card=card, kind=kind)) is Reason.PIN_NOT_REVEALABLE


# Others at the same time


def test_of_two_that_use_one_token_one_wins(vault: Vault) -> None:
    view = vault.add()
    token = token_for(vault, view.card_id)
    with Between(vault, "make", lambda: vault.redeems(token, "8264")):
        assert reason_of(lambda: vault.redeems(token)) is Reason.CONTROL_TOKEN_REFUSED
    assert vault.checks(view.card_id, "8264").matches
    assert vault.told() == ["pin.set"]


@pytest.mark.parametrize("has_pin", [False, True], ids=["first", "next"])
@pytest.mark.parametrize("set_by", ["places", "resets"])
def test_a_pin_that_was_set_meanwhile_stays(vault: Vault, has_pin: bool, set_by: str) -> None:
    view = vault.add_with_pin() if has_pin else vault.add()
    if set_by == "resets" and not has_pin:
        return
    with Between(vault, "make", lambda: vault.places(view.card_id, "8264")):
        work = getattr(vault, set_by)
        assert reason_of(lambda: work(view.card_id, "5038")) is Reason.PIN_CHANGED_MEANWHILE
    assert vault.checks(view.card_id, "8264").matches
    assert set(vault.told()) == {"pin.set"}


def test_a_block_that_comes_meanwhile_is_lifted_and_told(vault: Vault) -> None:
    view = vault.add_with_pin()
    with Between(vault, "make", lambda: block_the_pin(vault, view.card_id)):
        vault.resets(view.card_id, "5038")
    assert "card.pin_unblocked" in vault.told()
    assert not vault.card(view.card_id).pin.blocked


def test_a_block_that_comes_meanwhile_is_told_of_the_pin_that_it_stays_on(vault: Vault) -> None:
    view = vault.add_with_pin()
    with Between(vault, "make", lambda: block_the_pin(vault, view.card_id)):
        assert vault.places(view.card_id, "5038").blocked
    assert vault.card(view.card_id).pin.blocked


# How often


def test_a_card_has_so_many_new_pins_and_then_waits(make_vault: Callable[..., Vault]) -> None:
    twice = replace(DEBIT, changes=Window(count=2, period_s=3600))
    vault = make_vault(programs=PROGRAMS | {"debit": twice})
    view, other = vault.add(), vault.add(OTHER_PAN)
    vault.places(view.card_id, "7392")
    assert reason_of(lambda: vault.places(view.card_id, "1234")) is Reason.PIN_WEAK
    vault.clock.now += 600
    vault.resets(view.card_id, "8264")
    before, made = vault.snapshot(), vault.device.calls["rsa_decrypt"]
    for work in (
        lambda: vault.places(view.card_id, "5038"),
        lambda: vault.resets(view.card_id, "5038"),
        lambda: vault.changes(view.card_id, "8264", "5038"),
        lambda: vault.changes(view.card_id, "4821", "5038"),
    ):
        refusal = refused(work)
        assert (refusal.reason, refusal.retry_after_s) == (Reason.CARD_RATE_EXCEEDED, 3000)
    assert (vault.snapshot(), vault.device.calls["rsa_decrypt"]) == (before, made)
    vault.places(other.card_id, "7392", pan=OTHER_PAN)
    vault.clock.now += 3000
    vault.places(view.card_id, "5038")


# Unblock


def test_an_unblocked_pin_has_all_tries_and_is_told_once(vault: Vault) -> None:
    view = vault.add()
    card = ById(view.card_id)
    assert reason_of(lambda: vault.unblock(call("UnblockPin"), card=card)) is Reason.PIN_NOT_SET
    vault.places(view.card_id, "7392")
    vault.checks(view.card_id, "4821")
    assert vault.unblock(call("UnblockPin"), card=card).pin.tries_left == 3
    assert vault.told() == ["pin.set"]
    block_the_pin(vault, view.card_id)
    state = vault.unblock(call("UnblockPin"), card=card).pin
    assert (state.blocked, state.tries_left) == (False, 3)
    vault.unblock(call("UnblockPin"), card=card)
    assert vault.told() == ["card.pin_unblocked", "pin.checked.blocked", "pin.set"]
    assert vault.checks(view.card_id, "7392").matches

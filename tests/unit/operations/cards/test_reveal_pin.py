"""RevealPin: everything that a reveal takes is used up before the PIN is opened."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pinvault.model.cards import ById, CardStatus, TokenKind, Verification, Window
from pinvault.model.errors import Reason
from pinvault.operations.cards.reveal_pin import Revealed
from tests.support.vault import (
    CALLER,
    NOW,
    PROGRAMS,
    STRANGER,
    Between,
    Fault,
    Recipient,
    Vault,
    call,
    reason_of,
    refused,
    rows,
)

PIN = "7392"


def token_for(vault: Vault, card_id: str, caller: str = CALLER) -> str:
    made = call("IssueControlToken", caller)
    return vault.issue(made, card=ById(card_id), kind=TokenKind.REVEAL_PIN).token


def reveal(
    vault: Vault, token: str, recipient: Recipient | None = None, caller: str = CALLER
) -> Revealed:
    return vault.reveal(
        call("RevealPin", caller),
        control_token=token,
        verification=Verification.OTP,
        recipient=(recipient or Recipient()).point,
    )


def test_the_requester_alone_gets_the_pin(vault: Vault) -> None:
    view, recipient = vault.add_with_pin(program="prepaid"), Recipient()
    made = call("RevealPin")
    revealed = vault.reveal(
        made,
        control_token=token_for(vault, view.card_id),
        verification=Verification.BIOMETRIC_FACE,
        recipient=recipient.point,
    )
    opened = recipient.open(revealed.envelope)
    assert opened == {"pin": PIN, "card": view.card_id, "exp": NOW + 300}
    assert (revealed.card_id, revealed.key.id) == (view.card_id, "pin-reveal/1")
    assert vault.told() == ["pin.revealed", "pin.set"]
    assert (made.notes.card, made.notes.target) == (view.card_id, "biometric-face")
    assert [key.id for key in made.notes.keys] == ["pin-reveal/1"]


def test_what_is_revealed_is_the_newest_pin(vault: Vault) -> None:
    view, recipient = vault.add_with_pin(program="prepaid"), Recipient()
    vault.changes(view.card_id, PIN, "8264")
    revealed = reveal(vault, token_for(vault, view.card_id), recipient)
    assert recipient.open(revealed.envelope)["pin"] == "8264"


def test_a_token_reveals_once(vault: Vault) -> None:
    token = token_for(vault, vault.add_with_pin(program="prepaid").card_id)
    reveal(vault, token)
    before = vault.snapshot()
    assert reason_of(lambda: reveal(vault, token)) is Reason.CONTROL_TOKEN_REFUSED
    assert vault.snapshot() == before


def test_of_two_that_use_one_token_one_opens_the_pin(vault: Vault) -> None:
    token = token_for(vault, vault.add_with_pin(program="prepaid").card_id)
    vault.device.calls.clear()
    with Between(vault, "open_pan", lambda: reveal(vault, token)):
        assert reason_of(lambda: reveal(vault, token)) is Reason.CONTROL_TOKEN_REFUSED
    assert vault.told() == ["pin.revealed", "pin.set"]


def test_a_token_is_its_callers_and_for_a_reveal(make_vault: Callable[..., Vault]) -> None:
    vault = make_vault(grants=(*rows(), *rows("second"), *rows(STRANGER, "other")))
    card = ById(vault.add_with_pin(program="prepaid").card_id)
    token = token_for(vault, card.card_id)
    to_set = vault.issue(call("IssueControlToken"), card=card, kind=TokenKind.SET_PIN).token
    before, called = vault.snapshot(), vault.device.calls.total()
    for given, caller in ((to_set, CALLER), (token, "second"), (token, STRANGER)):
        assert reason_of(
            lambda given=given, caller=caller: reveal(vault, given, caller=caller)
        ) is (Reason.CONTROL_TOKEN_REFUSED)
    vault.clock.now += 300
    assert reason_of(lambda: reveal(vault, token)) is Reason.CONTROL_TOKEN_REFUSED
    assert (vault.snapshot(), vault.device.calls.total()) == (before, called)


@pytest.mark.parametrize(
    "point",
    [b"\x04" + bytes(64), b"\x04" + b"\xff" * 64, b"\x02" + bytes(32), b""],
    ids=["off the curve", "beyond the field", "compressed", "nothing"],
)
def test_a_key_that_is_none_is_refused_before_anything(vault: Vault, point: bytes) -> None:
    token = token_for(vault, vault.add_with_pin(program="prepaid").card_id)
    before = vault.snapshot()
    recipient = Recipient()
    recipient.point = point
    refusal = refused(lambda: reveal(vault, token, recipient))
    assert (refusal.reason, refusal.field) == (Reason.RECIPIENT_KEY_REFUSED, "recipient_key")
    assert vault.snapshot() == before


def test_a_recipients_key_is_good_once_whatever_the_card(vault: Vault) -> None:
    view, recipient = vault.add_with_pin(program="prepaid"), Recipient()
    other = vault.add_with_pin(program="prepaid", sequence_number="01")
    reveal(vault, token_for(vault, view.card_id), recipient)
    token = token_for(vault, other.card_id)
    before = vault.snapshot()
    assert reason_of(lambda: reveal(vault, token, recipient)) is Reason.RECIPIENT_KEY_REFUSED
    assert vault.snapshot() == before
    reveal(vault, token)


def test_a_card_has_so_many_reveals_and_then_waits(make_vault: Callable[..., Vault]) -> None:
    once = replace(PROGRAMS["prepaid"], reveals=Window(count=1, period_s=3600))
    vault = make_vault(programs=PROGRAMS | {"prepaid": once})
    view = vault.add_with_pin(program="prepaid")
    reveal(vault, token_for(vault, view.card_id))
    vault.clock.now += 600
    token = token_for(vault, view.card_id)
    before = vault.snapshot()
    refusal = refused(lambda: reveal(vault, token))
    assert (refusal.reason, refusal.retry_after_s) == (Reason.CARD_RATE_EXCEEDED, 3000)
    assert vault.snapshot() == before
    vault.clock.now += 3000
    reveal(vault, token_for(vault, view.card_id))


def test_what_is_not_there_is_not_revealed(
    make_vault: Callable[..., Vault],
) -> None:
    vault = make_vault()
    view = vault.add(program="prepaid")
    token = token_for(vault, view.card_id)
    assert reason_of(lambda: reveal(vault, token)) is Reason.PIN_NOT_SET
    silent = make_vault(programs=PROGRAMS | {"prepaid": replace(PROGRAMS["prepaid"], reveal=False)})
    silent.places(view.card_id, PIN)
    assert reason_of(lambda: reveal(silent, token)) is Reason.PIN_NOT_REVEALABLE
    assert reason_of(lambda: reveal(vault, token)) is Reason.PIN_NOT_REVEALABLE
    vault.places(view.card_id, "8264")
    assert reason_of(lambda: reveal(silent, token)) is Reason.PIN_NOT_REVEALABLE
    reveal(vault, token)


@pytest.mark.parametrize("status", CardStatus)
def test_statuses_say_when_a_pin_may_be_revealed(vault: Vault, status: CardStatus) -> None:
    view = vault.add_with_pin(program="prepaid")
    token = token_for(vault, view.card_id)
    vault.set_status(call("SetCardStatus"), card=ById(view.card_id), status=status)
    if status is CardStatus.ACTIVE:
        reveal(vault, token)
    else:
        assert reason_of(lambda: reveal(vault, token)) is Reason.CARD_STATUS


def steps_of_a_reveal(vault: Vault) -> list[str]:
    token = token_for(vault, vault.add_with_pin(program="prepaid").card_id)
    vault.faults.reset()
    reveal(vault, token)
    return list(vault.faults.steps)


def test_a_token_is_gone_before_the_pin_is_opened_and_told_of_before_it_leaves(
    vault: Vault, make_vault: Callable[..., Vault]
) -> None:
    steps = steps_of_a_reveal(vault)
    first, last = (number for number, step in enumerate(steps) if step == "write")
    assert first < steps.index("random") < last == len(steps) - 1
    assert steps[first + 1 : last].count("decipher") == 2
    for number in range(len(steps)):
        for fault in (Fault.BEFORE, Fault.AFTER):
            view = vault.add_with_pin(
                program="prepaid", sequence_number=f"{2 * number + 10}{fault.value % 2}"[-3:]
            )
            token = token_for(vault, view.card_id)
            vault.faults.reset()
            vault.faults.at[number] = fault
            reason = reason_of(lambda token=token: reveal(vault, token))
            assert reason in (Reason.STORE_UNAVAILABLE, Reason.HSM_UNAVAILABLE)
            vault.faults.reset()
            is_used_up = number > first or (number == first and fault is Fault.AFTER)
            if is_used_up:
                assert reason_of(lambda token=token: reveal(vault, token)) is (
                    Reason.CONTROL_TOKEN_REFUSED
                )
            else:
                reveal(vault, token)

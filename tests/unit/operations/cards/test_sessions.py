"""Sessions of the PIN page: opened once, counted before each entry, ended by the first PIN."""

from collections.abc import Callable

import pytest

from pinvault.model.cards import ById, CardStatus, SessionAction
from pinvault.model.errors import Reason
from pinvault.model.profiles import PinLength
from pinvault.operations.cards.answers import PinVerdict
from tests.support.vault import (
    NOW,
    ORIGIN,
    STRANGER,
    Between,
    Vault,
    call,
    reason_of,
    refused,
    rows,
)

PIN, WRONG, NEW = "7392", "4821", "8264"
PAGE = "pin-page"


@pytest.fixture
def vault(make_vault: Callable[..., Vault]) -> Vault:
    """One that serves the page's server too, which is a caller of its own."""
    return make_vault(grants=(*rows(), *rows(PAGE), *rows(STRANGER, "other")))


def created(vault: Vault, card_id: str, action: SessionAction = SessionAction.SET):
    made = call("CreatePinSession")
    return vault.create_session(made, card=ById(card_id), action=action, origin=ORIGIN)


def page_of(vault: Vault, card_id: str, action: SessionAction = SessionAction.SET):
    """The id of a session and the secret of the page that opened it."""
    session = created(vault, card_id, action)
    opened = vault.open_session(
        call("OpenPinSession", PAGE), session_id=session.session_id, secret=session.secret
    )
    return session.session_id, opened.page_secret


def submit(vault: Vault, page: tuple[str, str], *entered: str, caller: str = PAGE) -> PinVerdict:
    """Enter a new PIN, or the current one and a new one."""
    *current, new = (vault.block(digits) for digits in entered)
    session_id, page_secret = page
    return vault.submit(
        call("SubmitPin", caller),
        session_id=session_id,
        page_secret=page_secret,
        current=current[0] if current else None,
        new=new,
    )


def test_a_page_learns_what_it_must_know(vault: Vault) -> None:
    view = vault.add()
    session = created(vault, view.card_id)
    assert (session.card_id, session.expires_at) == (view.card_id, NOW + 600)
    assert (len(session.session_id), len(session.secret)) == (24, 43)
    opened = vault.open_session(
        call("OpenPinSession", PAGE), session_id=session.session_id, secret=session.secret
    )
    assert (opened.card_id, opened.action, opened.origin) == (view.card_id, "set", ORIGIN)
    assert opened.last_four == view.last_four
    assert (opened.pin_length, opened.expires_at) == (PinLength(minimum=4, maximum=6), NOW + 600)
    stored = repr(vault.snapshot())
    for secret in (session.secret, opened.page_secret):
        assert secret not in stored + repr(session) + repr(opened)


def test_an_origin_is_one_of_the_programs(vault: Vault) -> None:
    view = vault.add()
    refusal = refused(
        lambda: vault.create_session(
            call("CreatePinSession"),
            card=ById(view.card_id),
            action=SessionAction.SET,
            origin="https://evil.example.org",
        )
    )
    assert refusal.reason is Reason.REQUEST_INVALID
    assert [violation.field for violation in refusal.violations] == ["origin"]
    assert not vault.snapshot()["pin_session"]


def test_a_session_is_opened_once_by_its_secret(vault: Vault) -> None:
    session = created(vault, vault.add().card_id)

    def open_it(secret: str, session_id: str = session.session_id, caller: str = PAGE):
        made = call("OpenPinSession", caller)
        return vault.open_session(made, session_id=session_id, secret=secret)

    assert reason_of(lambda: open_it("A" * 43)) is Reason.SESSION_REFUSED
    assert reason_of(lambda: open_it(session.secret, "A" * 24)) is Reason.SESSION_REFUSED
    assert reason_of(lambda: open_it(session.secret, caller=STRANGER)) is Reason.SESSION_REFUSED
    open_it(session.secret)
    assert reason_of(lambda: open_it(session.secret)) is Reason.SESSION_REFUSED


def test_a_set_ends_its_session(vault: Vault) -> None:
    view = vault.add()
    page = page_of(vault, view.card_id)
    assert reason_of(lambda: submit(vault, page, "1234")) is Reason.PIN_WEAK
    verdict = submit(vault, page, NEW)
    assert (verdict.matches, verdict.tries_left, verdict.blocked) == (True, 3, False)
    assert verdict.set_at == NOW
    assert vault.told() == ["pin.set"]
    before = vault.snapshot()
    assert reason_of(lambda: submit(vault, page, PIN)) is Reason.SESSION_REFUSED
    assert vault.snapshot() == before
    assert vault.checks(view.card_id, NEW).matches


def test_a_set_lifts_no_block_and_a_reset_does(vault: Vault) -> None:
    view = vault.add_with_pin()
    for _ in range(3):
        vault.checks(view.card_id, WRONG)
    verdict = submit(vault, page_of(vault, view.card_id), NEW)
    assert (verdict.matches, verdict.tries_left, verdict.blocked) == (True, 0, True)
    verdict = submit(vault, page_of(vault, view.card_id, SessionAction.RESET), PIN)
    assert (verdict.tries_left, verdict.blocked) == (3, False)
    assert vault.told() == [
        *("card.pin_unblocked", "pin.checked.blocked", "pin.reset", "pin.set", "pin.set")
    ]


def test_a_change_goes_on_until_the_current_pin_is_right(vault: Vault) -> None:
    view = vault.add_with_pin()
    page = page_of(vault, view.card_id, SessionAction.CHANGE)
    verdict = submit(vault, page, WRONG, NEW)
    assert (verdict.matches, verdict.tries_left, verdict.set_at) == (False, 2, None)
    assert reason_of(lambda: submit(vault, page, PIN, "1234")) is Reason.PIN_WEAK
    assert submit(vault, page, PIN, NEW).matches
    assert reason_of(lambda: submit(vault, page, NEW, PIN)) is Reason.SESSION_REFUSED
    assert vault.checks(view.card_id, NEW).matches
    assert vault.told() == ["pin.changed", "pin.set"]


def test_entries_are_counted_before_they_are_judged(vault: Vault) -> None:
    page = page_of(vault, vault.add().card_id)
    for _ in range(5):
        assert reason_of(lambda: submit(vault, page, "1234")) is Reason.PIN_WEAK
    made = vault.device.calls["random"]
    assert reason_of(lambda: submit(vault, page, NEW)) is Reason.SESSION_REFUSED
    assert vault.device.calls["random"] == made
    assert vault.told() == []


def test_a_change_of_a_blocked_pin_is_refused(vault: Vault) -> None:
    view = vault.add_with_pin()
    page = page_of(vault, view.card_id, SessionAction.CHANGE)
    for left in (2, 1, 0):
        assert submit(vault, page, WRONG, NEW).tries_left == left
    assert reason_of(lambda: submit(vault, page, PIN, NEW)) is Reason.PIN_BLOCKED


@pytest.mark.parametrize("action", SessionAction)
def test_the_current_pin_is_given_for_a_change_alone(vault: Vault, action: SessionAction) -> None:
    view = vault.add_with_pin()
    page = page_of(vault, view.card_id, action)
    entered = (NEW,) if action is SessionAction.CHANGE else (PIN, NEW)
    refusal = refused(lambda: submit(vault, page, *entered))
    assert refusal.reason is Reason.REQUEST_INVALID
    assert [violation.field for violation in refusal.violations] == ["current_source"]


@pytest.mark.parametrize("status", CardStatus)
@pytest.mark.parametrize("action", SessionAction)
def test_statuses_are_looked_at_when_it_begins_and_when_it_ends(
    vault: Vault, action: SessionAction, status: CardStatus
) -> None:
    view = vault.add_with_pin()
    page = page_of(vault, view.card_id, action)
    entered = (PIN, NEW) if action is SessionAction.CHANGE else (NEW,)
    allowed = (
        {CardStatus.ACTIVE}
        if action is SessionAction.CHANGE
        else {CardStatus.ACTIVE, CardStatus.INACTIVE}
    )
    vault.set_status(call("SetCardStatus"), card=ById(view.card_id), status=status)
    if status in allowed:
        created(vault, view.card_id, action)
        submit(vault, page, *entered)
    else:
        assert reason_of(lambda: created(vault, view.card_id, action)) is Reason.CARD_STATUS
        assert reason_of(lambda: submit(vault, page, *entered)) is Reason.CARD_STATUS


def test_a_session_is_over_with_its_time(vault: Vault) -> None:
    page = page_of(vault, vault.add().card_id)
    vault.clock.now += 600
    assert reason_of(lambda: submit(vault, page, NEW)) is Reason.SESSION_REFUSED


def test_a_wrong_page_or_caller_sets_nothing(vault: Vault) -> None:
    view = vault.add()
    session_id, page_secret = page_of(vault, view.card_id)
    before = vault.snapshot()
    for page, caller in (
        ((session_id, "A" * 43), PAGE),
        (("A" * 24, page_secret), PAGE),
        ((session_id, page_secret), STRANGER),
    ):
        assert (
            reason_of(lambda page=page, caller=caller: submit(vault, page, NEW, caller=caller))
            is Reason.SESSION_REFUSED
        )
    assert vault.snapshot() == before


def test_a_reset_needs_a_pin(vault: Vault) -> None:
    page = page_of(vault, vault.add().card_id, SessionAction.RESET)
    assert reason_of(lambda: submit(vault, page, NEW)) is Reason.PIN_NOT_SET


def test_of_two_entries_at_once_one_sets_the_pin(vault: Vault) -> None:
    view = vault.add()
    page = page_of(vault, view.card_id)
    with Between(vault, "make", lambda: submit(vault, page, NEW)):
        assert reason_of(lambda: submit(vault, page, PIN)) is Reason.SESSION_REFUSED
    assert vault.checks(view.card_id, NEW).matches


def test_an_envelope_for_the_card_is_what_a_page_sends(vault: Vault) -> None:
    view = vault.add()
    session_id, page_secret = page_of(vault, view.card_id)
    vault.submit(
        call("SubmitPin", PAGE),
        session_id=session_id,
        page_secret=page_secret,
        current=None,
        new=vault.envelope(NEW, card=view.card_id),
    )
    assert vault.checks(view.card_id, NEW).matches

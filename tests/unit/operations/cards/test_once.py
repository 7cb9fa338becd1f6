"""Request ids: done once, told again for a day, free again after a refusal."""

from collections.abc import Callable

import pytest

from pinvault.model.cards import ById, TokenKind
from pinvault.model.errors import Reason
from pinvault.operations.cards.once import Request
from tests.support.vault import (
    CALLER,
    Between,
    Vault,
    call,
    reason_of,
    refused,
    rows,
)

PIN, WRONG, NEW = "7392", "4821", "8264"
FIRST, SECOND = Request("r-1", b"the first"), Request("r-1", b"the second")
HOUR, DAY = 3600, 86_400

ASK: dict[str, Callable[[Vault, str, Request], object]] = {
    "SetPin": lambda vault, card, request: vault.places(card, NEW, request=request),
    "ResetPin": lambda vault, card, request: vault.resets(card, NEW, request=request),
    "ChangePin": lambda vault, card, request: vault.changes(card, PIN, NEW, request=request),
    "ChangePin, wrong": lambda vault, card, request: vault.changes(
        card, WRONG, NEW, request=request
    ),
    "CheckPin": lambda vault, card, request: vault.checks(card, PIN, request=request),
    "CheckPin, wrong": lambda vault, card, request: vault.checks(card, WRONG, request=request),
    "RegisterCard": lambda vault, _, request: vault.add(
        sequence_number="77", external_id="icrd_1", request=request
    ),
}


@pytest.mark.parametrize("name", ASK)
def test_the_same_request_gets_the_same_answer_and_is_done_once(vault: Vault, name: str) -> None:
    ask, card = ASK[name], vault.add_with_pin().card_id
    answer = ask(vault, card, FIRST)
    before, called = vault.snapshot(), vault.device.calls.total()
    vault.clock.now += HOUR
    assert ask(vault, card, FIRST) == answer
    assert (vault.snapshot(), vault.device.calls.total()) == (before, called)


@pytest.mark.parametrize("name", ASK)
def test_an_answer_that_is_kept_holds_no_secret(vault: Vault, name: str) -> None:
    ASK[name](vault, vault.add_with_pin().card_id, FIRST)
    (row,) = vault.snapshot()["idempotency"]
    for secret in (PIN, NEW, WRONG, "4000001234562000", "the first"):
        assert secret not in row


@pytest.mark.parametrize("name", ASK)
def test_another_request_under_the_id_is_refused(vault: Vault, name: str) -> None:
    ask, card = ASK[name], vault.add_with_pin().card_id
    ask(vault, card, FIRST)
    before = vault.snapshot()
    refusal = refused(lambda: ask(vault, card, SECOND))
    assert (refusal.reason, refusal.field) == (Reason.REQUEST_ID_REUSED, "request_id")
    assert vault.snapshot() == before


def test_an_id_is_its_callers_and_its_methods(make_vault: Callable[..., Vault]) -> None:
    vault = make_vault(grants=(*rows(), *rows("second")))
    card = vault.add_with_pin().card_id
    vault.checks(card, PIN, request=FIRST)
    vault.places(card, NEW, request=SECOND)
    assert not vault.check(
        call("CheckPin", "second"), card=ById(card), source=vault.block(PIN), request=SECOND
    ).matches


def test_a_day_later_the_id_is_free(vault: Vault) -> None:
    card = vault.add_with_pin().card_id
    assert vault.checks(card, WRONG, request=FIRST).tries_left == 2
    vault.clock.now += DAY
    assert vault.checks(card, WRONG, request=FIRST).tries_left == 1


def test_an_answer_is_told_though_the_token_is_gone(vault: Vault) -> None:
    view = vault.add()
    token = vault.issue(
        call("IssueControlToken"), card=ById(view.card_id), kind=TokenKind.SET_PIN
    ).token
    answers = [
        vault.set(
            made := call("SetPin"),
            card=None,
            control_token=token,
            new=vault.block(),
            request=FIRST,
        )
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert (made.notes.card, made.notes.program) == (view.card_id, "debit")
    assert vault.told() == ["pin.set"]


REFUSED: dict[str, Callable[[Vault, str, Request], object]] = {
    "SetPin": lambda vault, card, request: vault.places(card, "1234", request=request),
    "ResetPin": lambda vault, card, request: vault.resets(card, "1234", request=request),
    "ChangePin": lambda vault, card, request: vault.changes(card, PIN, "1234", request=request),
    "RegisterCard": lambda vault, _, request: vault.add(request=request),
    "no PIN": lambda vault, _, request: vault.checks(
        vault.add(sequence_number="55").card_id, PIN, request=request
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_request_frees_its_id(vault: Vault, name: str) -> None:
    card = vault.add_with_pin().card_id
    refused(lambda: REFUSED[name](vault, card, FIRST))
    assert vault.snapshot()["idempotency"] == []


def test_a_blocked_pin_frees_the_id(vault: Vault) -> None:
    card = vault.add_with_pin().card_id
    for _ in range(3):
        vault.checks(card, WRONG)
    assert reason_of(lambda: vault.checks(card, PIN, request=FIRST)) is Reason.PIN_BLOCKED
    assert vault.snapshot()["idempotency"] == []


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("SetPin", "make"),
        ("ResetPin", "make"),
        ("ChangePin", "change"),
        ("CheckPin", "check"),
        ("RegisterCard", "seal_pan"),
    ],
)
def test_a_request_that_is_under_way_is_not_begun_again(
    vault: Vault, name: str, method: str
) -> None:
    ask, card = ASK[name], vault.add_with_pin().card_id
    met: list[Reason] = []

    def again() -> None:
        met.append(reason_of(lambda: ask(vault, card, FIRST)))
        met.append(reason_of(lambda: ask(vault, card, SECOND)))

    with Between(vault, method, again):
        ask(vault, card, FIRST)
    assert met == [Reason.REQUEST_IN_PROGRESS, Reason.REQUEST_ID_REUSED]


class Died(BaseException): ...


def die() -> None:
    raise Died


def test_a_request_whose_caller_died_is_done_again_after_its_lease(vault: Vault) -> None:
    card = vault.add_with_pin().card_id
    with Between(vault, "check", die), pytest.raises(Died):
        vault.checks(card, PIN, request=FIRST)
    vault.clock.now += 60
    assert reason_of(lambda: vault.checks(card, PIN, request=FIRST)) is Reason.REQUEST_IN_PROGRESS
    vault.clock.now += 31
    assert vault.checks(card, PIN, request=FIRST).matches


def test_who_was_overtaken_ends_nothing(vault: Vault) -> None:
    card = vault.add_with_pin().card_id

    def overtake() -> None:
        vault.clock.now += 100
        vault.places(card, NEW, request=FIRST)

    with Between(vault, "make", overtake):
        refusal = refused(lambda: vault.places(card, "5038", request=FIRST))
    assert refusal.reason in (Reason.PIN_CHANGED_MEANWHILE, Reason.REQUEST_IN_PROGRESS)
    assert vault.checks(card, NEW).matches
    assert vault.places(card, NEW, request=FIRST).card_id == card
    with Between(vault, "check", lambda: later(vault, card)):
        assert reason_of(lambda: vault.checks(card, NEW, request=FIRST)) is (
            Reason.REQUEST_IN_PROGRESS
        )


def later(vault: Vault, card: str) -> None:
    vault.clock.now += 100
    vault.checks(card, NEW, request=FIRST)


def test_without_an_id_nothing_is_kept(vault: Vault) -> None:
    vault.checks(vault.add_with_pin().card_id, PIN)
    assert vault.snapshot()["idempotency"] == []
    assert CALLER not in repr(vault.snapshot()["idempotency"])

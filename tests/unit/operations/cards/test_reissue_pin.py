"""ReissuePin: a PIN that was drawn is the card's before it leaves, and leaves for the partner."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pinvault.model.cards import ById, CardStatus, Window
from pinvault.model.errors import Reason
from pinvault.model.pin_rules import PinRules
from pinvault.model.profiles import PinLength
from tests.support.vault import (
    CALLER,
    NOW,
    PROGRAMS,
    Between,
    Vault,
    call,
    read_field,
    reason_of,
    refused,
    rows,
)


def issue(vault: Vault, card: str, profile: str = "partner", made=None):
    return vault.reissue(made or call("ReissuePin"), card=ById(card), profile=profile)


@pytest.mark.parametrize("program", ["debit", "credit", "prepaid"])
def test_the_pin_in_the_envelope_is_the_cards(vault: Vault, program: str) -> None:
    card = vault.add_with_pin(program=program).card_id
    made = call("ReissuePin")
    issued = issue(vault, card, made=made)
    pin = read_field(issued.envelope)
    assert (len(pin), issued.card_id, issued.set_at) == (4, card, NOW)
    assert vault.checks(card, pin).matches
    assert vault.told() == ["pin.reset", "pin.set"]
    assert issued.target_key.id == "partner/1"
    assert (made.notes.target, made.notes.card, made.notes.program) == ("partner", card, program)
    assert {key.id for key in made.notes.keys} == {
        "partner/1",
        *(key.id for key in issued.stored_keys),
    }
    for hidden in (pin, issued.envelope):
        assert hidden not in repr(issued)
    assert issued.envelope not in repr(vault.snapshot())


def test_only_an_offset_is_given_out_beside_it(vault: Vault) -> None:
    for number, program in enumerate(("debit", "credit"), start=1):
        card = vault.add(program=program, sequence_number=f"0{number}").card_id
        assert issue(vault, card).offset is None
    card = vault.add(program="prepaid").card_id
    issued = issue(vault, card)
    assert (issued.scheme, len(issued.offset.value)) == ("ibm", 4)
    with vault.store.read() as db:
        kept = db.exec_driver_sql("SELECT value FROM pin WHERE method LIKE 'offset:%'").scalar()
    assert kept == issued.offset.value


def test_it_sets_a_first_pin_and_lifts_the_block_of_another(vault: Vault) -> None:
    card = vault.add().card_id
    first = read_field(issue(vault, card).envelope)
    assert vault.told() == ["pin.set"]
    wrong = "8264" if first != "8264" else "8265"
    while not vault.card(card).pin.blocked:
        vault.checks(card, wrong)
    second = read_field(issue(vault, card).envelope)
    assert vault.checks(card, second).matches
    assert vault.told() == sorted(
        ["pin.set", "pin.checked.blocked", "pin.reset", "card.pin_unblocked"]
    )


def test_pins_are_drawn_by_the_programs_rules(make_vault: Callable[..., Vault]) -> None:
    """The least length; of rules that leave little, none that they refuse."""
    many = frozenset(f"{number:04}" for number in range(9000))
    rules = PinRules(name="cards", excluded=many)
    few = replace(PROGRAMS["debit"], rules=rules, changes=Window(count=50, period_s=86_400))
    vault = make_vault(programs=PROGRAMS | {"debit": few})
    card = vault.add().card_id
    drawn = {read_field(issue(vault, card).envelope) for _ in range(12)}
    assert len(drawn) > 6
    assert all(pin >= "9000" for pin in drawn)


def test_what_cannot_be_is_refused_before_the_hsm_is_touched(
    make_vault: Callable[..., Vault],
) -> None:
    longer = replace(PROGRAMS["credit"], pin_length=PinLength(minimum=6, maximum=6), rules=None)
    vault = make_vault(programs=PROGRAMS | {"credit": longer})
    card = vault.add_with_pin().card_id
    other = vault.add(program="credit", sequence_number="01").card_id
    called = vault.device.calls.total()
    for number, profile, reason in (
        (card, "sealed-card", Reason.PROFILE_MISMATCH),
        (card, "nobody", Reason.PROFILE_UNKNOWN),
        (other, "partner", Reason.PROFILE_MISMATCH),
        ("card_gggggggggggggggggggggggggg", "partner", Reason.CARD_UNKNOWN),
    ):
        refusal = refused(lambda card=number, profile=profile: issue(vault, card, profile))
        assert refusal.reason is reason
        assert refusal.field in ("", "profile")
    less = make_vault(grants=rows(CALLER, profiles=frozenset({"sealed-card"})))
    again = less.add(sequence_number="02").card_id
    before = less.device.calls.total()
    assert reason_of(lambda: issue(less, again)) is Reason.PROFILE_NOT_GRANTED
    assert (vault.device.calls.total(), less.device.calls.total()) == (called, before)


def test_status_and_velocity_are_those_of_a_reset(vault: Vault) -> None:
    card = vault.add_with_pin().card_id
    for _ in range(9):
        issue(vault, card)
    before = vault.snapshot()
    assert reason_of(lambda: issue(vault, card)) is Reason.CARD_RATE_EXCEEDED
    vault.set_status(call("SetCardStatus"), card=ById(card), status=CardStatus.SUSPENDED)
    assert reason_of(lambda: issue(vault, card)) is Reason.CARD_STATUS
    assert vault.snapshot("card") == {k: v for k, v in before.items() if k != "card"}


def test_a_pin_that_was_not_kept_does_not_leave(vault: Vault) -> None:
    card = vault.add_with_pin().card_id

    def meanwhile() -> None:
        vault.places(card, "8264")

    with Between(vault, "generate", meanwhile):
        assert reason_of(lambda: issue(vault, card)) is Reason.PIN_CHANGED_MEANWHILE
    assert vault.checks(card, "8264").matches


def test_what_goes_out_is_bound_to_the_cards_own_pan(vault: Vault) -> None:
    """The target is made before the PAN is opened; what the zone gets has it."""
    card = vault.add_with_pin().card_id
    seen = []
    real = vault.desk.zone.generate

    def watched(length, target, *rest):
        seen.append(target.pan)
        return real(length, target, *rest)

    vault.desk.zone.generate = watched
    issue(vault, card)
    assert [pan.digits() for pan in seen] == ["4000001234562000"]

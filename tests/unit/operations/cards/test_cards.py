"""Cards: registered once, found by three names, and seen by nobody whose rows do not name them."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pinvault.model.cards import ById, ByNumber, CardStatus
from pinvault.model.errors import Reason
from pinvault.model.pan import Pan
from tests.support.vault import (
    CALLER,
    NOW,
    OTHER_PAN,
    PAN,
    PROGRAMS,
    STRANGER,
    Vault,
    by_external_id,
    by_number,
    call,
    reason_of,
    refused,
    rows,
)

NOBODY = ById("card_gggggggggggggggggggggggggg")


def test_a_card_is_told_as_it_was_registered(vault: Vault) -> None:
    view = vault.add(external_id="icrd_7", status=CardStatus.INACTIVE)
    assert view == vault.card(view.card_id)
    assert (view.program, view.external_id, view.last_four) == ("debit", "icrd_7", "2000")
    assert (view.sequence_number, view.expiry, view.status) == ("00", "3012", "inactive")
    assert (view.pin, view.created_at) == (None, NOW)


def test_a_card_is_found_by_each_of_its_names(vault: Vault) -> None:
    view = vault.add(external_id="icrd_7", sequence_number="001")
    for ref in (
        ById(view.card_id),
        by_external_id("icrd_7"),
        by_number(),
        by_number(sequence_number="001"),
    ):
        assert vault.get(call("GetCard"), card=ref) == view


def test_the_pan_is_under_the_active_key_and_is_opened_by_the_rows_own(vault: Vault) -> None:
    view = vault.add()
    (row,) = vault.snapshot()["card"]
    assert "pan-store/2" in row
    assert PAN not in row
    vault.places(view.card_id, "7392")


@pytest.mark.parametrize(
    ("ref", "method"),
    [
        (NOBODY, "GetCard"),
        (by_external_id("nobody"), "GetCard"),
        (by_external_id("theirs", "other"), "GetCard"),
        (by_number(OTHER_PAN), "GetCard"),
        (by_number(sequence_number="99"), "GetCard"),
    ],
    ids=["id", "external id", "foreign external id", "foreign PAN", "sequence number"],
)
def test_what_is_not_the_callers_is_unknown(vault: Vault, ref, method: str) -> None:
    vault.add(external_id="icrd_7")
    vault.add(OTHER_PAN, program="other", external_id="theirs", caller=STRANGER)
    refusal = refused(lambda: vault.get(call(method), card=ref))
    assert (refusal.reason, refusal.field) == (Reason.CARD_UNKNOWN, "")


def test_a_foreign_card_is_unknown_to_every_method(vault: Vault) -> None:
    view = vault.add_with_pin(program="other", caller=STRANGER)
    card, block = ById(view.card_id), vault.block()
    for work in (
        lambda: vault.get(call("GetCard"), card=card),
        lambda: vault.set_status(call("SetCardStatus"), card=card, status=CardStatus.CLOSED),
        lambda: vault.issue(call("IssueControlToken"), card=card, kind="set-pin"),
        lambda: vault.set(call("SetPin"), card=card, control_token=None, new=block),
        lambda: vault.change(call("ChangePin"), card=card, current=block, new=block),
        lambda: vault.reset(call("ResetPin"), card=card, new=block),
        lambda: vault.check(call("CheckPin"), card=card, source=block),
        lambda: vault.unblock(call("UnblockPin"), card=card),
        lambda: vault.create_session(
            call("CreatePinSession"), card=card, action="set", origin="https://cards.example.org"
        ),
    ):
        before, called = vault.snapshot(), vault.device.calls.total()
        assert reason_of(work) is Reason.CARD_UNKNOWN
        assert (vault.snapshot(), vault.device.calls.total()) == (before, called)


def test_a_card_of_a_program_that_is_no_more_is_unknown(
    vault: Vault, make_vault: Callable[..., Vault]
) -> None:
    view = vault.add()
    less = {name: each for name, each in PROGRAMS.items() if name != "debit"}
    later = make_vault(programs=less)
    assert reason_of(lambda: later.card(view.card_id)) is Reason.CARD_UNKNOWN


def test_cards_that_share_a_pan_are_told_apart_by_program(vault: Vault) -> None:
    first, second = vault.add(), vault.add(program="credit", sequence_number="01")
    assert reason_of(lambda: vault.get(call("GetCard"), card=by_number())) is Reason.CARD_AMBIGUOUS
    for view in (first, second):
        named = ByNumber(Pan(PAN), None, view.program)
        assert vault.get(call("GetCard"), card=named) == view
    for program in ("prepaid", "other", "nobodys"):
        named = ByNumber(Pan(PAN), None, program)
        unknown = reason_of(lambda named=named: vault.get(call("GetCard"), card=named))
        assert unknown is Reason.CARD_UNKNOWN


def test_cards_that_share_a_pan_are_told_apart_by_sequence_number(vault: Vault) -> None:
    first, second = vault.add(), vault.add(sequence_number="01")
    assert reason_of(lambda: vault.get(call("GetCard"), card=by_number())) is Reason.CARD_AMBIGUOUS
    for view in (first, second):
        ref = by_number(sequence_number=view.sequence_number)
        assert vault.get(call("GetCard"), card=ref).card_id == view.card_id


def test_foreign_cards_make_none_ambiguous(vault: Vault) -> None:
    mine = vault.add()
    vault.add(program="other", sequence_number="01", caller=STRANGER)
    assert vault.get(call("GetCard"), card=by_number()).card_id == mine.card_id


@pytest.mark.parametrize(
    "again",
    [
        {"external_id": None},
        {"pan": OTHER_PAN, "external_id": "icrd_7"},
        {"program": "credit"},
    ],
    ids=["PAN and sequence number", "external id", "in another program"],
)
def test_a_card_is_registered_once(vault: Vault, again: dict[str, object]) -> None:
    vault.add(external_id="icrd_7")
    before = vault.snapshot()
    assert reason_of(lambda: vault.add(**again)) is Reason.CARD_ALREADY_EXISTS
    assert vault.snapshot() == before


def test_an_external_id_is_its_programs_own(vault: Vault) -> None:
    vault.add(external_id="icrd_7")
    vault.add(OTHER_PAN, program="credit", external_id="icrd_7")
    for program, last_four in (("debit", PAN[-4:]), ("credit", OTHER_PAN[-4:])):
        ref = by_external_id("icrd_7", program)
        assert vault.get(call("GetCard"), card=ref).last_four == last_four


@pytest.mark.parametrize(
    ("program", "reason"),
    [("gift", Reason.PROGRAM_UNKNOWN), ("other", Reason.PROGRAM_NOT_GRANTED)],
)
def test_a_program_is_there_and_granted(vault: Vault, program: str, reason: Reason) -> None:
    assert reason_of(lambda: vault.add(program=program)) is reason
    assert not vault.device.calls


def test_statuses_change_but_for_the_last(vault: Vault) -> None:
    view = vault.add(status=CardStatus.INACTIVE)

    def become(status: CardStatus):
        made = call("SetCardStatus")
        return vault.set_status(made, card=ById(view.card_id), status=status)

    for status in (CardStatus.ACTIVE, CardStatus.ACTIVE, CardStatus.SUSPENDED, CardStatus.INACTIVE):
        assert become(status) == vault.card(view.card_id) == replace(view, status=status)
    become(CardStatus.CLOSED)
    for status in CardStatus:
        if status is CardStatus.CLOSED:
            assert become(status).status is CardStatus.CLOSED
        else:
            refusal = refused(lambda status=status: become(status))
            assert (refusal.reason, refusal.field) == (Reason.CARD_STATUS, "status")


def test_the_record_names_card_program_and_pan(vault: Vault) -> None:
    made = call("RegisterCard")
    view = vault.register(
        made,
        program="debit",
        pan=by_number().pan,
        sequence_number=None,
        expiry="3012",
        status=CardStatus.ACTIVE,
        external_id=None,
    )
    assert (made.notes.card, made.notes.program) == (view.card_id, "debit")
    index = vault.desk.admission.pans.of(by_number().pan).hex()
    assert made.notes.pan_index == index
    vault.get(found := call("GetCard"), card=by_number())
    assert (found.notes.card, found.notes.pan_index) == (view.card_id, index)
    vault.check(
        checked := call("CheckPin"),
        card=ById(vault.add_with_pin(pan=OTHER_PAN).card_id),
        source=vault.block(pan=OTHER_PAN),
    )
    assert (checked.notes.program, checked.notes.sources) == ("debit", ["ISO_4"])
    assert [key.id for key in checked.notes.keys] == ["zpk/1", "pvk/1"]
    assert len(checked.notes.pan_index) == 64


def test_grants_that_name_nothing_let_nothing_pass(make_vault: Callable[..., Vault]) -> None:
    vault = make_vault(grants=rows(CALLER, programs=frozenset()))
    assert reason_of(vault.add) is Reason.PROGRAM_NOT_GRANTED
    assert reason_of(lambda: vault.card(NOBODY.card_id)) is Reason.CARD_UNKNOWN

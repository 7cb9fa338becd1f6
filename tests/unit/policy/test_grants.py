"""The grants table by example: what one row says, and what it does not."""

import pytest

from pinvault.model.errors import Reason, Refusal
from pinvault.model.pins import Format
from pinvault.policy.grants import Ask, Grant, Grants

METHOD = "PinBlockService.EncryptPin"
ROW = Grant(
    callers=frozenset({"atm", "pos"}),
    method=METHOD,
    keys=frozenset({"zpk-a", "zpk-b"}),
    formats=frozenset({Format.ISO_0, Format.ISO_3}),
    profiles=frozenset({"sealed"}),
    programs=frozenset({"debit"}),
)
ALL = Ask(keys=ROW.keys, formats=ROW.formats, profiles=ROW.profiles, programs=ROW.programs)


def reason_of(rows: list[Grant], ask: Ask, *, caller: str = "atm", method: str = METHOD) -> Reason:
    with pytest.raises(Refusal) as caught:
        Grants(rows).permit(ask, caller=caller, method=method)
    assert caught.value.field == ""
    return caught.value.reason


@pytest.mark.parametrize("caller", ["atm", "pos"])
@pytest.mark.parametrize("ask", [Ask(), ALL], ids=["nothing", "all of the row"])
def test_every_caller_of_a_row_gets_what_it_says(caller: str, ask: Ask) -> None:
    assert Grants([ROW]).permit(ask, caller=caller, method=METHOD) is ROW


def test_no_row_grants_nothing() -> None:
    assert reason_of([], Ask()) is Reason.METHOD_NOT_GRANTED


@pytest.mark.parametrize("caller", ["", "ATM", "atm ", "at", "atm2", "*"])
def test_callers_are_named_exactly(caller: str) -> None:
    assert reason_of([ROW], Ask(), caller=caller) is Reason.METHOD_NOT_GRANTED


@pytest.mark.parametrize(
    "method", ["", "PinBlockService", "PinBlockService.EncryptPinChange", "PinBlockService.*"]
)
def test_methods_are_named_exactly(method: str) -> None:
    assert reason_of([ROW], Ask(), method=method) is Reason.METHOD_NOT_GRANTED


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (Ask(keys=frozenset({"zpk-a", "zpk-c"})), Reason.KEY_NOT_GRANTED),
        (Ask(keys=frozenset({"zpk-a/1"})), Reason.KEY_NOT_GRANTED),
        (Ask(profiles=frozenset({"sealed", "partner"})), Reason.PROFILE_NOT_GRANTED),
        (Ask(formats=frozenset({Format.ISO_0, Format.ISO_4})), Reason.FORMAT_NOT_GRANTED),
        (Ask(programs=["credit"]), Reason.PROGRAM_NOT_GRANTED),
        (Ask(programs=["credit"], keys=["zpk-c"]), Reason.PROGRAM_NOT_GRANTED),
    ],
)
def test_what_a_row_does_not_name_is_told(ask: Ask, reason: Reason) -> None:
    assert reason_of([ROW], ask) is reason


def test_two_rows_do_not_add_up() -> None:
    callers = frozenset({"atm"})
    one = Grant(callers=callers, method=METHOD, keys=frozenset({"zpk-a"}))
    other = Grant(callers=callers, method=METHOD, keys=frozenset({"zpk-b"}))
    assert reason_of([one, other], Ask(keys=frozenset({"zpk-a", "zpk-b"}))) is (
        Reason.KEY_NOT_GRANTED
    )


def test_a_row_for_another_method_or_caller_does_not_help() -> None:
    elsewhere = Grant(callers=frozenset({"atm"}), method="KeyService.GetKey", keys=ROW.keys)
    others = Grant(callers=frozenset({"core"}), method=METHOD, keys=frozenset({"zpk-c"}))
    ask = Ask(keys=frozenset({"zpk-c"}))
    assert reason_of([ROW, elsewhere, others], ask) is Reason.KEY_NOT_GRANTED


def test_rows_are_found_by_caller_and_method_in_their_order() -> None:
    second = Grant(callers=frozenset({"atm"}), method=METHOD)
    grants = Grants([ROW, second])
    assert grants.rows(caller="atm", method=METHOD) == (ROW, second)
    assert grants.rows(caller="pos", method=METHOD) == (ROW,)
    with pytest.raises(Refusal) as caught:
        grants.rows(caller="core", method=METHOD)
    assert caught.value.reason is Reason.METHOD_NOT_GRANTED

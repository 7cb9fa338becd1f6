"""The grants table against brute force: one row covers all of a call, or the call is refused."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pinvault.model.errors import Reason, Refusal
from pinvault.model.pins import Format
from pinvault.policy.grants import Ask, Grant, Grants

CALLERS = ("atm", "pos")
METHODS = ("EncryptPin", "SetPin")

keys = st.frozensets(st.sampled_from(["zpk-a", "zpk-b", "zpk-c"]))
formats = st.frozensets(st.sampled_from(Format))
profiles = st.frozensets(st.sampled_from(["sealed", "partner"]))
programs = st.frozensets(st.sampled_from(["debit", "credit"]))

rows = st.lists(
    st.builds(
        Grant,
        callers=st.frozensets(st.sampled_from(CALLERS), min_size=1),
        method=st.sampled_from(METHODS),
        keys=keys,
        formats=formats,
        profiles=profiles,
        programs=programs,
        per_caller=st.none(),
        per_pan=st.none(),
    ),
    max_size=5,
)
asks = st.builds(Ask, keys=keys, formats=formats, profiles=profiles, programs=programs)
callers = st.sampled_from(CALLERS)
methods = st.sampled_from(METHODS)

bounded = settings(max_examples=400)


def answer(table: list[Grant], ask: Ask, caller: str, method: str) -> Grant | Reason:
    try:
        return Grants(table).permit(ask, caller=caller, method=method)
    except Refusal as refusal:
        return refusal.reason


def brute_force(table: list[Grant], ask: Ask, caller: str, method: str) -> Grant | Reason:
    """Look at every row for every single thing, in the order in which refusals are told."""
    left = [row for row in table if caller in row.callers and row.method == method]
    if not left:
        return Reason.METHOD_NOT_GRANTED
    for reason, wanted in (
        (Reason.PROGRAM_NOT_GRANTED, [("programs", each) for each in ask.programs]),
        (Reason.KEY_NOT_GRANTED, [("keys", each) for each in ask.keys]),
        (Reason.PROFILE_NOT_GRANTED, [("profiles", each) for each in ask.profiles]),
        (Reason.FORMAT_NOT_GRANTED, [("formats", each) for each in ask.formats]),
    ):
        for member, each in wanted:
            left = [row for row in left if each in getattr(row, member)]
        if not left:
            return reason
    return left[0]


@bounded
@given(table=rows, ask=asks, caller=callers, method=methods)
def test_the_answer_is_that_of_brute_force(
    table: list[Grant], ask: Ask, caller: str, method: str
) -> None:
    expected = brute_force(table, ask, caller, method)
    found = answer(table, ask, caller, method)
    assert found is expected


@bounded
@given(table=rows, ask=asks, caller=callers, method=methods)
def test_a_call_passes_exactly_when_one_row_alone_lets_it_pass(
    table: list[Grant], ask: Ask, caller: str, method: str
) -> None:
    alone = [row for row in table if isinstance(answer([row], ask, caller, method), Grant)]
    found = answer(table, ask, caller, method)
    assert isinstance(found, Grant) is bool(alone)
    if alone:
        assert found is alone[0]


@bounded
@given(table=rows, more=rows, ask=asks, caller=callers, method=methods)
def test_more_rows_take_nothing_away(
    table: list[Grant], more: list[Grant], ask: Ask, caller: str, method: str
) -> None:
    found = answer(table, ask, caller, method)
    if isinstance(found, Grant):
        assert answer([*table, *more], ask, caller, method) is found


@bounded
@given(row=rows.filter(bool).map(lambda table: table[0]), ask=asks)
def test_a_row_cut_in_two_grants_no_more_than_it_did(row: Grant, ask: Ask) -> None:
    """What a call needs of both halves is refused, though together they name it all."""
    caller = min(row.callers)
    halves = [replace(row, keys=row.keys & {"zpk-a"}), replace(row, keys=row.keys - {"zpk-a"})]
    whole, cut = (answer(table, ask, caller, row.method) for table in ([row], halves))
    needs_both = "zpk-a" in ask.keys and len(ask.keys) > 1
    assert isinstance(cut, Grant) is (isinstance(whole, Grant) and not needs_both)

"""docs/recovery.md: its table is the one that recovery goes by, and its numbers are those of today.

`python -m tests.chaos.test_recovery_page` writes the table anew.
"""

import re
from pathlib import Path

from hsm import pauses, recovery
from hsm.errors import RETURN_VALUES, UNKNOWN, Fault, ReturnValue
from hsm.recovery import Rung

PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"
BEGIN, END = "<!-- return values -->\n", "<!-- end -->\n"
RUNGS = {
    Rung.RETRY: "call again",
    Rung.FIND: "find the key again",
    Rung.SESSION: "open a new session",
    Rung.LIBRARY: "reinitialise the library",
}
_LOST = "`KeySealed` while other keys answer, else `HsmUnavailable`"
LASTING = {
    Fault.DATA: "`HsmDataRefused`, at once",
    Fault.REFUSAL: "`HsmConfigurationError`, or as below where data can be to blame",
    Fault.UNCLEAR: "`HsmDataRefused` where data can be to blame and the key's known answer is"
    " right, else as below",
    Fault.HANDLE: _LOST,
    Fault.SESSION: _LOST,
    Fault.LIBRARY: _LOST,
    Fault.LOGIN: "`HsmUnavailable`, until the process ends",
}


def table() -> str:
    """One row a fault: what it says, its return values, where recovery begins, how it ends."""
    rows = [
        "| what it says | return values | begins with | where nothing helps |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| {fault.value} | {_names(fault)} | {_first(fault)} | {LASTING[fault]} |"
        for fault in Fault
    ]
    return "\n".join(rows) + "\n"


def _names(fault: Fault) -> str:
    values: list[ReturnValue] = [*RETURN_VALUES.values(), UNKNOWN]
    return ", ".join(value.name.removeprefix("CKR_") for value in values if value.fault is fault)


def _first(fault: Fault) -> str:
    rung = recovery._ENTRY.get(fault)
    return "nothing" if rung is None else RUNGS[rung]


def test_the_table_is_that_of_the_code():
    assert PAGE.read_text().partition(BEGIN)[2].partition(END)[0] == table()


def test_every_rung_is_told_in_its_order():
    told = re.findall(r"^\d\. \*\*(.+?)\*\*", PAGE.read_text(), re.MULTILINE)
    assert [name.lower() for name in told] == ["call", *RUNGS.values()]


def test_the_pauses_are_those_of_the_code():
    text = PAGE.read_text()
    assert f"{pauses.FIRST_PAUSE:g} s" in text
    assert f"{pauses.LONGEST_PAUSE:g} s" in text


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2])

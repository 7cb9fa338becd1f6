"""What `pinvault reencrypt` says: how far it is, and which rows were left."""

import pytest

from pinvault.cli import progress
from pinvault.cli.progress import Meter
from pinvault.cli.reencrypt import MOST_TOLD, Tally
from pinvault.operations.reencrypt import Fault, Left, Step
from tests.support.stored import generations

_, DIRECTORY = generations(2)


def tally() -> Tally:
    return Tally("card.pan", DIRECTORY.find("pan-store/2", field=""))


def left(number: int) -> Left:
    return Left(f"card {number}", "pan-store/1", Fault.UNREADABLE)


def test_a_row_is_told_once_and_so_many_in_all() -> None:
    """A pass that follows meets it again; the count goes on."""
    told = tally()
    first = Step(rows=5, moved=3, left=(left(1), left(2)), done=1, total=2)
    assert list(told.add(first)) == [
        f"card.pan of card {number}, pan-store/1: {Fault.UNREADABLE}" for number in (1, 2)
    ]
    assert list(told.add(first)) == []
    many = Step(left=tuple(map(left, range(1000))), done=2, total=2)
    assert len(list(told.add(many))) == MOST_TOLD - 2
    told.others = {"pan-store/1": 1000}
    assert told.row() == ("card.pan", "pan-store/2", "10", "6", "1,000", "pan-store/1: 1,000")


def test_without_a_terminal_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Meter("card.pan") as meter:
        for second in range(0, 12, 2):
            now = 100.0 + second
            meter.show(rows=1000, done=second, total=40)
    assert capsys.readouterr().err.splitlines() == [
        "card.pan: 15%, 667 rows/s, 0:00:34 left",
    ]

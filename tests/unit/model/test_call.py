"""A deadline refuses when it has passed, and notes name each key once."""

import time

import pytest

from pinvault.model.call import Deadline, Notes
from pinvault.model.errors import Reason, Refusal
from tests.support.software_device import key


def test_a_deadline_gives_what_is_left() -> None:
    assert 59 < Deadline.after(60).remaining() <= 60


@pytest.mark.parametrize("seconds", [0, -1e-9, -60])
def test_a_passed_deadline_refuses(seconds: float) -> None:
    with pytest.raises(Refusal) as caught:
        Deadline(time.monotonic() + seconds).remaining()
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED


def test_keys_that_opened_are_noted_once() -> None:
    zpk, seal = key("zpk", "P0", "TDES_2KEY", "B"), key("seal", "D1", "RSA_2048", "D")
    notes = Notes(keys=[zpk])
    notes.opened_by(seal, zpk)
    notes.opened_by(seal)
    assert notes.keys == [zpk, seal]


def test_two_calls_do_not_share_their_notes() -> None:
    Notes().keys.append(key("zpk", "P0", "TDES_2KEY", "B"))
    assert Notes().keys == []

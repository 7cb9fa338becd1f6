"""Pauses of what is lost: longer each time, up to a bound, and never for what is not lost."""

import math

from hsm.pauses import Pause


def test_pauses_double_up_to_a_bound():
    now, pause, lengths = 100.0, Pause(), []
    for _ in range(9):
        pause = pause.longer(now)
        assert pause.is_set
        assert pause.is_running(math.nextafter(pause._until, 0))
        assert not pause.is_running(pause._until)
        lengths.append(pause._until - now)
        now = pause._until
    assert lengths == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_what_is_not_lost_is_not_paused_and_what_is_changed_is_for_ever():
    assert not Pause().is_set
    assert not Pause().is_running(-1e9)
    assert Pause.for_ever().is_set
    assert Pause.for_ever().is_running(1e9)

"""Whatever fails to open leaves with one face, on the quantum, and with nothing hanging on it."""

import time

import pytest

from hsm.errors import HsmDataRefused, HsmTimeout, HsmUnavailable, KeySealed
from pinvault.clearzone.one_face import HSM_RETRY_AFTER_S, one_face
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.call import Deadline
from pinvault.model.errors import TEXTS, Reason, Refusal
from pinvault.model.faults import ClearedFault

QUANTUM_S = 0.02
FAR_S = 60.0


def failing_with(error: Exception):
    def work() -> None:
        raise error

    return work


def refusal_of(work, *, quantum_s: float = 0.001, deadline_s: float = FAR_S) -> Refusal:
    with pytest.raises(Refusal) as caught:
        one_face(work, quantum_s=quantum_s, deadline=Deadline.after(deadline_s))
    return caught.value


def face(refusal: Refusal) -> tuple:
    return (
        refusal.reason,
        refusal.args,
        refusal.field,
        refusal.violations,
        refusal.retry_after_s,
        refusal.cause,
    )


SAME_FACE = {
    "malformed": Malformed(),
    "data refused": HsmDataRefused(),
    "data refused with facts": HsmDataRefused("padding", key="zpk/1"),
    "a refusal with facts": Refusal(Reason.PIN_SOURCE_REFUSED, field="source"),
}


@pytest.mark.parametrize("error", SAME_FACE.values(), ids=SAME_FACE)
def test_every_decipher_failure_has_the_one_face(error: Exception) -> None:
    refusal = refusal_of(failing_with(error))
    reason = Reason.PIN_SOURCE_REFUSED
    assert face(refusal) == (reason, (TEXTS[reason],), "", (), None, "")


@pytest.mark.parametrize("error", SAME_FACE.values(), ids=SAME_FACE)
def test_nothing_hangs_on_a_refusal(error: Exception) -> None:
    refusal = refusal_of(failing_with(error))
    assert refusal.__context__ is None
    assert refusal.__cause__ is None
    assert refusal is not error


def test_the_frames_in_which_work_was_done_do_not_hang_on_a_refusal() -> None:
    def work() -> None:
        opened = Pin(b"7392")
        with opened:
            raise Malformed

    trace, names = refusal_of(work).__traceback__, []
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == "one_face"
    assert "work" not in names


def test_what_the_hsm_and_the_clock_do_is_no_fault_of_the_source() -> None:
    timeout = refusal_of(failing_with(HsmTimeout()))
    assert face(timeout)[0] is Reason.DEADLINE_EXCEEDED
    for error in (HsmUnavailable(), KeySealed(key="zpk/1")):
        away = refusal_of(failing_with(error))
        assert away.reason is Reason.HSM_UNAVAILABLE
        assert away.retry_after_s == HSM_RETRY_AFTER_S
        assert away.__context__ is None


def test_other_refusals_keep_what_they_tell_and_lose_their_frames() -> None:
    inside = Refusal(Reason.ENVELOPE_EXPIRED, cause="expired", retry_after_s=1.5)
    refusal = refusal_of(failing_with(inside))
    assert refusal is not inside
    assert (refusal.reason, refusal.cause, refusal.retry_after_s) == (
        Reason.ENVELOPE_EXPIRED,
        "expired",
        1.5,
    )
    assert refusal.__context__ is None


def test_a_fault_of_our_own_leaves_as_its_kind_and_places_and_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(ClearedFault) as caught:
        one_face(failing_with(KeyError("7392")), quantum_s=30, deadline=Deadline.after(FAR_S))
    assert caught.value.kind == "KeyError"
    assert any(frame.endswith(" work") for frame in caught.value.frames)
    assert "7392" not in f"{caught.value!r} {caught.value.frames}"
    assert caught.value.__context__ is None
    assert time.monotonic() - began < 10


def test_an_answer_passes_at_once() -> None:
    began = time.monotonic()
    answer = object()
    assert one_face(lambda: answer, quantum_s=5, deadline=Deadline.after(FAR_S)) is answer
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("quanta", [0, 0.3, 1.2, 2.5])
def test_a_refusal_leaves_at_a_whole_multiple_of_the_quantum(quanta: float) -> None:
    def work() -> None:
        time.sleep(quanta * QUANTUM_S)
        raise Malformed

    began = time.monotonic()
    refusal_of(work, quantum_s=QUANTUM_S)
    elapsed = time.monotonic() - began
    assert elapsed >= (int(quanta) + 1) * QUANTUM_S


def test_waiting_ends_with_the_deadline_and_the_face_stays() -> None:
    began = time.monotonic()
    refusal = refusal_of(failing_with(Malformed()), quantum_s=30, deadline_s=0.01)
    assert refusal.reason is Reason.PIN_SOURCE_REFUSED
    assert 0.01 <= time.monotonic() - began < 10


def test_what_is_no_decipher_failure_does_not_wait() -> None:
    began = time.monotonic()
    refusal_of(failing_with(HsmUnavailable()), quantum_s=30)
    assert time.monotonic() - began < 10

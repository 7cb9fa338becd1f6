"""Every return value at every call of every operation: the right answer, or the right error.

What is gone through are all products of a piece of work, the state it finds the device in, a way to
fail, a call and a return value. The suite takes every STEPth of them; PINVAULT_CHAOS_STEP=1 takes
all.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product

import pytest

from hsm.device import Device, DeviceStatus
from hsm.errors import (
    RETURN_VALUES,
    Fault,
    HsmConfigurationError,
    HsmDataRefused,
    HsmError,
    HsmUnavailable,
    ReturnValue,
)
from tests.chaos.works import Work, open_garbage, works

STEP = int(os.environ.get("PINVAULT_CHAOS_STEP", "211"))
"""A prime, so that every return value and nearly every call comes along."""
WITHIN_S = 1.0
"""Seconds after a fault in which everything works again."""
EVERY_CALL = 1_000_000
CODES = {value.name: value.code for value in RETURN_VALUES.values()}
KNOWN, LOST = "keys known", "session lost"
ONCE, ANSWER_LOST, LASTING = "once", "answer lost", "lasting"
NAMES = (
    *("encipher", "decipher", "rsa_decrypt", "with_derived", "with_unwrapped"),
    *("agree", "mac", "sign", "random", "probe"),
)

# A search that a fault cut off is ended by python-pkcs11's finaliser, which may fail as well.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def device(open_works, clock) -> Device:
    device = open_works(clock=clock, inspect=False)
    device._link._review = True
    return device


@dataclass(frozen=True)
class Trial:
    """One fault: where it strikes, how long, and what the call that it strikes is for."""

    state: str
    way: str
    nth: int
    value: ReturnValue
    reaches_task: bool
    """Whether it may strike the caller's own task, and not only what goes before it."""

    @property
    def is_alone(self) -> bool:
        """Whether it is the only thing that is wrong."""
        return self.state == KNOWN and self.way != LASTING


def prepare(device: Device, work: Work, state: str) -> None:
    work.do()
    if state == LOST:
        device._link.disconnect()


def trials(device: Device, work: Work, shim) -> Iterator[Trial]:
    """Every fault that can strike a piece of work. The calls of the task come last."""
    counted = {}
    for state in (KNOWN, LOST):
        prepare(device, work, state)
        begin = shim.calls()
        work.do()
        counted[state] = shim.calls() - begin
    task = counted[LOST] if work.name == "probe" else counted[KNOWN]
    for state, calls in counted.items():
        ways = (ONCE, ANSWER_LOST, LASTING)
        for way, nth, value in product(ways, range(1, calls + 1), RETURN_VALUES.values()):
            yield Trial(state, way, nth, value, nth > calls - task)


def errors_of(trial: Trial) -> tuple[type[HsmError], ...]:
    """What a caller may get instead of the right answer."""
    if trial.reaches_task and trial.value.fault is Fault.DATA:
        return (HsmDataRefused, HsmUnavailable)
    if trial.is_alone:
        return (HsmUnavailable,) if trial.value.fault is Fault.LOGIN else ()
    # An attribute that a token may lack hides a refusal to tell it, and the task meets it too.
    if trial.value.fault is Fault.REFUSAL and (trial.reaches_task or trial.way == LASTING):
        return (HsmConfigurationError, HsmUnavailable)
    return (HsmUnavailable,)


def undergo(trial: Trial, device: Device, work: Work, shim) -> None:
    """The right answer, or an error that the trial may end in."""
    prepare(device, work, trial.state)
    times = EVERY_CALL if trial.way == LASTING else 1
    after = trial.way == ANSWER_LOST
    shim.strike(trial.value.code, nth=trial.nth, times=times, after=after)
    try:
        work.do()
    except errors_of(trial):
        return
    except HsmError as error:
        pytest.fail(f"{trial} ended in {error!r}")
    finally:
        shim.relent()


def works_again(device: Device, work: Work, clock: Clock) -> None:
    clock.now += WITHIN_S
    work.do()
    assert device.status is DeviceStatus.SERVING
    assert device.sealed_keys == frozenset()


def stays_down(device: Device, work: Work, shim) -> None:
    """After a refused login nothing touches the token, until the next trial forgives it."""
    tried = shim.calls()
    with pytest.raises(HsmUnavailable):
        work.do()
    assert shim.calls() == tried
    assert device.status is DeviceStatus.DOWN
    device._link._login_refused = False


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_at_any_call_gives_no_wrong_answer_and_leaves_nothing_behind(
    device, shim, clock, name
):
    work = works(device)[name]
    taken = 0
    for trial in islice(trials(device, work, shim), NAMES.index(name), None, STEP):
        taken += 1
        undergo(trial, device, work, shim)
        if device._link._login_refused:
            assert trial.value.fault is Fault.LOGIN
            stays_down(device, work, shim)
        works_again(device, work, clock)
    print(f"{name}: {taken} faults")


ON_THE_WAY = (
    *("C_GetSlotList", "C_GetTokenInfo", "C_OpenSession"),
    *("C_FindObjectsInit", "C_FindObjects", "C_GetAttributeValue"),
)
ABOUT_A_CALL = [
    value for value in RETURN_VALUES.values() if value.fault in (Fault.DATA, Fault.REFUSAL)
][::5]


@pytest.mark.parametrize("name", ["rsa_decrypt", "with_unwrapped"])
@pytest.mark.parametrize("function", ON_THE_WAY)
def test_what_fails_on_the_way_is_not_blamed_on_the_data(device, shim, clock, name, function):
    work = works(device)[name]
    for value in ABOUT_A_CALL:
        prepare(device, work, LOST)
        shim.strike(value.code, function=function)
        try:
            work.do()
        except HsmUnavailable:
            shim.relent()
        works_again(device, work, clock)


@pytest.mark.parametrize(
    "answer", ["CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_ARGUMENTS_BAD"]
)
@pytest.mark.parametrize(
    ("name", "function"), [("rsa_decrypt", "C_Decrypt"), ("with_unwrapped", "C_UnwrapKey")]
)
def test_a_dead_engine_is_not_blamed_on_good_data(device, shim, clock, name, function, answer):
    """Other keys may still give their known answers; that of the key itself tells."""
    work = works(device)[name]
    work.do()
    shim.strike(CODES[answer], function=function, times=EVERY_CALL)
    with pytest.raises((HsmUnavailable, HsmConfigurationError)):
        work.do()
    shim.relent()
    works_again(device, work, clock)


@pytest.mark.parametrize("name", ["rsa_decrypt", "with_unwrapped"])
@pytest.mark.parametrize("state", [KNOWN, LOST])
def test_bad_data_are_refused_and_cost_nothing_else(device, clock, name, state):
    """Also as the first thing after a loss, when the device has yet to prove itself."""
    work = works(device)[name]
    for _ in range(3):
        prepare(device, work, state)
        with pytest.raises(HsmDataRefused):
            open_garbage(device, name)
        assert device.status is DeviceStatus.SERVING
        assert device.sealed_keys == frozenset()
    works_again(device, work, clock)


@pytest.mark.parametrize("answer", ["CKR_DEVICE_REMOVED", "CKR_FUNCTION_FAILED"])
def test_one_attribute_that_is_not_told_after_a_loss_seals_no_key_for_good(
    device, shim, clock, answer
):
    """What one look does not see is no statement about the key."""
    work = works(device)["agree"]
    prepare(device, work, LOST)
    begin = shim.calls("C_GetAttributeValue")
    work.do()
    for nth in range(1, shim.calls("C_GetAttributeValue") - begin + 1, 3):
        prepare(device, work, LOST)
        shim.strike(CODES[answer], function="C_GetAttributeValue", nth=nth)
        try:
            work.do()
        except HsmUnavailable:
            shim.relent()
        works_again(device, work, clock)


@pytest.mark.parametrize(("function", "lost"), [("C_Finalize", False), ("C_Initialize", True)])
def test_a_library_that_could_not_be_left_once_is_left_the_next_time(
    device, shim, clock, function, lost
):
    """Else nothing would be reinitialised again, and no token that was restarted found again."""
    work = works(device)["random"]
    prepare(device, work, LOST)
    shim.strike(CODES["CKR_DEVICE_ERROR"], function=function, after=lost)
    try:
        work.do()
    except HsmUnavailable:
        shim.relent()
    works_again(device, work, clock)
    for _ in range(2):
        prepare(device, work, LOST)
        finalized = shim.calls("C_Finalize")
        work.do()
        assert shim.calls("C_Finalize") == finalized + 1

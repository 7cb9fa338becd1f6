"""The shim itself: it passes everything on, counts it, and does what it is told and no more."""

import ctypes
import os
import shutil
import time

import pytest
from pkcs11 import Mechanism
from pkcs11.exceptions import PKCS11Error

from hsm import softhsm
from tests.support.shim import ANY, FUNCTIONS

CKR_GENERAL_ERROR = 0x05
BLOCK = bytes(16)


class List(ctypes.Structure):
    """CK_FUNCTION_LIST (PKCS#11 v2.40 base, 3.7): a version, then a pointer to each function."""

    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * 68))


def outcome_of(call):
    """The name of what a call raises, or that it works."""
    try:
        call()
    except PKCS11Error as error:
        return type(error).__name__
    return "works"


def test_it_knows_the_functions_of_the_standard_in_their_order():
    module = ctypes.CDLL(str(softhsm.find_module(os.environ)))
    listed = ctypes.POINTER(List)()
    assert module.C_GetFunctionList(ctypes.byref(listed)) == 0
    symbols = [ctypes.cast(getattr(module, name), ctypes.c_void_p).value for name in FUNCTIONS[1:]]
    assert symbols == list(listed.contents.functions)


def test_it_counts_every_call_under_its_name(open_device, shim):
    device = open_device()
    before = {name: shim.calls(name) for name in FUNCTIONS}
    device.encipher("aes/1", BLOCK, timeout=5)
    device.random(8, timeout=5)
    counted = {name: shim.calls(name) - before[name] for name in FUNCTIONS}
    # python-pkcs11 asks for the length of the result before it asks for the result.
    wanted = {ANY: 4, "C_EncryptInit": 1, "C_Encrypt": 2, "C_GenerateRandom": 1}
    assert {name: count for name, count in counted.items() if count} == wanted


def test_a_slow_function_takes_its_time_and_others_do_not(open_device, shim):
    device = open_device()
    shim.slow(0.05, functions=("C_GenerateRandom",))
    began = time.monotonic()
    device.random(8, timeout=5)
    assert time.monotonic() - began >= 0.05
    shim.slow(10.0, functions=("C_Login",))
    device.encipher("aes/1", BLOCK, timeout=5)


@pytest.mark.parametrize("function", [ANY, "C_GenerateRandom"])
def test_only_the_calls_that_are_named_are_struck(open_device, shim, function):
    session = open_device()._link._session
    shim.strike(CKR_GENERAL_ERROR, function=function, nth=2, times=2)
    outcomes = [outcome_of(lambda: session.generate_random(64)) for _ in range(5)]
    assert outcomes == ["works", "GeneralError", "GeneralError", "works", "works"]


@pytest.mark.parametrize(("after", "then"), [(False, "works"), (True, "OperationActive")])
def test_the_token_does_the_work_of_a_struck_call_only_if_told_so(open_device, shim, after, then):
    device = open_device()
    key = device._link._live(device._serving.entries["aes/1"]).operative
    shim.strike(CKR_GENERAL_ERROR, function="C_EncryptInit", after=after)
    assert outcome_of(lambda: key.encrypt(BLOCK, mechanism=Mechanism.AES_ECB)) == "GeneralError"
    assert outcome_of(lambda: key.encrypt(BLOCK, mechanism=Mechanism.AES_ECB)) == then


@pytest.mark.parametrize("variable", ["PINVAULT_SHIM_MODULE", "PINVAULT_SHIM_CONTROL"])
def test_without_a_module_or_controls_it_gives_no_functions(
    shimmed, monkeypatch, tmp_path, variable
):
    another = shutil.copy(shimmed.location.module, tmp_path)  # with static variables of its own
    for name, value in shimmed.shim.environment.items():
        monkeypatch.setenv(name, str(tmp_path / "nothing") if name == variable else value)
    listed = ctypes.c_void_p()
    assert ctypes.CDLL(another).C_GetFunctionList(ctypes.byref(listed)) == CKR_GENERAL_ERROR
    assert listed.value is None

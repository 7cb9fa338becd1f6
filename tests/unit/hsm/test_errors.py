"""Return values of PKCS#11: what each one says, including those python-pkcs11 leaves unmapped."""

import copy
import pickle

import pkcs11
import pytest
from pkcs11 import exceptions
from pkcs11.exceptions import PKCS11Error

from hsm import errors
from hsm.errors import Fault, HsmError, HsmUnavailable, KeyringError, return_value


@pytest.mark.parametrize(
    ("error", "name", "fault"),
    [
        (exceptions.GeneralError(), "CKR_GENERAL_ERROR", Fault.UNCLEAR),
        (exceptions.DeviceError(), "CKR_DEVICE_ERROR", Fault.LIBRARY),
        (exceptions.SessionHandleInvalid(), "CKR_SESSION_HANDLE_INVALID", Fault.SESSION),
        (exceptions.ObjectHandleInvalid(), "CKR_OBJECT_HANDLE_INVALID", Fault.HANDLE),
        (exceptions.EncryptedDataInvalid(), "CKR_ENCRYPTED_DATA_INVALID", Fault.DATA),
        (exceptions.PinIncorrect(), "CKR_PIN_INCORRECT", Fault.LOGIN),
        (exceptions.PinLocked(), "CKR_PIN_LOCKED", Fault.LOGIN),
        (PKCS11Error("Unmapped error code 0x1b"), "CKR_ACTION_PROHIBITED", Fault.REFUSAL),
        (PKCS11Error("Unmapped error code 0x68"), "CKR_KEY_FUNCTION_NOT_PERMITTED", Fault.REFUSAL),
        (
            PKCS11Error("Initialisation error (not initialized). Should never see this."),
            "CKR_CRYPTOKI_NOT_INITIALIZED",
            Fault.LIBRARY,
        ),
        (PKCS11Error("Unmapped error code 0x80000001"), "CKR_UNKNOWN", Fault.UNCLEAR),
        (PKCS11Error("anything else"), "CKR_UNKNOWN", Fault.UNCLEAR),
    ],
)
def test_reading(error, name, fault):
    value = return_value(error)
    assert (value.name, value.fault) == (name, fault)


def test_codes_are_those_of_the_standard():
    assert errors.RETURN_VALUES[0x05].name == "CKR_GENERAL_ERROR"
    assert errors.RETURN_VALUES[0xA0].name == "CKR_PIN_INCORRECT"
    assert all(value.code == code for code, value in errors.RETURN_VALUES.items())
    assert len({value.name for value in errors.RETURN_VALUES.values()}) == len(errors.RETURN_VALUES)


def test_no_login_fault_is_ever_retried():
    pins = [each for each in vars(pkcs11.exceptions) if each.startswith("Pin")]
    faults = {
        name: return_value(getattr(exceptions, name)()).fault
        for name in pins
        if name != "PinTooWeak"
    }
    assert set(faults.values()) == {Fault.LOGIN}


def test_an_error_survives_copying_and_pickling():
    error = KeyringError("two keys have one id", file="ring.toml", key="a/1")
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is KeyringError
        assert str(again) == "two keys have one id (file: ring.toml, key: a/1)"
        assert again.facts == error.facts


def test_the_tree():
    assert issubclass(errors.HsmTimeout, HsmUnavailable)
    assert issubclass(errors.KeySealed, HsmUnavailable)
    assert not issubclass(errors.HsmDataRefused, HsmUnavailable)
    for name in ("KeyringError", "InspectionFailed", "TokenNotFound", "HsmLoginFailed"):
        assert issubclass(getattr(errors, name), errors.HsmConfigurationError)
    assert issubclass(errors.HsmConfigurationError, HsmError)

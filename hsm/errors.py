"""What can go wrong between a caller and a token, and what each PKCS#11 return value means.

Rules:
- Texts are constant; facts (key ids, paths, return-value names) are in `facts`. No input data ever
  is: not a plaintext, not a ciphertext, not a PIN of the token.
- A caller learns one of three things: try later (`HsmUnavailable`), never with these data
  (`HsmDataRefused`, which does not say why), or fix the set-up (`HsmConfigurationError`).
- A return value that is not in the table is treated as a fault of the device, never as success and
  never as a statement about the data.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final

from pkcs11 import exceptions as pkcs11_errors
from pkcs11.exceptions import PKCS11Error


class HsmError(Exception):
    """Base of every error of this package: a constant text, and facts by name in `facts`."""

    text = "the HSM failed"

    def __init__(self, text: str | None = None, /, **facts: str) -> None:
        constant = text or self.text
        details = ", ".join(f"{name}: {value}" for name, value in facts.items())
        super().__init__(f"{constant} ({details})" if details else constant)
        self.facts: Mapping[str, str] = facts

    @property
    def problem(self) -> str:
        """The text and the facts in one line, without the remedy."""
        remedy = self.facts.get("remedy")
        text = str(self)
        return text if remedy is None else text.replace(f", remedy: {remedy}", "")


class HsmUnavailable(HsmError):
    """The token is gone or being recovered: the same call may succeed later."""

    text = "the HSM is unavailable"


class HsmTimeout(HsmUnavailable):
    """The caller's time ran out while it waited for the lane."""

    text = "the HSM did not answer in time"


class KeySealed(HsmUnavailable):
    """One key is lost or is not the key it was; the others still serve."""

    text = "the key is sealed"


class HsmDataRefused(HsmError):
    """The token refused the data. The reason is deliberately not told (no padding oracle)."""

    text = "the HSM refused the data"


class HsmConfigurationError(HsmError):
    """The set-up is wrong: no repetition of the call can succeed."""

    text = "the HSM is not set up as required"


class ModuleUnusable(HsmConfigurationError):
    """The PKCS#11 library cannot be loaded or initialised."""

    text = "the PKCS#11 module cannot be used"


class KeyringError(HsmConfigurationError):
    """The key ring file is unreadable or contradicts itself."""

    text = "the key ring is wrong"


class UnknownKey(HsmConfigurationError):
    """The key ring has no such key, or the key is retired."""

    text = "the key ring has no such key in use"


class OperationNotPermitted(HsmConfigurationError):
    """The key's usage, mode or state does not permit this operation."""

    text = "the key does not permit this operation"


class TokenNotFound(HsmConfigurationError):
    """Not exactly one token has the configured label and serial number."""

    text = "not exactly one token has this label and serial number"


class HsmLoginFailed(HsmConfigurationError):
    """The token refused the login. Never retried: a real HSM counts the attempts and locks."""

    text = "the token refused the login"


class MechanismMissing(HsmConfigurationError):
    """The token lacks a mechanism that the key ring needs."""

    text = "the token lacks a mechanism that the key ring needs"


class ProvisioningError(HsmConfigurationError):
    """A key cannot be made in the token as asked."""

    text = "the key cannot be made"


class KeyDuplicated(ProvisioningError):
    """Another key of the ring has the check value of the key that is to be loaded."""

    text = "another key of the ring is the same"


class CheckValueMismatch(ProvisioningError):
    """The key has another check value than was promised, or none was and none can be computed."""

    text = "the check value is missing or another"


class Severity(StrEnum):
    """Whether a finding stops the start."""

    STOP = "stop"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One disagreement between the token and the key ring.

    `key_id` is the id in the key ring, or the label in the token for an object the ring does not
    name. `attribute` names an attribute of PKCS#11 (without CKA_) or, in lower case, a probe.
    """

    key_id: str
    attribute: str
    expected: str
    found: str
    remedy: str
    severity: Severity = Severity.STOP

    @property
    def summary(self) -> str:
        """The finding in one line."""
        return f"{self.key_id}: {self.attribute} is {self.found}, expected {self.expected}"


class InspectionFailed(HsmConfigurationError):
    """The token and the key ring disagree; `findings` holds every disagreement."""

    text = "the token does not agree with the key ring"

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("; ".join([self.text, *(finding.summary for finding in findings)]))
        self.findings = findings


class Fault(Enum):
    """What a PKCS#11 return value says about who is to blame, and so where recovery begins."""

    DATA = "the data were refused"
    REFUSAL = "the key or the token does not permit the operation"
    UNCLEAR = "the device or the data: only a probe can tell"
    HANDLE = "the object is gone: find the key again"
    SESSION = "the session is gone: open a new one"
    LIBRARY = "the token is out of reach: reinitialise the library"
    LOGIN = "the login was refused: never try again"


@dataclass(frozen=True, slots=True)
class ReturnValue:
    """A CK_RV (PKCS#11 v2.40 base, 5.1) with the name of the standard and our reading of it."""

    code: int
    name: str
    fault: Fault


_UNMAPPED: Final = re.compile(r"Unmapped error code 0x([0-9a-f]+)")
_NOT_INITIALIZED: Final = "Initialisation error (not initialized)"

UNKNOWN: Final = ReturnValue(-1, "CKR_UNKNOWN", Fault.UNCLEAR)
CRYPTOKI_NOT_INITIALIZED: Final = ReturnValue(0x190, "CKR_CRYPTOKI_NOT_INITIALIZED", Fault.LIBRARY)

# One row a return value: code, name, fault, and the class python-pkcs11 raises for it. Where that
# is None the library raises a bare PKCS11Error that carries the code in its text.
_TABLE: Final[tuple[tuple[int, str, Fault, type[PKCS11Error] | None], ...]] = (
    (0x02, "CKR_HOST_MEMORY", Fault.UNCLEAR, pkcs11_errors.HostMemory),
    (0x03, "CKR_SLOT_ID_INVALID", Fault.LIBRARY, pkcs11_errors.SlotIDInvalid),
    (0x05, "CKR_GENERAL_ERROR", Fault.UNCLEAR, pkcs11_errors.GeneralError),
    (0x06, "CKR_FUNCTION_FAILED", Fault.UNCLEAR, pkcs11_errors.FunctionFailed),
    (0x07, "CKR_ARGUMENTS_BAD", Fault.REFUSAL, pkcs11_errors.ArgumentsBad),
    (0x10, "CKR_ATTRIBUTE_READ_ONLY", Fault.REFUSAL, pkcs11_errors.AttributeReadOnly),
    (0x11, "CKR_ATTRIBUTE_SENSITIVE", Fault.REFUSAL, pkcs11_errors.AttributeSensitive),
    (0x12, "CKR_ATTRIBUTE_TYPE_INVALID", Fault.REFUSAL, pkcs11_errors.AttributeTypeInvalid),
    (0x13, "CKR_ATTRIBUTE_VALUE_INVALID", Fault.REFUSAL, pkcs11_errors.AttributeValueInvalid),
    (0x1B, "CKR_ACTION_PROHIBITED", Fault.REFUSAL, None),
    (0x20, "CKR_DATA_INVALID", Fault.DATA, pkcs11_errors.DataInvalid),
    (0x21, "CKR_DATA_LEN_RANGE", Fault.DATA, pkcs11_errors.DataLenRange),
    (0x30, "CKR_DEVICE_ERROR", Fault.LIBRARY, pkcs11_errors.DeviceError),
    (0x31, "CKR_DEVICE_MEMORY", Fault.UNCLEAR, pkcs11_errors.DeviceMemory),
    (0x32, "CKR_DEVICE_REMOVED", Fault.LIBRARY, pkcs11_errors.DeviceRemoved),
    (0x40, "CKR_ENCRYPTED_DATA_INVALID", Fault.DATA, pkcs11_errors.EncryptedDataInvalid),
    (0x41, "CKR_ENCRYPTED_DATA_LEN_RANGE", Fault.DATA, pkcs11_errors.EncryptedDataLenRange),
    (0x50, "CKR_FUNCTION_CANCELED", Fault.UNCLEAR, pkcs11_errors.FunctionCancelled),
    (0x54, "CKR_FUNCTION_NOT_SUPPORTED", Fault.REFUSAL, pkcs11_errors.FunctionNotSupported),
    (0x60, "CKR_KEY_HANDLE_INVALID", Fault.HANDLE, pkcs11_errors.KeyHandleInvalid),
    (0x62, "CKR_KEY_SIZE_RANGE", Fault.REFUSAL, pkcs11_errors.KeySizeRange),
    (0x63, "CKR_KEY_TYPE_INCONSISTENT", Fault.REFUSAL, pkcs11_errors.KeyTypeInconsistent),
    (0x68, "CKR_KEY_FUNCTION_NOT_PERMITTED", Fault.REFUSAL, None),
    (0x69, "CKR_KEY_NOT_WRAPPABLE", Fault.REFUSAL, pkcs11_errors.KeyNotWrappable),
    (0x6A, "CKR_KEY_UNEXTRACTABLE", Fault.REFUSAL, pkcs11_errors.KeyUnextractable),
    (0x70, "CKR_MECHANISM_INVALID", Fault.REFUSAL, pkcs11_errors.MechanismInvalid),
    (0x71, "CKR_MECHANISM_PARAM_INVALID", Fault.REFUSAL, pkcs11_errors.MechanismParamInvalid),
    (0x82, "CKR_OBJECT_HANDLE_INVALID", Fault.HANDLE, pkcs11_errors.ObjectHandleInvalid),
    (0x90, "CKR_OPERATION_ACTIVE", Fault.SESSION, pkcs11_errors.OperationActive),
    (0x91, "CKR_OPERATION_NOT_INITIALIZED", Fault.SESSION, pkcs11_errors.OperationNotInitialized),
    (0xA0, "CKR_PIN_INCORRECT", Fault.LOGIN, pkcs11_errors.PinIncorrect),
    (0xA1, "CKR_PIN_INVALID", Fault.LOGIN, pkcs11_errors.PinInvalid),
    (0xA2, "CKR_PIN_LEN_RANGE", Fault.LOGIN, pkcs11_errors.PinLenRange),
    (0xA3, "CKR_PIN_EXPIRED", Fault.LOGIN, pkcs11_errors.PinExpired),
    (0xA4, "CKR_PIN_LOCKED", Fault.LOGIN, pkcs11_errors.PinLocked),
    (0xB0, "CKR_SESSION_CLOSED", Fault.SESSION, pkcs11_errors.SessionClosed),
    (0xB1, "CKR_SESSION_COUNT", Fault.LIBRARY, pkcs11_errors.SessionCount),
    (0xB3, "CKR_SESSION_HANDLE_INVALID", Fault.SESSION, pkcs11_errors.SessionHandleInvalid),
    (0xB5, "CKR_SESSION_READ_ONLY", Fault.REFUSAL, pkcs11_errors.SessionReadOnly),
    (0xD0, "CKR_TEMPLATE_INCOMPLETE", Fault.REFUSAL, pkcs11_errors.TemplateIncomplete),
    (0xD1, "CKR_TEMPLATE_INCONSISTENT", Fault.REFUSAL, pkcs11_errors.TemplateInconsistent),
    (0xE0, "CKR_TOKEN_NOT_PRESENT", Fault.LIBRARY, pkcs11_errors.TokenNotPresent),
    (0xE1, "CKR_TOKEN_NOT_RECOGNIZED", Fault.LIBRARY, pkcs11_errors.TokenNotRecognised),
    (0xE2, "CKR_TOKEN_WRITE_PROTECTED", Fault.REFUSAL, pkcs11_errors.TokenWriteProtected),
    (0x101, "CKR_USER_NOT_LOGGED_IN", Fault.SESSION, pkcs11_errors.UserNotLoggedIn),
    (0x102, "CKR_USER_PIN_NOT_INITIALIZED", Fault.LOGIN, pkcs11_errors.UserPinNotInitialized),
    (
        0x104,
        "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
        Fault.LOGIN,
        pkcs11_errors.AnotherUserAlreadyLoggedIn,
    ),
    (0x105, "CKR_USER_TOO_MANY_TYPES", Fault.LOGIN, pkcs11_errors.UserTooManyTypes),
)

RETURN_VALUES: Final[Mapping[int, ReturnValue]] = MappingProxyType(
    {
        **{code: ReturnValue(code, name, fault) for code, name, fault, _ in _TABLE},
        CRYPTOKI_NOT_INITIALIZED.code: CRYPTOKI_NOT_INITIALIZED,
    }
)
_BY_CLASS: Final[Mapping[type[PKCS11Error], int]] = MappingProxyType(
    {raised: code for code, _, _, raised in _TABLE if raised is not None}
)


def return_value(error: PKCS11Error) -> ReturnValue:
    """The row of the table for an error of python-pkcs11; `UNKNOWN` when there is none.

    >>> return_value(PKCS11Error("Unmapped error code 0x1b")).name
    'CKR_ACTION_PROHIBITED'
    >>> return_value(pkcs11_errors.DeviceError()).fault is Fault.LIBRARY
    True
    """
    code = _BY_CLASS.get(type(error))
    if code is not None:
        return RETURN_VALUES[code]
    text = str(error)
    if text.startswith(_NOT_INITIALIZED):
        return CRYPTOKI_NOT_INITIALIZED
    unmapped = _UNMAPPED.match(text)
    return RETURN_VALUES.get(int(unmapped[1], 16), UNKNOWN) if unmapped else UNKNOWN

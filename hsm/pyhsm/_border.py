"""The border of the façade: arguments are checked on the way in, errors translated on the way out.

Rules:
- An argument of another type than its annotation is refused before the token is touched, and so is
  an empty one where emptiness has no meaning.
- No exception of python-pkcs11 or of an encoding passes, not even as a cause or a context: its
  frames and fields hold arguments, and one of them may be a PIN.
- One call at a time in the whole process. python-pkcs11 lets go of the GIL, and two threads inside
  SoftHSM end the process.
"""

import inspect
import re
import struct
from collections.abc import Callable, Mapping
from functools import wraps
from threading import RLock
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from pkcs11.exceptions import PKCS11Error

from hsm import errors
from hsm.pyhsm.hsmerror import HsmError

ArgumentsT = ParamSpec("ArgumentsT")
ClientT = TypeVar("ClientT")
ResultT = TypeVar("ResultT")

_ONE_AT_A_TIME: Final = RLock()
_NOT_EMPTY: Final = frozenset(
    {
        *("data", "signature", "seed", "value", "modulus", "exponent", "public_exponent"),
        *("ec_params", "ec_point", "key_data", "clear_key_data"),
        *("label", "key_label", "public_key_label", "private_key_label"),
        *("data_label", "cert_label"),
    }
)
_ADVICE: Final[Mapping[str, str]] = {
    "CKR_ACTION_PROHIBITED": "the object was made with modifiable=False",
    "CKR_CRYPTOKI_NOT_INITIALIZED": "close() ended the library: make a new HsmClient",
    "CKR_MECHANISM_INVALID": "the token does not offer this mechanism for this operation and key:"
    " choose another from get_mechanism_info(), to wrap and unwrap on SoftHSM AES_KEY_WRAP_PAD",
    "CKR_OBJECT_HANDLE_INVALID": "handles change with every run: find objects by their labels",
    "CKR_PIN_INCORRECT": "do not repeat it: the token counts the attempts and locks",
    "CKR_SLOT_ID_INVALID": "slots go by the slotNumber of get_slot_info(), not by their position",
    "CKR_USER_ALREADY_LOGGED_IN": "a process logs in to a token once: share the client",
}
_WORD_ENDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def guarded(
    method: Callable[Concatenate[ClientT, ArgumentsT], ResultT],
) -> Callable[Concatenate[ClientT, ArgumentsT], ResultT]:
    """The method behind the border. Its annotations say what it takes."""
    signature = inspect.signature(method)
    name = method.__name__.strip("_")

    @wraps(method)
    def call(self: ClientT, /, *args: ArgumentsT.args, **kwargs: ArgumentsT.kwargs) -> ResultT:
        _check(signature, signature.bind(self, *args, **kwargs).arguments)
        with _ONE_AT_A_TIME:
            try:
                return method(self, *args, **kwargs)
            except PKCS11Error as error:
                fault = return_value(error)
            except errors.HsmError as error:
                fault = str(error)
            except UnicodeError:
                fault = "the text cannot be encoded for the token: labels are ASCII, PINs UTF-8"
            except (OverflowError, struct.error):
                fault = "a number is negative or too large"
        advice = _ADVICE.get(fault)
        raise HsmError(f"{name}: {fault}; {advice}" if advice else f"{name}: {fault}")

    return call


def return_value(error: PKCS11Error) -> str:
    """The standard's name of the return value (PKCS#11 v2.40 base, 5.1) behind an error.

    >>> from pkcs11 import exceptions
    >>> return_value(exceptions.UserAlreadyLoggedIn())
    'CKR_USER_ALREADY_LOGGED_IN'
    >>> return_value(exceptions.SessionReadWriteSOExists())
    'CKR_SESSION_READ_WRITE_SO_EXISTS'
    """
    known = errors.return_value(error)
    if known is not errors.UNKNOWN or type(error) is PKCS11Error:
        return known.name
    return f"CKR_{_WORD_ENDS.sub('_', type(error).__name__).upper()}"


def _check(signature: inspect.Signature, arguments: Mapping[str, Any]) -> None:
    """HsmError for the first argument of a wrong type, or empty without meaning."""
    for name, value in arguments.items():
        expected = signature.parameters[name].annotation
        if expected is inspect.Parameter.empty:
            continue
        if not isinstance(value, expected):
            wanted = getattr(expected, "__name__", str(expected))
            raise HsmError(f"{name} must be of type {wanted}")
        if name in _NOT_EMPTY and isinstance(value, str | bytes) and not value:
            raise HsmError(f"{name} must not be empty")

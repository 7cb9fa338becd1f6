"""The client: a PKCS#11 library, one of its slots, and everything that py-hsm does with them."""

from hsm.pyhsm._imports import Imports
from hsm.pyhsm.convert import bytes_to_hex, bytes_to_str, str_to_bytes
from hsm.pyhsm.eccurveoids import EcCurveOids
from hsm.pyhsm.eccurves import EcCurves
from hsm.pyhsm.hsmenums import (
    HsmAsymKeyType,
    HsmAttribute,
    HsmMech,
    HsmSession,
    HsmSymKeyGen,
    HsmSymKeyType,
    HsmUser,
)
from hsm.pyhsm.hsmerror import HsmError
from hsm.pyhsm.hsmmechinfo import HsmMechInfo
from hsm.pyhsm.hsmobject import HsmObject
from hsm.pyhsm.hsmslot import HsmSlot

__all__ = [
    "EcCurveOids",
    "EcCurves",
    "HsmAsymKeyType",
    "HsmAttribute",
    "HsmClient",
    "HsmError",
    "HsmMech",
    "HsmMechInfo",
    "HsmObject",
    "HsmSession",
    "HsmSlot",
    "HsmSymKeyGen",
    "HsmSymKeyType",
    "HsmUser",
    "bytes_to_hex",
    "bytes_to_str",
    "str_to_bytes",
]


class HsmClient(Imports):
    """A connection to one token, with py-hsm's methods. Use it in a `with` statement.

    `slot` is the CK_SLOT_ID, as `get_slot_info` lists it. With a `pin` the session is opened and
    the user logged in at once. Any number of threads may share a client; they take turns.
    """

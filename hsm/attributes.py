"""Reading and writing the attributes of PKCS#11 objects, with what python-pkcs11 leaves out.

Rules:
- python-pkcs11 has no handler for CKA_ALLOWED_MECHANISMS and CKA_UNWRAP_TEMPLATE, and fails on the
  object classes and key types of vendors; every session gets `mapper()`, which knows them all.
- What cannot be read is a member of `Missing`, which equals no value; nothing is guessed.
- An empty set of allowed mechanisms means "everything" to SoftHSM, so no template may hold one.
"""

import ctypes
import struct
from collections.abc import Iterable, Mapping
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, Final

from pkcs11 import Attribute, KeyType, Mechanism, Object, ObjectClass
from pkcs11.attributes import AttributeMapper, Handler
from pkcs11.exceptions import AttributeSensitive, AttributeTypeInvalid, FunctionFailed
from pkcs11.util.ec import encode_named_curve_parameters

from hsm.vocabulary import Algorithm


class Missing(Enum):
    """Why an attribute has no value."""

    ABSENT = "absent"
    HIDDEN = "sensitive"
    MALFORMED = "malformed"


ABSENT: Final = Missing.ABSENT
HIDDEN: Final = Missing.HIDDEN
MALFORMED: Final = Missing.MALFORMED

KEY_TYPES: Final[Mapping[Algorithm, KeyType]] = MappingProxyType(
    {
        Algorithm.TDES_2KEY: KeyType.DES2,
        Algorithm.TDES_3KEY: KeyType.DES3,
        Algorithm.AES_128: KeyType.AES,
        Algorithm.AES_192: KeyType.AES,
        Algorithm.AES_256: KeyType.AES,
        Algorithm.RSA_2048: KeyType.RSA,
        Algorithm.RSA_3072: KeyType.RSA,
        Algorithm.RSA_4096: KeyType.RSA,
        Algorithm.EC_P256: KeyType.EC,
        Algorithm.HMAC_SHA256: KeyType.GENERIC_SECRET,
    }
)
"""CKA_KEY_TYPE of each algorithm."""

P256: Final = encode_named_curve_parameters("secp256r1")
"""CKA_EC_PARAMS of the only curve: its name, in DER."""

_ULONG: Final = struct.calcsize("L")
_BOOLS: Final = {truth: ctypes.create_string_buffer(bytes([truth]), 1) for truth in (False, True)}
"""CK_BBOOL where a template within a template points to them, so they live as long as we do."""


def mapper() -> AttributeMapper:
    """The attribute mapper for every session of this package."""
    mapping = AttributeMapper()
    mapping.register_handler(Attribute.ALLOWED_MECHANISMS, pack_mechanisms, unpack_mechanisms)
    mapping.register_handler(Attribute.UNWRAP_TEMPLATE, pack_template, bytes)
    mapping.register_handler(Attribute.CLASS, *_word(ObjectClass))
    mapping.register_handler(Attribute.KEY_TYPE, *_word(KeyType))
    return mapping


def _word(words: type[IntEnum]) -> Handler:
    """A handler for a CK_ULONG that may be a vendor's own number, which then stays a number."""
    known = frozenset(map(int, words))

    def unpack(packed: bytes) -> int:
        (number,) = struct.unpack("L", packed)
        return words(number) if number in known else int(number)

    return (lambda value: struct.pack("L", int(value)), unpack)


def pack_mechanisms(mechanisms: Iterable[int]) -> bytes:
    """CKA_ALLOWED_MECHANISMS as its array of CK_MECHANISM_TYPE, in ascending order.

    >>> unpack_mechanisms(pack_mechanisms({0x132, 0x9})) == {0x132, 0x9}
    True
    """
    return b"".join(struct.pack("L", int(mechanism)) for mechanism in sorted(mechanisms))


def unpack_mechanisms(packed: bytes) -> frozenset[int]:
    """The set of CK_MECHANISM_TYPE in an array of them."""
    return frozenset(struct.unpack(f"{len(packed) // _ULONG}L", packed))


def pack_template(template: Mapping[Attribute, bool]) -> bytes:
    """CKA_UNWRAP_TEMPLATE as its array of CK_ATTRIBUTE (PKCS#11 v2.40 base, 3.3 and 4.10).

    No token need give it back in this form (SoftHSM fails), so it is only ever written.
    """
    return b"".join(
        struct.pack("LPL", attribute, ctypes.addressof(_BOOLS[value]), 1)
        for attribute, value in template.items()
    )


def read(key: Object, attribute: Attribute) -> Any:
    """One attribute; ABSENT when the object has none, HIDDEN when it may not be read, MALFORMED
    when its bytes are no value of its type.
    """
    try:
        return key[attribute]
    except AttributeSensitive:
        return HIDDEN
    except (AttributeTypeInvalid, FunctionFailed):
        return ABSENT
    except (ValueError, struct.error):
        return MALFORMED


def display(value: object) -> str:
    """An attribute's value as a finding shows it; bytes only ever as their length."""
    if isinstance(value, Missing):
        return value.value
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (frozenset, set)):
        return ", ".join(sorted(mechanism_name(item) for item in value)) or "none (= all)"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return str(value)


def mechanism_name(mechanism: int) -> str:
    """The standard's name without CKM_, or the number of a mechanism we do not know."""
    try:
        return Mechanism(mechanism).name
    except ValueError:
        return f"0x{int(mechanism):08x}"

"""An object of the token with all that can be read of it."""

import re
import struct
from dataclasses import dataclass, fields
from os import linesep
from typing import Any, Final, Protocol, Self

from hsm.pyhsm.hsmenums import HsmAttribute, HsmKeyType, HsmObjectType
from hsm.pyhsm.hsmerror import HsmError

_CAPITAL_OR_DIGIT: Final = re.compile(r"(?=[A-Z0-9])")
_BASIC: Final = 21
"""Fields that are read even when it should be fast: `hsm`, `handle`, and those up to `derive`."""


class _Source(Protocol):
    def get_attribute_value(self, handle: int, attribute_type: HsmAttribute) -> bytes: ...


@dataclass(slots=True, repr=False, eq=False)
class HsmObject:
    """The attributes of PKCS#11 (v2.40 base, 4) under py-hsm's names, as of the time of reading.

    Flags that an object lacks are False. Of the others, those it lacks or may not show are "", the
    rest is bytes as the token holds it; a class or key type without a name stays bytes.
    """

    hsm: Any
    handle: int
    class_: HsmObjectType | bytes | str
    token: bool
    private: bool
    label: str
    keyType: HsmKeyType | bytes | str
    sensitive: bool
    encrypt: bool
    decrypt: bool
    wrap: bool
    unwrap: bool
    sign: bool
    verify: bool
    extractable: bool
    local: bool
    neverExtractable: bool
    alwaysSensitive: bool
    modifiable: bool
    derive: bool
    id: bytes | str
    application: bytes | str = ""
    value: bytes | str = ""
    certificateType: bytes | str = ""
    issuer: bytes | str = ""
    serialNumber: bytes | str = ""
    subject: bytes | str = ""
    signRecover: bool = False
    verifyRecover: bool = False
    startDate: bytes | str = ""
    endDate: bytes | str = ""
    modulus: bytes | str = ""
    modulusBits: bytes | str = ""
    publicExponent: bytes | str = ""
    privateExponent: bytes | str = ""
    prime1: bytes | str = ""
    prime2: bytes | str = ""
    exponent1: bytes | str = ""
    exponent2: bytes | str = ""
    coefficient: bytes | str = ""
    prime: bytes | str = ""
    subprime: bytes | str = ""
    base: bytes | str = ""
    valueBits: bytes | str = ""
    valueLen: bytes | str = ""
    ecdsaParams: bytes | str = ""
    ecParams: bytes | str = ""
    ecPoint: bytes | str = ""

    @classmethod
    def read(cls, hsm: _Source, handle: int, *, fast_load: bool) -> Self:
        """Read the object behind `handle`; with `fast_load` no further than the id."""
        wanted = fields(cls)[2 : _BASIC if fast_load else None]
        found = {field.name: _value(hsm, handle, field.name, field.type) for field in wanted}
        return cls(hsm, handle, **found)

    def details(self) -> str:
        """The label, the class and the flags, in one line."""
        shown = (field.name for field in fields(self)[1 : _BASIC - 1])
        described = "".join(f"{name.rstrip('_')}:{getattr(self, name)} " for name in shown)
        return f"<HsmObject: {described}>"

    def to_string(self) -> str:
        """Every attribute on a line of its own, bytes in hexadecimal, the value of a key too."""
        lines = [f"HANDLE: {self.handle}"]
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            shown = value.hex() if isinstance(value, bytes) else value
            lines.append(f"CKA_{_attribute_name(field.name)}: {shown}")
        return "".join(line + linesep for line in lines)

    def __repr__(self) -> str:
        return f"<HsmObject handle:{self.handle} label:{self.label} >"


def _attribute_name(name: str) -> str:
    """The standard's name without CKA_.

    >>> [_attribute_name(name) for name in ("class_", "neverExtractable", "prime1", "ecPoint")]
    ['CLASS', 'NEVER_EXTRACTABLE', 'PRIME_1', 'EC_POINT']
    """
    return _CAPITAL_OR_DIGIT.sub("_", name.rstrip("_")).upper()


def _value(hsm: _Source, handle: int, name: str, kind: Any) -> Any:
    """One attribute as its field holds it."""
    try:
        value = hsm.get_attribute_value(handle, HsmAttribute[_attribute_name(name)])
    except HsmError:
        return False if kind is bool else ""
    if kind is bool:
        return value[:1] == b"\x01"
    match name:
        case "label":
            return value.decode(errors="replace")
        case "class_":
            return _word(value, HsmObjectType)
        case "keyType":
            return _word(value, HsmKeyType)
        case _:
            return value


def _word(value: bytes, words: type[HsmObjectType] | type[HsmKeyType]) -> Any:
    try:
        return words(*struct.unpack("L", value))
    except (ValueError, struct.error):
        return value

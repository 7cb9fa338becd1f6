"""One role a row: what a key of this usage, family and mode of use may do, as exact templates.

Rules:
- One key, one purpose (X9.143; PCI PIN 19). A combination that has no row does not exist.
- Every capability is written out, true or false: PKCS#11 and python-pkcs11 defaults permit
  everything, and a key that may wrap and decipher gives up any other (Clulow, CHES 2003).
- ALLOWED_MECHANISMS is an exact set and never empty.
- No role may wrap, unwrap or derive unless its row says so, and no key is ever extractable.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pkcs11 import Attribute, Mechanism, ObjectClass

from hsm.vocabulary import Family, Mode, Usage

Template = Mapping[Attribute, bool | frozenset[int]]
"""Attributes that an object must have, each with exactly this value."""

_PROTECTED: Final[Mapping[Attribute, bool]] = MappingProxyType(
    {
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.WRAP_WITH_TRUSTED: True,
        Attribute.MODIFIABLE: False,
        Attribute.COPYABLE: False,
    }
)

# The attributes each class of object has: PKCS#11 v2.40 base, 4.8 (public), 4.9 (private) and 4.10
# (secret keys). A token refuses a template that names one of another class.
_BASE: Final[Mapping[ObjectClass, Mapping[Attribute, bool]]] = MappingProxyType(
    {
        ObjectClass.SECRET_KEY: {**_PROTECTED, Attribute.TRUSTED: False},
        ObjectClass.PRIVATE_KEY: {**_PROTECTED, Attribute.ALWAYS_AUTHENTICATE: False},
        ObjectClass.PUBLIC_KEY: {
            Attribute.TOKEN: True,
            Attribute.PRIVATE: False,
            Attribute.TRUSTED: False,
            Attribute.MODIFIABLE: False,
            Attribute.COPYABLE: False,
        },
    }
)
_CAPABILITIES: Final[Mapping[ObjectClass, tuple[Attribute, ...]]] = MappingProxyType(
    {
        ObjectClass.SECRET_KEY: (
            Attribute.ENCRYPT,
            Attribute.DECRYPT,
            Attribute.WRAP,
            Attribute.UNWRAP,
            Attribute.SIGN,
            Attribute.VERIFY,
            Attribute.DERIVE,
        ),
        ObjectClass.PRIVATE_KEY: (
            Attribute.DECRYPT,
            Attribute.UNWRAP,
            Attribute.SIGN,
            Attribute.SIGN_RECOVER,
            Attribute.DERIVE,
        ),
        ObjectClass.PUBLIC_KEY: (
            Attribute.ENCRYPT,
            Attribute.WRAP,
            Attribute.VERIFY,
            Attribute.VERIFY_RECOVER,
            Attribute.DERIVE,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What one object of a role may do: its capabilities, and the mechanisms it may do them with.

    The mechanisms stand even for an object without a capability, since an empty set would mean all.
    """

    capabilities: frozenset[Attribute]
    mechanisms: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The purpose of a key, and a grant for each object that together are the key."""

    usage: Usage
    family: Family
    mode: Mode
    grants: Mapping[ObjectClass, Grant] = field(repr=False)

    @property
    def operative(self) -> ObjectClass:
        """The class of the object that does the work: secret, else private, else public."""
        order = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
        return next(object_class for object_class in order if object_class in self.grants)

    def permits(self, capability: Attribute) -> bool:
        """Whether the object that does the work has this capability."""
        return capability in self.grants[self.operative].capabilities

    def template(self, object_class: ObjectClass, *, destroyable: bool) -> Template:
        """The exact attributes of this role's object of `object_class`."""
        grant = self.grants[object_class]
        return {
            **_BASE[object_class],
            Attribute.DESTROYABLE: destroyable,
            **{
                capability: capability in grant.capabilities
                for capability in _CAPABILITIES[object_class]
            },
            Attribute.ALLOWED_MECHANISMS: grant.mechanisms,
        }


def _grant(capabilities: Iterable[Attribute], mechanisms: Iterable[Mechanism]) -> Grant:
    return Grant(frozenset(capabilities), frozenset(int(mechanism) for mechanism in mechanisms))


def _secret(
    usage: Usage,
    family: Family,
    mode: Mode,
    *,
    may: Iterable[Attribute],
    by: Iterable[Mechanism],
) -> Role:
    grants = {ObjectClass.SECRET_KEY: _grant(may, by)}
    return Role(usage=usage, family=family, mode=mode, grants=MappingProxyType(grants))


def _pair(
    usage: Usage,
    family: Family,
    mode: Mode,
    *,
    may: Iterable[Attribute],
    by: Iterable[Mechanism],
) -> Role:
    """A key pair whose public half is only read: clients use its SubjectPublicKeyInfo."""
    mechanisms = tuple(by)
    grants = {
        ObjectClass.PRIVATE_KEY: _grant(may, mechanisms),
        ObjectClass.PUBLIC_KEY: _grant((), mechanisms),
    }
    return Role(usage=usage, family=family, mode=mode, grants=MappingProxyType(grants))


def _public(
    usage: Usage,
    family: Family,
    mode: Mode,
    *,
    may: Iterable[Attribute],
    by: Iterable[Mechanism],
) -> Role:
    grants = {ObjectClass.PUBLIC_KEY: _grant(may, by)}
    return Role(usage=usage, family=family, mode=mode, grants=MappingProxyType(grants))


_ENCIPHER: Final = (Attribute.ENCRYPT,)
_DECIPHER: Final = (Attribute.DECRYPT,)
_BOTH: Final = (Attribute.ENCRYPT, Attribute.DECRYPT)
_TDES: Final = (Mechanism.DES3_ECB,)
_AES: Final = (Mechanism.AES_ECB,)
_PARTNER: Final = (Mechanism.RSA_PKCS, Mechanism.RSA_PKCS_OAEP)

_ROLES: Final = (
    _secret(Usage.P0, Family.TDES, Mode.E, may=_ENCIPHER, by=_TDES),
    _secret(Usage.P0, Family.TDES, Mode.D, may=_DECIPHER, by=_TDES),
    _secret(Usage.P0, Family.TDES, Mode.B, may=_BOTH, by=_TDES),
    _secret(Usage.P0, Family.AES, Mode.E, may=_ENCIPHER, by=_AES),
    _secret(Usage.P0, Family.AES, Mode.D, may=_DECIPHER, by=_AES),
    _secret(Usage.P0, Family.AES, Mode.B, may=_BOTH, by=_AES),
    _pair(Usage.D1, Family.RSA, Mode.D, may=_DECIPHER, by=(Mechanism.RSA_PKCS_OAEP,)),
    _public(Usage.D1, Family.RSA, Mode.E, may=_ENCIPHER, by=_PARTNER),
    _secret(Usage.M7, Family.HMAC, Mode.G, may=(Attribute.SIGN,), by=(Mechanism.SHA256_HMAC,)),
    _pair(Usage.S0, Family.EC, Mode.S, may=(Attribute.SIGN,), by=(Mechanism.ECDSA,)),
)

ROLES: Final[Mapping[tuple[Usage, Family, Mode], Role]] = MappingProxyType(
    {(role.usage, role.family, role.mode): role for role in _ROLES}
)
"""Every role there is."""

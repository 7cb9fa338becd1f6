"""One role a row: what a key of this usage, family and mode of use may do, as exact templates.

Rules:
- One key, one purpose (X9.143; PCI PIN 19). A combination that has no row does not exist.
- Every capability is written out, true or false: PKCS#11 and python-pkcs11 defaults permit
  everything, and a key that may wrap and decipher gives up any other (Clulow, CHES 2003).
- ALLOWED_MECHANISMS is an exact set and never empty.
- No role may wrap, unwrap or derive unless its row says so, and no key is ever extractable. Nor is
  any that comes out of an unwrapping: a recorded wrap would otherwise give its key to whoever logs
  in to the token.
- A key that may derive does nothing else, except a TDES key whose derivation a token has no
  mechanism for: that one enciphers, and the floors above derive by it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pkcs11 import Attribute, Mechanism, ObjectClass

from hsm.vocabulary import Family, Mode, Usage

Template = Mapping[Attribute, bool | frozenset[int] | Mapping[Attribute, bool]]
"""Attributes that an object must have, each with exactly this value."""

_UNWRAPPED: Final[Mapping[Attribute, bool]] = MappingProxyType(
    {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
)
"""What every unwrapped key must be (CKA_UNWRAP_TEMPLATE): the attributes that nothing undoes later,
so that they hold whether a token compares the caller's template with them or applies it after them.
"""

_PROTECTED: Final[Mapping[Attribute, bool]] = MappingProxyType(
    {
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.WRAP_WITH_TRUSTED: True,
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
    `unwraps` is what every key must be that the object unwraps; None for one that does not.
    """

    capabilities: frozenset[Attribute]
    mechanisms: frozenset[int]
    unwraps: Mapping[Attribute, bool] | None = None


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

    @property
    def only_deciphers(self) -> bool:
        """Whether this is a secret key that cannot encipher, so not show its check value."""
        return (
            self.operative is ObjectClass.SECRET_KEY
            and self.permits(Attribute.DECRYPT)
            and not self.permits(Attribute.ENCRYPT)
        )

    @property
    def only_derives(self) -> bool:
        """Whether this is a secret key whose only use is to derive others from it."""
        return self.operative is ObjectClass.SECRET_KEY and self.permits(Attribute.DERIVE)

    def template(self, object_class: ObjectClass, *, destroyable: bool) -> Template:
        """The exact attributes of this role's object of `object_class`."""
        return _template(object_class, self.grants[object_class], destroyable=destroyable)


def passing_template(
    may: Iterable[Attribute], by: Iterable[Mechanism], *, readable: bool = False
) -> Template:
    """The exact attributes of a secret key that is in no key ring and lives for one turn.

    `readable` is for what is no key: the shared secret of an agreement, of which a key derivation
    function above makes keys, and known data enciphered by a derivation.
    """
    return {
        **_template(ObjectClass.SECRET_KEY, _grant(may, by), destroyable=True),
        Attribute.TOKEN: False,
        Attribute.SENSITIVE: not readable,
        Attribute.EXTRACTABLE: readable,
    }


def _template(object_class: ObjectClass, grant: Grant, *, destroyable: bool) -> Template:
    return {
        **_BASE[object_class],
        **{name: name in grant.capabilities for name in _CAPABILITIES[object_class]},
        **({} if grant.unwraps is None else {Attribute.UNWRAP_TEMPLATE: grant.unwraps}),
        Attribute.ALLOWED_MECHANISMS: grant.mechanisms,
        Attribute.DESTROYABLE: destroyable,
        # The last: where a key is derived or unwrapped, SoftHSM takes nothing more after it.
        Attribute.MODIFIABLE: False,
    }


def _grant(capabilities: Iterable[Attribute], mechanisms: Iterable[Mechanism]) -> Grant:
    may = frozenset(capabilities)
    return Grant(
        may,
        frozenset(int(mechanism) for mechanism in mechanisms),
        _UNWRAPPED if Attribute.UNWRAP in may else None,
    )


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
_DERIVE: Final = (Attribute.DERIVE,)
_UNWRAP: Final = (Attribute.UNWRAP,)
_DECIPHER: Final = (Attribute.DECRYPT,)
_BOTH: Final = (Attribute.ENCRYPT, Attribute.DECRYPT)
_TDES: Final = (Mechanism.DES3_ECB,)
_AES: Final = (Mechanism.AES_ECB,)
_TDES_CHILD: Final = (Mechanism.DES3_ECB_ENCRYPT_DATA,)
_AES_CHILD: Final = (Mechanism.AES_ECB_ENCRYPT_DATA,)
_OAEP: Final = (Mechanism.RSA_PKCS_OAEP,)
_ECDH: Final = (Mechanism.ECDH1_DERIVE,)
_PARTNER: Final = (Mechanism.RSA_PKCS, Mechanism.RSA_PKCS_OAEP)

_ROLES: Final = (
    _secret(Usage.P0, Family.TDES, Mode.E, may=_ENCIPHER, by=_TDES),
    _secret(Usage.P0, Family.TDES, Mode.D, may=_DECIPHER, by=_TDES),
    _secret(Usage.P0, Family.TDES, Mode.B, may=_BOTH, by=_TDES),
    _secret(Usage.P0, Family.AES, Mode.E, may=_ENCIPHER, by=_AES),
    _secret(Usage.P0, Family.AES, Mode.D, may=_DECIPHER, by=_AES),
    _secret(Usage.P0, Family.AES, Mode.B, may=_BOTH, by=_AES),
    # Data at rest. ECB, since the floor above makes of single blocks what no mode of a token gives:
    # a block bound to its place, without a nonce to repeat or bits to flip. Its construction
    # enciphers twice, E(T xor E(M)), and ECB is what that is built of (see `stored_pan` there).
    _secret(Usage.D0, Family.AES, Mode.B, may=_BOTH, by=_AES),
    _pair(Usage.D1, Family.RSA, Mode.D, may=_DECIPHER, by=_OAEP),
    _public(Usage.D1, Family.RSA, Mode.E, may=_ENCIPHER, by=_PARTNER),
    # PIN verification: PVV and IBM 3624 both encipher, whether a value is made or compared.
    _secret(Usage.V1, Family.TDES, Mode.C, may=_ENCIPHER, by=_TDES),
    _secret(Usage.V1, Family.TDES, Mode.G, may=_ENCIPHER, by=_TDES),
    _secret(Usage.V1, Family.TDES, Mode.V, may=_ENCIPHER, by=_TDES),
    _secret(Usage.V2, Family.TDES, Mode.C, may=_ENCIPHER, by=_TDES),
    _secret(Usage.V2, Family.TDES, Mode.G, may=_ENCIPHER, by=_TDES),
    _secret(Usage.V2, Family.TDES, Mode.V, may=_ENCIPHER, by=_TDES),
    # DUKPT. With AES (X9.24-3) every derivation is ECB over data, so the token does it. With TDES
    # (X9.24-1) it is not: an initial key is enciphered by the base key and by its C0 variant, two
    # keys of this role.
    _secret(Usage.B0, Family.AES, Mode.X, may=_DERIVE, by=_AES_CHILD),
    _secret(Usage.B0, Family.TDES, Mode.X, may=_ENCIPHER, by=_TDES),
    # EMV issuer master keys (EMV 4.3 book 2, A1.4). Card keys for secure messaging stay in the
    # token; those for cryptograms are got by enciphering.
    _secret(Usage.E0, Family.TDES, Mode.X, may=_ENCIPHER, by=_TDES),
    _secret(Usage.E1, Family.TDES, Mode.X, may=_DERIVE, by=_TDES_CHILD),
    _secret(Usage.E2, Family.TDES, Mode.X, may=_DERIVE, by=_TDES_CHILD),
    # Key block protection keys. The keys that encipher and authenticate a key block (versions B, D
    # and E) are derived from them in the token, and both directions derive the same way. The modes
    # say which of them may be taken: see `hsm.mechanisms`.
    *(
        _secret(Usage.K1, family, mode, may=_DERIVE, by=by)
        for family, by in ((Family.AES, _AES_CHILD), (Family.TDES, _TDES_CHILD))
        for mode in (Mode.B, Mode.D, Mode.E)
    ),
    # Those of versions A and C are variants of one value, so two keys, and blocks are only opened.
    _secret(Usage.K0, Family.TDES, Mode.D, may=_DECIPHER, by=_TDES),
    _secret(Usage.M1, Family.TDES, Mode.V, may=_ENCIPHER, by=_TDES),
    # Key transport and agreement. A key that comes under K0 lives for one turn; one that comes
    # under K2 stays in the token. The partner's half of an agreement does nothing in the token; it
    # is kept there so that its check value is watched like any other. Roles are told apart by mode,
    # and E is that of the other public half (D1): only its owner can undo what is done under it.
    _pair(Usage.K0, Family.RSA, Mode.D, may=_UNWRAP, by=_OAEP),
    _pair(Usage.K2, Family.RSA, Mode.D, may=_UNWRAP, by=_OAEP),
    _pair(Usage.K3, Family.EC, Mode.X, may=_DERIVE, by=_ECDH),
    _public(Usage.K3, Family.EC, Mode.E, may=(), by=_ECDH),
    _secret(Usage.M7, Family.HMAC, Mode.G, may=(Attribute.SIGN,), by=(Mechanism.SHA256_HMAC,)),
    _pair(Usage.S0, Family.EC, Mode.S, may=(Attribute.SIGN,), by=(Mechanism.ECDSA,)),
)

ROLES: Final[Mapping[tuple[Usage, Family, Mode], Role]] = MappingProxyType(
    {(role.usage, role.family, role.mode): role for role in _ROLES}
)
"""Every role that usage, family and mode tell."""

PKCS1_ROLE: Final = _pair(Usage.D1, Family.RSA, Mode.D, may=_DECIPHER, by=(Mechanism.RSA_PKCS,))
"""That of a sealing key whose JWA name is RSA1_5: it opens by that padding, and by no other."""

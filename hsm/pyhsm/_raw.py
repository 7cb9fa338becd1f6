"""python-pkcs11 by the standard's own numbers: raw handles, raw attributes, raw mechanisms.

Rules:
- What goes into a template is what the façade puts there: no default of python-pkcs11, which
  permits everything, is ever added.
- Values are packed before python-pkcs11 sees them: an error in its own packing makes it free memory
  that it never set, and ends the process.
- CKA_MODIFIABLE comes last in a template: SoftHSM takes attributes one by one, and refuses those
  after it.
- A mechanism whose parameter is a structure with pointers is refused where py-hsm could only pass
  an initialisation vector for it.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final, cast

from pkcs11 import MGF, Attribute, KeyType, Mechanism, ObjectClass, Session, _pkcs11
from pkcs11.attributes import AttributeMapper

from hsm.passing import NO_DEFAULTS
from hsm.pyhsm.hsmenums import HsmMech
from hsm.pyhsm.hsmerror import HsmError

Template = Mapping[Attribute, bytes]

_internals = cast("Any", _pkcs11)
_ANY_KEY_TYPE: Final = KeyType.DES3
"""python-pkcs11 asks for one to choose defaults by. This one has no CKA_VALUE_LEN to add."""

_OAEP: Final = (Mechanism.SHA_1, MGF.SHA1)
_PSS: Final[Mapping[Mechanism, tuple[Mechanism, MGF]]] = {
    Mechanism.SHA1_RSA_PKCS_PSS: (Mechanism.SHA_1, MGF.SHA1),
    Mechanism.SHA224_RSA_PKCS_PSS: (Mechanism.SHA224, MGF.SHA224),
    Mechanism.SHA256_RSA_PKCS_PSS: (Mechanism.SHA256, MGF.SHA256),
    Mechanism.SHA384_RSA_PKCS_PSS: (Mechanism.SHA384, MGF.SHA384),
    Mechanism.SHA512_RSA_PKCS_PSS: (Mechanism.SHA512, MGF.SHA512),
}
_STRUCTURED: Final = frozenset(
    {
        *(Mechanism.AES_CTR, Mechanism.AES_GCM, Mechanism.AES_CCM, Mechanism.RSA_PKCS_PSS),
        *(Mechanism.AES_ECB_ENCRYPT_DATA, Mechanism.AES_CBC_ENCRYPT_DATA),
        *(Mechanism.ECDH1_DERIVE, Mechanism.ECDH1_COFACTOR_DERIVE),
        0x1054,  # CKM_RSA_AES_KEY_WRAP
    }
)


def packed(value: bool | int | str | bytes) -> bytes:
    """A value as the token holds it: CK_BBOOL, CK_ULONG, ASCII, or the bytes themselves.

    >>> packed(True), packed("a"), packed(b"b")
    (b'\\x01', b'a', b'b')
    """
    if isinstance(value, bool):
        return struct.pack("?", value)
    if isinstance(value, int):
        return struct.pack("L", value)
    return value.encode("ascii") if isinstance(value, str) else value


def template(
    kind: ObjectClass, *, modifiable: bool | None = None, **values: bool | int | str | bytes | None
) -> Template:
    """A template by the standard's names in lower case. What is None stays out.

    >>> [name.name for name in template(ObjectClass.DATA, modifiable=False, id=None, label="a")]
    ['CLASS', 'LABEL', 'MODIFIABLE']
    """
    named = {Attribute[name.upper()]: value for name, value in values.items()}
    ordered = {Attribute.CLASS: kind, **named, Attribute.MODIFIABLE: modifiable}
    return {name: packed(value) for name, value in ordered.items() if value is not None}


class RawAttributes(AttributeMapper):
    """Values go in and come out as the bytes that the token holds."""

    def pack_attribute(self, key: Attribute, value: bytes) -> bytes:
        """The bytes themselves."""
        del key
        return value

    def unpack_attributes(self, key: Attribute, value: bytes) -> bytes:
        """The bytes themselves."""
        del key
        return value

    def _no_template(self, *_: object, **__: object) -> dict[Attribute, Any]:
        return {}

    public_key_template = _no_template
    private_key_template = _no_template
    generic_key_template = _no_template
    secret_key_template = _no_template


class _Handle:
    """What python-pkcs11 must know of a key, in place of the attributes it reads from the token."""

    # Plain attributes, which python-pkcs11 has as properties.
    session: Session | None = None
    handle = 0
    key_type = None

    def __init__(self, session: Session, handle: int) -> None:
        self.session = session
        self.handle = handle


_Key: Any = type(
    "_Key",
    (
        *(_Handle, _internals.SecretKey, _internals.EncryptMixin, _internals.DecryptMixin),
        *(_internals.SignMixin, _internals.VerifyMixin),
        *(_internals.WrapMixin, _internals.UnwrapMixin),
    ),
    {},
)


def key(session: Session, handle: int) -> Any:
    """A key by its handle alone, with every method: what it permits, the token decides."""
    return _Key(session, handle)


def mechanism(number: HsmMech | int) -> Mechanism:
    """A mechanism by name or number. A vendor's number is as good as the standard's."""
    value = number.value if isinstance(number, HsmMech) else number
    try:
        return Mechanism(value)
    except ValueError:
        return int.__new__(Mechanism, value)


def name(number: int) -> str:
    """The standard's name of a mechanism; UNKNOWN for one that python-pkcs11 has no name for.

    >>> name(0x1081), name(0x121), name(0x80000122)
    ('CKM_AES_ECB', 'CKM_DES_ECB', 'UNKNOWN')
    """
    try:
        return f"CKM_{Mechanism(number).name.lstrip('_')}"
    except ValueError:
        return "UNKNOWN"


def vector(chosen: Mechanism, iv: bytes, *, label: bytes = b"") -> Any:
    """The parameter of a cipher: `iv`, or for OAEP, always with SHA-1, its label.

    py-hsm's default, one zero byte, is the vector of no cipher and stands for none.
    """
    if chosen == Mechanism.RSA_PKCS_OAEP:
        return (*_OAEP, label or None)
    if iv in (b"", b"\x00"):
        return plain(chosen)
    _refuse_structured(chosen)
    return iv


def plain(chosen: Mechanism, *, salt_length: int = 0) -> Any:
    """The parameter of a signature: the hash and salt of PSS, or none."""
    if chosen in _PSS:
        return (*_PSS[chosen], salt_length)
    _refuse_structured(chosen)
    return None


def _refuse_structured(chosen: Mechanism) -> None:
    if chosen in _STRUCTURED:
        raise HsmError("the mechanism takes a parameter that this interface cannot carry")


def generate(session: Session, how: Mechanism, made: Template) -> Any:
    """C_GenerateKey with the template `made` and nothing else."""
    return session.generate_key(
        _ANY_KEY_TYPE, capabilities=NO_DEFAULTS, mechanism=how, template=dict(made)
    )


def generate_pair(
    session: Session, how: Mechanism, public: Template, private: Template
) -> tuple[Any, Any]:
    """C_GenerateKeyPair with these templates and nothing else."""
    return session.generate_keypair(
        _ANY_KEY_TYPE,
        capabilities=NO_DEFAULTS,
        mechanism=how,
        public_template=public,
        private_template=private,
    )


def unwrap(wrapping: Any, wrapped: bytes, how: Mechanism, parameter: Any, made: Template) -> Any:
    """C_UnwrapKey with the template `made` and nothing else."""
    return wrapping.unwrap_key(
        ObjectClass.SECRET_KEY,  # as little heeded as the key type: `made` holds both
        _ANY_KEY_TYPE,
        wrapped,
        mechanism=how,
        mechanism_param=parameter,
        capabilities=NO_DEFAULTS,
        template=made,
    )

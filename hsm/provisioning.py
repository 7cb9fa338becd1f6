"""Making keys in a token from the templates of their roles, and the key ring entries for them.

Rules:
- A key is made with every attribute of its role's template, or not at all. A loaded key is proved
  on a session object first, since a key of the token may be indestructible.
- Its entry is computed from what the token holds afterwards, never from what was asked for.
- An id is used once: a key that exists is never replaced here.
- `import_secret` takes a key in the clear. It is for development and tests; production keys come
  into a token by its own ceremony, in components or key blocks (PCI PIN 18).
- These functions log the process into the token and out again, and leave the library. Run them
  before a `Device` is opened, not beside it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, Mechanism, MechanismFlag, Object, ObjectClass, Session
from pkcs11.exceptions import PKCS11Error
from pkcs11.util.ec import encode_named_curve_parameters

from hsm import agreement, keys, token
from hsm.attributes import KEY_TYPES
from hsm.errors import ProvisioningError, return_value
from hsm.keyring import CHECK_VALUE_DIGITS, KeyEntry, Keyring, dump, parse
from hsm.module import Library
from hsm.roles import ROLES
from hsm.token import TokenLocation
from hsm.vocabulary import Algorithm, Family, Mode, Origin, State, Usage

_NONE: Final = MechanismFlag(0)
_PAIR: Final = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """What a key shall be: its entry in the key ring without what only the token knows."""

    name: str
    version: int
    usage: Usage
    algorithm: Algorithm
    mode: Mode
    valid_from: date
    valid_until: date | None = None
    state: State = State.ACTIVE
    destroyable: bool = False
    jwa: str | None = None

    def entry(self, origin: Origin) -> KeyEntry:
        """The entry, its check values still to be found. KeyringError if no ring could hold it."""
        digits = CHECK_VALUE_DIGITS[self.algorithm.family][0]
        role = ROLES.get((self.usage, self.algorithm.family, self.mode))
        entry = KeyEntry(
            name=self.name,
            version=self.version,
            usage=self.usage,
            algorithm=self.algorithm,
            mode=self.mode,
            check_value="0" * digits,
            decipher_check_value="0" * 6 if role and role.only_deciphers else None,
            derivation_check_value="0" * 6 if role and role.only_derives else None,
            origin=origin,
            state=self.state,
            valid_from=self.valid_from,
            valid_until=self.valid_until,
            destroyable=self.destroyable,
            jwa=self.jwa,
        )
        parse(dump(Keyring(keys=(entry,))), source="the specification")
        return entry


def generate(location: TokenLocation, spec: KeySpec) -> KeyEntry:
    """Make a secret key or a key pair in the token; the entry for the key ring.

    ProvisioningError when the id is taken, when the token refuses, for a partner's public key, and
    for an AES key that only deciphers or derives: its check value could never be computed.
    """
    entry = spec.entry(Origin.GENERATED)
    if spec.algorithm.family is Family.AES and not entry.role.permits(Attribute.ENCRYPT):
        raise ProvisioningError("an AES key of this mode can only be imported", key=entry.id)
    return _make(location, entry, _generate)


def import_public_key(location: TokenLocation, spec: KeySpec, spki: bytes) -> KeyEntry:
    """Load a partner's RSA or P-256 public key (SubjectPublicKeyInfo in DER); its entry."""
    entry = spec.entry(Origin.IMPORTED)
    try:
        public = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise ProvisioningError("the public key is malformed", key=entry.id) from None
    material = _public_material(public, spec.algorithm)
    if entry.role.operative is not ObjectClass.PUBLIC_KEY or material is None:
        raise ProvisioningError("the public key is of another algorithm", key=entry.id)
    return _make(location, entry, partial(_load, material=material))


def _public_material(public: object, algorithm: Algorithm) -> dict[Attribute, bytes] | None:
    """The attributes that are the public key; None when it is not of this algorithm."""
    if isinstance(public, rsa.RSAPublicKey) and algorithm.family is Family.RSA:
        numbers = public.public_numbers()
        material = {
            Attribute.MODULUS: numbers.n.to_bytes(public.key_size // 8, "big"),
            Attribute.PUBLIC_EXPONENT: numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big"),
        }
        return material if public.key_size == algorithm.bits else None
    if isinstance(public, ec.EllipticCurvePublicKey) and algorithm is Algorithm.EC_P256:
        material = {
            Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1"),
            Attribute.EC_POINT: keys.EC_POINT_HEADER + agreement.encode(public),
        }
        return material if isinstance(public.curve, ec.SECP256R1) else None
    return None


def import_secret(
    location: TokenLocation, spec: KeySpec, value: bytes, *, check_value: str | None = None
) -> KeyEntry:
    """Load a secret key in the clear: for development and tests only. The entry for the key ring.

    `value` has the algorithm's length. `check_value`, in upper-case hex, is the partner's, and must
    be given for an AES key that only deciphers or derives, whose own can never be computed.
    """
    entry = spec.entry(Origin.IMPORTED)
    is_secret = entry.role.operative is ObjectClass.SECRET_KEY
    if not is_secret or len(value) * 8 != spec.algorithm.bits:
        raise ProvisioningError("the key has another length than its algorithm", key=entry.id)
    material = {Attribute.VALUE: value}
    return _make(location, entry, partial(_load, material=material), check_value=check_value)


def _make(
    location: TokenLocation,
    entry: KeyEntry,
    make: Callable[[Session, KeyEntry, str | None], None],
    *,
    check_value: str | None = None,
) -> KeyEntry:
    """Make a key that is not there yet, and describe it."""
    with _ceremony(location, entry) as session:
        for object_class in ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY:
            if keys.search(session, entry, object_class):
                raise ProvisioningError("the id is taken", key=entry.id)
        make(session, entry, check_value)
        objects = {
            object_class: keys.search(session, entry, object_class)[0]
            for object_class in entry.role.grants
        }
        return _describe(entry, objects, check_value)


@contextmanager
def _ceremony(location: TokenLocation, entry: KeyEntry) -> Iterator[Session]:
    """A read-write session for one key, and the library left as it was found."""
    library = Library.load(location.module)
    try:
        session = token.open_session(token.find(library, location), location, read_write=True)
        try:
            yield session
        finally:
            token.close_session(session)
    except PKCS11Error as error:
        reason = return_value(error).name
    else:
        return
    finally:
        library.close()
    raise ProvisioningError("the token refused to make the key", key=entry.id, reason=reason)


def _template(entry: KeyEntry, object_class: ObjectClass) -> dict[Attribute, Any]:
    return {
        **entry.role.template(object_class, destroyable=entry.destroyable),
        Attribute.LABEL: entry.id,
        Attribute.ID: entry.id.encode("utf-8"),
    }


def _generate(session: Session, entry: KeyEntry, _: str | None) -> None:
    """C_GenerateKey or C_GenerateKeyPair with nothing but our own template."""
    key_type = KEY_TYPES[entry.algorithm]
    if entry.role.operative is ObjectClass.SECRET_KEY:
        session.generate_key(
            key_type,
            entry.algorithm.bits,
            capabilities=_NONE,
            template=_template(entry, ObjectClass.SECRET_KEY),
        )
        return
    is_rsa = entry.algorithm.family is Family.RSA
    session.generate_keypair(
        key_type,
        entry.algorithm.bits if is_rsa else None,
        capabilities=_NONE,
        mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN if is_rsa else Mechanism.EC_KEY_PAIR_GEN,
        public_template={
            **({} if is_rsa else {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}),
            **_template(entry, ObjectClass.PUBLIC_KEY),
        },
        private_template=_template(entry, ObjectClass.PRIVATE_KEY),
    )


def _load(
    session: Session,
    entry: KeyEntry,
    check_value: str | None,
    *,
    material: dict[Attribute, bytes],
) -> None:
    """C_CreateObject, first as a session object to see that it is the right key: what is once in
    the token may not be destroyed.
    """
    passing = {Attribute.TOKEN: False, Attribute.DESTROYABLE: True}
    rehearsal = _create(session, entry, {**material, **passing})
    try:
        _describe(entry, {entry.role.operative: rehearsal}, check_value)
    finally:
        rehearsal.destroy()
    _create(session, entry, material)


def _create(session: Session, entry: KeyEntry, changes: Mapping[Attribute, object]) -> Object:
    """C_CreateObject with nothing but our own template, the key itself, and `changes` to both."""
    object_class = entry.role.operative
    return session.create_object(
        {
            Attribute.CLASS: object_class,
            Attribute.KEY_TYPE: KEY_TYPES[entry.algorithm],
            **_template(entry, object_class),
            **changes,
        }
    )


def _describe(
    entry: KeyEntry, objects: Mapping[ObjectClass, Object], check_value: str | None
) -> KeyEntry:
    """The entry with the check values of the key in these objects.

    ProvisioningError when they are not those that were promised.
    """
    live = keys.assemble(entry, objects)
    measured = keys.measure(live)
    if measured is None:
        measured = check_value
    if measured is None or (check_value and not measured.startswith(check_value)):
        raise ProvisioningError("the check value is missing or another", key=entry.id)
    role = entry.role
    described = replace(
        entry,
        check_value=measured,
        decipher_check_value=keys.measure_deciphering(live) if role.only_deciphers else None,
        derivation_check_value=keys.measure_derivation(live) if role.only_derives else None,
    )
    if not keys.is_authentic(replace(live, entry=described)):
        raise ProvisioningError("the new key does not give its own check value", key=entry.id)
    return described

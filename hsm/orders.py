"""Orders: keys that shall be made in a token or loaded into it, and how a session fulfils them.

Rules:
- A key is made with every attribute of its role's template, or not at all.
- What is loaded is proved on session objects first: its length, its check value, that no other key
  of the ring has it. So is that the token opens with the padding of a pair, which no list of
  mechanisms tells. What is once in the token may be indestructible.
- The key's entry is computed from what the token holds, never from what was asked for, and given
  only after the same inspection as at a start.
- An order that is repeated ends like one that was not: an object under the id that is exactly what
  was ordered is adopted. Anything else under the id is refused, and never replaced.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, Mechanism, Object, ObjectClass, Session

from hsm import agreement, inspection, keys, loading
from hsm.attributes import KEY_TYPES, P256
from hsm.errors import CheckValueMismatch, Finding, KeyDuplicated, ProvisioningError
from hsm.keyring import CHECK_VALUE_DIGITS, KeyEntry, Keyring, dump, parse
from hsm.mechanisms import ECB, JWA_PADDING
from hsm.passing import NO_DEFAULTS, destroy
from hsm.roles import ROLES, passing_template
from hsm.vocabulary import Algorithm, Family, Mode, Origin, State, Usage

Template = Mapping[Attribute, Any]
Create = Callable[[Template], Any]
"""Makes an object of the key's class and type, with the key's value and these attributes."""

_REMEDY: Final = "enter it in the key ring as retired, and have the next version made"
_CLASSES: Final = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
_HALVES: Final = (ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY)
_PASSING: Final[Template] = {Attribute.TOKEN: False, Attribute.DESTROYABLE: True}
_AS_ORDERED: Final[Template] = {}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A key to be made, checked as far as that goes without a token.

    `source` opens, in a session, what the key is loaded from; None when the token makes it itself.
    `check_value` is the one that was promised, if any.
    """

    entry: KeyEntry
    source: Callable[[Session], Create] | None = None
    check_value: str | None = None


def generation(spec: KeySpec) -> Order:
    """Of a secret key or a key pair that the token draws.

    ProvisioningError for an AES key that only deciphers: nothing would ever tell its check value.
    KeyringError for a partner's public key.
    """
    entry = spec.entry(Origin.GENERATED)
    if spec.algorithm.family is Family.AES and entry.role.only_deciphers:
        raise ProvisioningError("an AES key of this mode can only be imported", key=entry.id)
    return Order(entry=entry)


def secret(spec: KeySpec, value: bytes, *, check_value: str | None) -> Order:
    """Of a secret key that comes in the clear, `value` of its algorithm's length."""
    entry = _secret_entry(spec)
    if len(value) * 8 != spec.algorithm.bits:
        raise ProvisioningError("the key has another length than its algorithm", key=entry.id)
    return Order(
        entry=entry,
        source=partial(_object_source, entry, {Attribute.VALUE: bytes(value)}),
        check_value=check_value,
    )


def wrapped(spec: KeySpec, data: bytes, under: KeyEntry, *, check_value: str | None) -> Order:
    """Of a secret key that comes wrapped by OAEP for `under`, a K2 pair of the same token."""
    entry = _secret_entry(spec)
    padding = JWA_PADDING[under.jwa or ""]

    def source(session: Session) -> Create:
        return loading.unwrapper(keys.locate(session, under), data, padding, entry.algorithm)

    return Order(entry=entry, source=source, check_value=check_value)


def public(spec: KeySpec, spki: bytes) -> Order:
    """Of a partner's RSA or P-256 public key, a SubjectPublicKeyInfo in DER."""
    entry = spec.entry(Origin.IMPORTED)
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise ProvisioningError("the public key is malformed", key=entry.id) from None
    material = _public_material(key, spec.algorithm)
    if entry.role.operative is not ObjectClass.PUBLIC_KEY or material is None:
        raise ProvisioningError("the public key is of another algorithm", key=entry.id)
    return Order(entry=entry, source=partial(_object_source, entry, material))


def fulfil(session: Session, order: Order, *, ring: Iterable[KeyEntry] = ()) -> KeyEntry:
    """Make the key in a read-write session, or adopt what an interrupted order made; its entry.

    `ring` holds the keys that a loaded one may not repeat: KeyDuplicated. CheckValueMismatch when
    it is not what was promised; HsmDataRefused for a wrapped key that is not one of its algorithm;
    ProvisioningError when another object has the id. PKCS11Error when the token fails or refuses.
    """
    if order.source is None:
        if not _is_taken(session, order.entry):
            if order.entry.jwa is not None:
                _rehearse_pair(session, order.entry)
            _generate(session, order.entry)
        return _proved(session, order.entry, is_measured=False)
    create = order.source(session)
    entry = _rehearse(create, order)
    _refuse_duplicate(entry, ring)
    if not _is_taken(session, entry):
        create(template(entry, entry.role.operative))
    return _proved(session, entry, is_measured=True)


def template(entry: KeyEntry, object_class: ObjectClass) -> dict[Attribute, Any]:
    """The attributes of the key's object of a class: its label, its id, and its role's template."""
    return {
        Attribute.LABEL: entry.id,
        Attribute.ID: entry.id.encode("utf-8"),
        **entry.role.template(object_class, destroyable=entry.destroyable),
    }


def _secret_entry(spec: KeySpec) -> KeyEntry:
    entry = spec.entry(Origin.IMPORTED)
    if entry.role.operative is not ObjectClass.SECRET_KEY:
        raise ProvisioningError("only a secret key is loaded like this", key=entry.id)
    return entry


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
            Attribute.EC_PARAMS: P256,
            Attribute.EC_POINT: keys.EC_POINT_HEADER + agreement.encode(public),
        }
        return material if isinstance(public.curve, ec.SECP256R1) else None
    return None


def _object_source(entry: KeyEntry, material: Template, session: Session) -> Create:
    """C_CreateObject with nothing but our own template and the key itself."""
    fixed = {
        Attribute.CLASS: entry.role.operative,
        Attribute.KEY_TYPE: KEY_TYPES[entry.algorithm],
        **material,
    }
    return lambda attributes: session.create_object({**fixed, **attributes})


def _generate(session: Session, entry: KeyEntry, changes: Template = _AS_ORDERED) -> Any:
    """C_GenerateKey or C_GenerateKeyPair with nothing but our own template: a secret key, or the
    public and the private half of a pair.
    """
    key_type = KEY_TYPES[entry.algorithm]
    if entry.role.operative is ObjectClass.SECRET_KEY:
        return session.generate_key(
            key_type,
            entry.algorithm.bits,
            capabilities=NO_DEFAULTS,
            template={**template(entry, ObjectClass.SECRET_KEY), **changes},
        )
    is_rsa = entry.algorithm.family is Family.RSA
    return session.generate_keypair(
        key_type,
        entry.algorithm.bits if is_rsa else None,
        capabilities=NO_DEFAULTS,
        mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN if is_rsa else Mechanism.EC_KEY_PAIR_GEN,
        public_template={
            **({} if is_rsa else {Attribute.EC_PARAMS: P256}),
            **template(entry, ObjectClass.PUBLIC_KEY),
            **changes,
        },
        private_template={**template(entry, ObjectClass.PRIVATE_KEY), **changes},
    )


def _rehearse_pair(session: Session, entry: KeyEntry) -> None:
    """ProvisioningError when the token does not open with the padding of this RSA key."""
    with ExitStack() as turn:
        halves = dict(zip(_HALVES, _generate(session, entry, _PASSING), strict=True))
        for half in halves.values():
            turn.callback(destroy, half)
        live = keys.assemble(entry, halves)
        described = _described(live, keys.measure(live), None)
        findings = tuple(inspection.inspect_behaviour(session, described, halves))
    if any(finding.attribute == inspection.USE for finding in findings):
        raise ProvisioningError(
            "the token does not open with this padding",
            key=entry.id,
            jwa=entry.jwa or "",
            remedy="use RSA-OAEP",
        )


def _rehearse(create: Create, order: Order) -> KeyEntry:
    """The entry with the check values of the key, from session objects that end here."""
    entry, operative = order.entry, order.entry.role.operative
    with ExitStack() as turn:

        def passing(attributes: Template) -> Any:
            made = create(attributes)
            turn.callback(destroy, made)
            return made

        own = passing({**template(entry, operative), **_PASSING})
        live = keys.assemble(entry, {operative: own})
        if not entry.role.only_deciphers:
            return _described(live, keys.measure(live), order.check_value)
        # The value of a key that only deciphers is measured on one that only enciphers.
        family = entry.algorithm.family
        enciphering = passing(passing_template((Attribute.ENCRYPT,), (ECB[family],)))
        measured = keys.measure_by(
            lambda blocks: enciphering.encrypt(blocks, mechanism=ECB[family]), family
        )
        return _described(live, measured, order.check_value)


def _described(live: keys.LiveKey, measured: str | None, promised: str | None) -> KeyEntry:
    """The entry with a key's check values. CheckValueMismatch when they are not as promised."""
    entry, role = live.entry, live.entry.role
    if measured is None or not is_promised(entry, measured, promised):
        raise CheckValueMismatch(key=entry.id)
    return replace(
        entry,
        check_value=measured,
        decipher_check_value=keys.measure_deciphering(live) if role.only_deciphers else None,
        derivation_check_value=keys.measure_derivation(live) if role.only_derives else None,
    )


def is_promised(entry: KeyEntry, measured: str, promised: str | None) -> bool:
    """Whether a measured check value is the one that was promised, in a length that the key's
    family has; nothing promised is always kept.
    """
    if promised is None:
        return True
    digits = CHECK_VALUE_DIGITS[entry.algorithm.family]
    return len(promised) in digits and measured[: len(promised)] == promised


def _refuse_duplicate(entry: KeyEntry, ring: Iterable[KeyEntry]) -> None:
    """One key, one purpose: a value that the ring has already does not come in again."""
    for other in ring:
        if other.algorithm.family is entry.algorithm.family:
            length = min(len(other.check_value), len(entry.check_value))
            if other.check_value[:length] == entry.check_value[:length]:
                raise KeyDuplicated(key=entry.id, other=other.id)


def _found(session: Session, entry: KeyEntry) -> dict[ObjectClass, list[Object]]:
    """Whatever has the id of the key, of every class that keys have."""
    return {each: keys.search(session, entry, each) for each in _CLASSES}


def _is_taken(session: Session, entry: KeyEntry) -> bool:
    return any(_found(session, entry).values())


def _proved(session: Session, entry: KeyEntry, *, is_measured: bool) -> KeyEntry:
    """The entry of the key in the token, which is the one ordered in all that can be inspected."""
    found = _found(session, entry)
    objects = {each: found[each][0] for each in entry.role.grants if len(found[each]) == 1}
    if not len(objects) == sum(map(len, found.values())) == len(entry.role.grants):
        raise ProvisioningError("the id is taken by other objects", key=entry.id, remedy=_REMEDY)
    _refuse_other(entry, inspection.review(entry, objects))
    if not is_measured:
        live = keys.assemble(entry, objects)
        entry = _described(live, keys.measure(live), None)
    _refuse_other(entry, inspection.inspect_behaviour(session, entry, objects))
    return entry


def _refuse_other(entry: KeyEntry, findings: Iterable[Finding]) -> None:
    names = sorted({finding.attribute for finding in findings})
    if names:
        raise ProvisioningError(
            "another object has the id, or the token made it otherwise",
            key=entry.id,
            differs=", ".join(names),
            remedy=_REMEDY,
        )

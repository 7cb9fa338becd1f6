"""Keys with one thing changed: every attribute of every role, then identity, number and history.

Rules:
- Each mutation says what must be named of it, and nothing else may be: one change, one finding.
- Objects are made with C_CreateObject from known values, so that all but the change is right.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, Session

from hsm import keys
from hsm.attributes import KEY_TYPES, P256
from hsm.derivation import Step, derive
from hsm.keyring import KeyEntry
from hsm.roles import Role
from hsm.vocabulary import Family, Origin
from pinvault.development.environment import check_value
from tests.support.every_role import (
    ALGORITHMS,
    halves_of,
    pair_of,
    spec_of,
    value_of,
)
from tests.support.thief import PRIVATE, PUBLIC, SECRET

Parts = Mapping[ObjectClass, Sequence[Mapping[Attribute, Any]]]
LEFT_OUT = object()
ANOTHER_MECHANISM = 0x80000001

STRAY = {Attribute.WRAP, Attribute.UNWRAP, Attribute.DERIVE}
"""What no object outside the key ring may do."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A key with one thing changed: its objects, its entry, and what must be said of it."""

    what: str
    parts: Parts
    entry: KeyEntry
    named: frozenset[str]


# What a key is when nothing is changed.


def material(role: Role) -> dict[ObjectClass, dict[Attribute, Any]]:
    """The attributes that are the key, for each object of the role."""
    if role.operative is not SECRET:
        halves = halves_of(pair_of(role.family))
        return {each: halves[each] for each in role.grants}
    key_type = KEY_TYPES[ALGORITHMS[role.family]]
    return {SECRET: {Attribute.KEY_TYPE: key_type, Attribute.VALUE: value_of(role)}}


def attributes_of(role: Role, object_class: ObjectClass) -> dict[Attribute, Any]:
    """Everything that an object of the role is made with, but its names. It can be destroyed."""
    template = role.template(object_class, destroyable=True)
    return {Attribute.CLASS: object_class, **material(role)[object_class], **template}


def whole(role: Role) -> dict[ObjectClass, list[dict[Attribute, Any]]]:
    return {each: [attributes_of(role, each)] for each in role.grants}


def changed(role: Role, of: ObjectClass, changes: Mapping[Attribute, Any]) -> Parts:
    return {**whole(role), of: [{**attributes_of(role, of), **changes}]}


def plant(session: Session, parts: Parts, entry: KeyEntry) -> list[Any]:
    """Put objects into the token under the names of an entry, where they do not say others."""
    names = {Attribute.LABEL: entry.id, Attribute.ID: entry.id.encode()}
    return [
        session.create_object(
            {name: value for name, value in {**names, **part}.items() if value is not LEFT_OUT}
        )
        for same in parts.values()
        for part in same
    ]


def described(session: Session, role: Role) -> KeyEntry:
    """The entry of the unchanged key, its check values as the token gives them."""
    entry = replace(spec_of(role).entry(Origin.IMPORTED), destroyable=True)
    parts = {each: [{**same[0], Attribute.TOKEN: False}] for each, same in whole(role).items()}
    planted = plant(session, parts, entry)
    live = keys.assemble(entry, dict(zip(parts, planted, strict=True)))
    measured = replace(
        entry,
        check_value=keys.measure(live) or check_value(value_of(role), entry.algorithm),
        decipher_check_value=keys.measure_deciphering(live) if role.only_deciphers else None,
        derivation_check_value=keys.measure_derivation(live) if role.only_derives else None,
    )
    for each in planted:
        each.destroy()
    return measured


# What is changed, one thing at a time.


def mutations(role: Role, entry: KeyEntry) -> Iterator[Mutation]:
    """Every mutation of a key of this role that objects can be created for."""
    for number, (what, parts, changes, named) in enumerate(_changes(role, entry)):
        name = f"{entry.name}.{number}"
        yield Mutation(what, parts, replace(entry, name=name, **changes), frozenset(named))


def _changes(
    role: Role, entry: KeyEntry
) -> Iterator[tuple[str, Parts, Mapping[str, Any], tuple[str, ...]]]:
    for of in role.grants:
        for what, attribute, value in _other_values(role, of):
            name = f"{of.name} objects" if attribute is Attribute.TOKEN else attribute.name
            yield f"{of.name} {what}", changed(role, of, {attribute: value}), {}, (name,)
        for what, template, named in _other_unwrap_templates(role, of):
            parts = changed(role, of, {Attribute.UNWRAP_TEMPLATE: template})
            yield f"{of.name} UNWRAP_TEMPLATE {what}", parts, {}, named
        objects = f"{of.name} objects"
        yield f"{of.name} LABEL", changed(role, of, {Attribute.LABEL: "another/1"}), {}, (objects,)
        # Under the key's own label it is a stranger, and perhaps a dangerous one.
        stray = (each.name for each in role.grants[of].capabilities & STRAY)
        renamed = changed(role, of, {Attribute.ID: b"another/1"})
        yield f"{of.name} ID", renamed, {}, (objects, *stray)
        twice = {**whole(role), of: [attributes_of(role, of)] * 2}
        yield f"{of.name} twice", twice, {}, (objects,)
        yield f"{of.name} missing", {**whole(role), of: []}, {}, (objects,)
    yield from _other_identities(role)
    if role.operative is not PUBLIC:
        flags = ("LOCAL", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE")
        yield "not made here", whole(role), {"origin": Origin.GENERATED}, flags
    undestroyable = {"destroyable": False}
    yield "DESTROYABLE after all", whole(role), undestroyable, ("DESTROYABLE",)
    for check in ("check_value", "decipher_check_value", "derivation_check_value"):
        value = getattr(entry, check)
        if value is not None and not (check == "check_value" and _is_mute(role)):
            wrong = {check: "0" * len(value)}
            yield f"wrong {check}", whole(role), wrong, (check.replace("_", " "),)


def _is_mute(role: Role) -> bool:
    """Whether no token can tell the check value: of an AES key that does not encipher."""
    return role.family is Family.AES and not role.permits(Attribute.ENCRYPT)


def _other_values(role: Role, of: ObjectClass) -> Iterator[tuple[str, Attribute, Any]]:
    """Each attribute of the template with another value than it has there."""
    for attribute, value in role.template(of, destroyable=True).items():
        if isinstance(value, bool):
            yield f"{attribute.name} {not value}", attribute, not value
        if not isinstance(value, frozenset):
            continue
        yield f"{attribute.name} one more", attribute, value | {ANOTHER_MECHANISM}
        yield f"{attribute.name} another", attribute, {ANOTHER_MECHANISM}
        yield f"{attribute.name} left out", attribute, LEFT_OUT
        yield f"{attribute.name} none", attribute, frozenset()
        for one in sorted(value) if len(value) > 1 else ():
            yield f"{attribute.name} without {one}", attribute, value - {one}


def _other_unwrap_templates(
    role: Role, of: ObjectClass
) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Templates for unwrapped keys that leave something open, or that no content key is of."""
    told = {
        Attribute.SENSITIVE: "unwrapping into the open",
        Attribute.EXTRACTABLE: "unwrapping what can be wrapped",
    }
    whole = role.template(of, destroyable=True).get(Attribute.UNWRAP_TEMPLATE)
    if not isinstance(whole, Mapping):
        return
    yield "left out", LEFT_OUT, tuple(told.values())
    yield "none", {}, tuple(told.values())
    for attribute, value in whole.items():
        rest = {name: kept for name, kept in whole.items() if name is not attribute}
        yield f"without {attribute.name}", rest, (told[attribute],)
        yield f"{attribute.name} {not value}", {**whole, attribute: not value}, ("use",)


def _other_identities(role: Role) -> Iterator[tuple[str, Parts, dict[str, Any], tuple[str, ...]]]:
    """Another type, length or half than the entry says."""
    if role.operative is SECRET:
        for what, key_type, length, named in OTHER_SECRETS[role.family]:
            other = {Attribute.KEY_TYPE: key_type, Attribute.VALUE: bytes(range(length))}
            yield what, changed(role, SECRET, other), {}, named
        return
    for what, pair, named in other_pairs()[role.family]:
        halves = halves_of(pair)
        parts = {
            of: [{**attributes_of(role, of), **_cleared(role, of), **halves[of]}]
            for of in role.grants
        }
        yield what, parts, {}, named
    if len(role.grants) == 2:
        other = halves_of(pair_of(role.family, another=True))
        yield "a stranger's private half", changed(role, PRIVATE, other[PRIVATE]), {}, ("key pair",)
        yield "a stranger's public half", changed(role, PUBLIC, other[PUBLIC]), {}, ("check value",)


def _cleared(role: Role, of: ObjectClass) -> dict[Attribute, Any]:
    return dict.fromkeys(material(role)[of], LEFT_OUT)


OTHER_SECRETS: dict[Family, tuple[tuple[str, KeyType, int, tuple[str, ...]], ...]] = {
    Family.TDES: (
        ("of three lengths", KeyType.DES3, 24, ("KEY_TYPE",)),
        ("of type AES", KeyType.AES, 16, ("KEY_TYPE",)),
        ("of no type", KeyType.GENERIC_SECRET, 16, ("KEY_TYPE",)),
    ),
    Family.AES: (
        ("too short", KeyType.AES, 16, ("length in bits",)),
        ("a little too short", KeyType.AES, 24, ("length in bits",)),
        ("of type TDES", KeyType.DES3, 24, ("KEY_TYPE",)),
        ("of no type", KeyType.GENERIC_SECRET, 32, ("KEY_TYPE",)),
    ),
    Family.HMAC: (
        ("too short", KeyType.GENERIC_SECRET, 31, ("length in bits",)),
        ("too long", KeyType.GENERIC_SECRET, 33, ("length in bits",)),
        ("of type AES", KeyType.AES, 32, ("KEY_TYPE",)),
    ),
}


@cache
def other_pairs() -> dict[Family, tuple[tuple[str, Any, tuple[str, ...]], ...]]:
    """Pairs of another type or length."""
    return {
        Family.RSA: (
            ("too short", rsa.generate_private_key(65537, 1024), ("length in bits",)),
            ("of type EC", pair_of(Family.EC), ("KEY_TYPE",)),
        ),
        Family.EC: (
            ("of type RSA", pair_of(Family.RSA), ("KEY_TYPE",)),
            ("on another curve", ec.generate_private_key(ec.SECP384R1()), ("EC_PARAMS",)),
            ("on a curve as long", ec.generate_private_key(ec.SECP256K1()), ("EC_PARAMS",)),
        ),
    }


# What a key's history says: flags that the token sets, and no template can.


def histories(session: Session, role: Role, entry: KeyEntry) -> Iterator[tuple[KeyEntry, set[str]]]:
    """Generated keys that were once readable, once extractable, or derived and not generated.

    SoftHSM lets a key be hardened afterwards only where it stays modifiable.
    """
    for flag, attribute in (
        ("ALWAYS_SENSITIVE", Attribute.SENSITIVE),
        ("NEVER_EXTRACTABLE", Attribute.EXTRACTABLE),
    ):
        once = replace(entry, name=f"{entry.name}.{flag.lower()}", origin=Origin.GENERATED)
        hard = role.template(role.operative, destroyable=True)[attribute]
        key = _generated(session, role, once, {attribute: not hard, Attribute.MODIFIABLE: True})
        key[attribute] = hard
        yield once, {flag, "MODIFIABLE"}
    if role.operative is SECRET:
        derived = replace(entry, name=f"{entry.name}.local", origin=Origin.GENERATED)
        _derived(session, role, derived)
        yield derived, {"LOCAL"}


def _names(entry: KeyEntry) -> dict[Attribute, Any]:
    return {Attribute.LABEL: entry.id, Attribute.ID: entry.id.encode()}


def _generated(
    session: Session, role: Role, entry: KeyEntry, changes: Mapping[Attribute, Any]
) -> Any:
    """The half with the secret of a new key in the token."""
    names, nothing = _names(entry), MechanismFlag(0)
    key_type, bits = KEY_TYPES[entry.algorithm], entry.algorithm.bits
    templates = {each: {**role.template(each, destroyable=True), **names} for each in role.grants}
    if role.operative is SECRET:
        template = {**templates[SECRET], **changes}
        return session.generate_key(key_type, bits, capabilities=nothing, template=template)
    is_rsa = role.family is Family.RSA
    curve = {Attribute.EC_PARAMS: P256}
    _, private = session.generate_keypair(
        key_type,
        bits if is_rsa else None,
        capabilities=nothing,
        mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN if is_rsa else Mechanism.EC_KEY_PAIR_GEN,
        public_template={**({} if is_rsa else curve), **templates[PUBLIC]},
        private_template={**templates[PRIVATE], **changes},
    )
    return private


def _derived(session: Session, role: Role, entry: KeyEntry) -> None:
    """A key that came about in the token, but not by generating it."""
    kept = {
        Attribute.DERIVE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
    }
    parent = session.generate_key(KeyType.AES, 256, capabilities=MechanismFlag(0), template=kept)
    template = {**_names(entry), **role.template(SECRET, destroyable=True)}
    derive(parent, Family.AES, Step(entry.algorithm, bytes(32)), template)

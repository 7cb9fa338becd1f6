"""The start-up inspection: the token must agree with the key ring, attribute by attribute.

Rules:
- Equality, not "at least": every capability and the set of allowed mechanisms equal the template of
  the key's role. A capability that the token does not know counts as false, and only then. What no
  token need tell, the template for unwrapped keys, is proved by probes instead.
- Exactly one object of each expected class for a label and id; the right type and length.
- A generated key is LOCAL, ALWAYS_SENSITIVE and NEVER_EXTRACTABLE; the token sets these flags.
- The key behaves as its check values say, and every negative probe is refused.
- Any object outside the key ring that can wrap, unwrap, derive, or give up its value is a finding;
  a harmless stranger is a warning. A retired key may stay, with what its role permits.
- All findings are collected, not only the first. No finding holds a value of a key.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from pkcs11 import Attribute, Object, ObjectClass, Session, Token
from pkcs11.exceptions import PKCS11Error

from hsm import keys, token
from hsm.attributes import ABSENT, KEY_TYPES, P256, display, mechanism_name, read
from hsm.errors import Fault, Finding, InspectionFailed, MechanismMissing, Severity, return_value
from hsm.keyring import KeyEntry, Keyring
from hsm.mechanisms import needed
from hsm.module import Library
from hsm.probes import probes
from hsm.roles import Template
from hsm.token import TokenLocation
from hsm.vocabulary import Family, Origin, State

_REPLACE: Final = "replace the key: provision it again from the template of its role"
_COMPARE: Final = "find out which is right: the record of the key ceremony decides"
_EXPLAIN: Final = "repeat the change of keys that left it; if there was none, find out who made it"

# Attributes that a token may lack because it never grants what they stand for.
_MAY_BE_ABSENT: Final = frozenset(
    {
        Attribute.SIGN_RECOVER,
        Attribute.VERIFY_RECOVER,
        Attribute.TRUSTED,
        Attribute.ALWAYS_AUTHENTICATE,
        Attribute.DERIVE,
    }
)
_PROVED_BY_PROBES: Final = frozenset({Attribute.UNWRAP_TEMPLATE})
_MADE_HERE: Final[Mapping[ObjectClass, tuple[Attribute, ...]]] = MappingProxyType(
    {
        ObjectClass.SECRET_KEY: (
            Attribute.LOCAL,
            Attribute.ALWAYS_SENSITIVE,
            Attribute.NEVER_EXTRACTABLE,
        ),
        ObjectClass.PRIVATE_KEY: (
            Attribute.LOCAL,
            Attribute.ALWAYS_SENSITIVE,
            Attribute.NEVER_EXTRACTABLE,
        ),
        ObjectClass.PUBLIC_KEY: (Attribute.LOCAL,),
    }
)
_DANGEROUS: Final[Mapping[Attribute, bool]] = MappingProxyType(
    {
        Attribute.WRAP: True,
        Attribute.UNWRAP: True,
        Attribute.DERIVE: True,
        Attribute.EXTRACTABLE: True,
        Attribute.TRUSTED: True,
        Attribute.SENSITIVE: False,
    }
)
_PASSIVE: Final = frozenset({ObjectClass.DATA, ObjectClass.CERTIFICATE})
"""Classes whose objects can do nothing; whatever is of no known class is judged like a key."""
_LOSSES: Final = frozenset({Fault.HANDLE, Fault.SESSION, Fault.LIBRARY, Fault.LOGIN})
"""Faults that tell nothing about the key: the token itself is out of reach."""
USE: Final = "use"
"""What a key that cannot be used at all disagrees in."""
_WANTS_A_LOGIN: Final = "CKR_USER_NOT_LOGGED_IN"
"""The answer of a key that wants a login of its own for each use (CKA_ALWAYS_AUTHENTICATE)."""


def inspect_token(
    library: Library, location: TokenLocation, keyring: Keyring, *, unfinished: str | None = None
) -> tuple[Finding, ...]:
    """Compare the token with the key ring in a session of its own; the warnings, if that is all.

    `unfinished` is the id of a key that an interrupted order may have left. InspectionFailed with
    every finding when one of them stops the start.
    """
    found = token.find(library, location)
    check_mechanisms(found, keyring)
    session = token.open_session(found, location, read_write=True)
    try:
        findings = inspect(session, keyring, unfinished=unfinished)
    finally:
        token.close_session(session)
    if any(finding.severity is Severity.STOP for finding in findings):
        raise InspectionFailed(findings)
    return findings


def check_mechanisms(found: Token, keyring: Keyring) -> None:
    """MechanismMissing, naming them all, when the token lacks what the key ring needs."""
    missing = needed(keyring.in_use) - {int(each) for each in found.slot.get_mechanisms()}
    if missing:
        raise MechanismMissing(
            missing=", ".join(sorted(mechanism_name(each) for each in missing)),
            remedy="enable the mechanisms on the token, or take these keys out of the key ring",
        )


def inspect(
    session: Session, keyring: Keyring, *, unfinished: str | None = None
) -> tuple[Finding, ...]:
    """Every disagreement between the token and the key ring; empty when they agree.

    `session` is logged in and read-write, so that the probes are refused by the key and not by the
    session. PKCS11Error when the token fails.
    """
    findings = [finding for entry in keyring.in_use for finding in inspect_key(session, entry)]
    findings.extend(inspect_strangers(session, keyring, unfinished=unfinished))
    return tuple(findings)


def review(entry: KeyEntry, objects: Mapping[ObjectClass, Object]) -> tuple[Finding, ...]:
    """Every attribute of these objects that disagrees with the key's template."""
    return tuple(
        finding
        for object_class, key in objects.items()
        for finding in _inspect_attributes(key, entry, object_class)
    )


def inspect_key(session: Session, entry: KeyEntry) -> Iterator[Finding]:
    """Objects, then attributes; only a key that has all its objects is put to work."""
    objects: dict[ObjectClass, Object] = {}
    for object_class in entry.role.grants:
        found = keys.search(session, entry, object_class)
        if len(found) == 1:
            objects[object_class] = found[0]
        else:
            yield Finding(
                key_id=entry.id,
                attribute=f"{object_class.name} objects",
                expected="1",
                found=str(len(found)),
                remedy="load the missing key" if not found else "remove the duplicates",
            )
    yield from review(entry, objects)
    if len(objects) == len(entry.role.grants):
        yield from inspect_behaviour(session, entry, objects)


def _inspect_attributes(
    key: Object, entry: KeyEntry, object_class: ObjectClass
) -> Iterator[Finding]:
    template = entry.role.template(object_class, destroyable=entry.destroyable)
    for attribute, found in differences(key, template):
        yield _disagreement(entry, attribute.name, template[attribute], found)
    yield from _inspect_algorithm(key, entry)
    made_here = entry.origin is Origin.GENERATED
    for attribute in _MADE_HERE[object_class]:
        found = read(key, attribute)
        if found is not made_here and (made_here or attribute is Attribute.LOCAL):
            yield _disagreement(entry, attribute.name, made_here, found)


def _inspect_algorithm(key: Object, entry: KeyEntry) -> Iterator[Finding]:
    """The type and, of the right type, the length or the curve."""
    algorithm, key_type = entry.algorithm, KEY_TYPES[entry.algorithm]
    if (found := read(key, Attribute.KEY_TYPE)) != key_type:
        yield _disagreement(entry, "KEY_TYPE", key_type.name, getattr(found, "name", found))
    elif algorithm.family is Family.EC:
        if (curve := read(key, Attribute.EC_PARAMS)) != P256:
            found = "another curve" if isinstance(curve, bytes) else curve
            yield _disagreement(entry, "EC_PARAMS", "P-256", found)
    elif (length := _length(key, entry)) != algorithm.bits:
        yield _disagreement(entry, "length in bits", algorithm.bits, length)


def differences(key: Object, template: Template) -> Iterator[tuple[Attribute, object]]:
    """Every attribute that reads back as another value than the template's, and that value."""
    for attribute, expected in template.items():
        if attribute in _PROVED_BY_PROBES:
            continue
        found = read(key, attribute)
        may_be_absent = expected is False and attribute in _MAY_BE_ABSENT
        if found != expected and not (found is ABSENT and may_be_absent):
            yield attribute, found


def _length(key: Object, entry: KeyEntry) -> object:
    """The key's length in bits as the token reports it; a TDES type says its length itself.

    An unwrapped key of SoftHSM reports none. It was proved when the key was loaded, and the check
    value proves the key.
    """
    match entry.algorithm.family:
        case Family.TDES:
            return entry.algorithm.bits
        case Family.RSA:
            modulus = read(key, Attribute.MODULUS)
            if not isinstance(modulus, bytes):
                return ABSENT
            return int.from_bytes(modulus, "big").bit_length()
        case _:
            length = read(key, Attribute.VALUE_LEN)
            if length == 0 and entry.origin is Origin.IMPORTED:
                return entry.algorithm.bits
            return length * 8 if isinstance(length, int) else length


def inspect_behaviour(
    session: Session, entry: KeyEntry, objects: Mapping[ObjectClass, Object]
) -> Iterator[Finding]:
    """The check values, then the probes. A key that cannot be used at all is one finding."""
    try:
        live = keys.assemble(entry, objects)
        yield from _inspect_check_values(live)
        for probe in probes(session, live):
            if not probe.is_refused():
                yield _disagreement(entry, probe.name, "refused", "permitted")
    except PKCS11Error as error:
        value = return_value(error)
        if value.fault in _LOSSES and value.name != _WANTS_A_LOGIN:
            raise
        yield _disagreement(entry, USE, "possible", value.name)
    except keys.KeyChanged:
        yield _disagreement(entry, USE, "possible", "not possible")


def _inspect_check_values(live: keys.LiveKey) -> Iterator[Finding]:
    """The measured values one by one, so that the finding can tell which of them is wrong."""
    entry = live.entry
    measured = keys.measure(live)
    if measured is not None and measured[: len(entry.check_value)] != entry.check_value:
        yield _disagreement(entry, "check value", entry.check_value, measured, _COMPARE)
    elif entry.decipher_check_value is not None:
        deciphered = keys.measure_deciphering(live)
        if deciphered != entry.decipher_check_value:
            expected = entry.decipher_check_value
            yield _disagreement(entry, "decipher check value", expected, deciphered, _COMPARE)
    elif entry.derivation_check_value is not None:
        derived = keys.measure_derivation(live)
        if derived != entry.derivation_check_value:
            expected = entry.derivation_check_value
            yield _disagreement(entry, "derivation check value", expected, derived, _COMPARE)
    elif not keys.is_authentic(live):
        yield _disagreement(entry, "key pair", "matching halves", "strangers")


def inspect_strangers(
    session: Session,
    keyring: Keyring,
    *,
    leaving: Iterable[KeyEntry] = (),
    unfinished: str | None = None,
) -> Iterator[Finding]:
    """What is wrong with every object of the token that the key ring does not use.

    `leaving` are keys of the ring before this one, `unfinished` the id of a key that is still to be
    ordered: where this ring does not name them, whatever is to be said of them is a warning.
    """
    named = {
        (object_class, entry.id): entry
        for entry in keyring.keys
        for object_class in entry.role.grants
    }
    left = {(object_class, entry.id) for entry in leaving for object_class in entry.role.grants}
    for stranger in list(session.get_objects({Attribute.TOKEN: True})):
        object_class = read(stranger, Attribute.CLASS)
        label = display(read(stranger, Attribute.LABEL))
        is_labelled = read(stranger, Attribute.ID) == label.encode("utf-8")
        entry = named.get((object_class, label)) if is_labelled else None
        if entry is None:
            is_left = is_labelled and ((object_class, label) in left or label == unfinished)
            findings = _judge(stranger, object_class, label or "(no label)")
            yield from map(_as_warning, findings) if is_left else findings
        elif entry.state is State.RETIRED:
            role = entry.role.template(object_class, destroyable=entry.destroyable)
            yield from _dangers(stranger, entry.id, permitted=role)


def _judge(stranger: Object, object_class: object, name: str) -> Iterator[Finding]:
    """What an object outside the key ring means: perhaps dangers, and always a warning."""
    if object_class not in _PASSIVE:
        yield from _dangers(stranger, name)
    yield Finding(
        key_id=name,
        attribute="object",
        expected="named in the key ring",
        found="not named",
        remedy=_EXPLAIN,
        severity=Severity.WARNING,
    )


def _dangers(
    stranger: Object, name: str, *, permitted: Template = MappingProxyType({})
) -> Iterator[Finding]:
    """The dangerous attributes that an object has, except those that its role permits."""
    for attribute, danger in _DANGEROUS.items():
        if permitted.get(attribute) is not danger and read(stranger, attribute) is danger:
            yield Finding(
                key_id=name,
                attribute=attribute.name,
                expected=str(not danger),
                found=str(danger),
                remedy=_EXPLAIN,
            )


def _as_warning(finding: Finding) -> Finding:
    return replace(finding, severity=Severity.WARNING)


def _disagreement(
    entry: KeyEntry, attribute: str, expected: object, found: object, remedy: str = _REPLACE
) -> Finding:
    return Finding(
        key_id=entry.id,
        attribute=attribute,
        expected=display(expected),
        found=display(found),
        remedy=remedy,
    )

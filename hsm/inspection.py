"""The start-up inspection: the token must agree with the key ring, attribute by attribute.

Rules:
- Equality, not "at least": every capability and the set of allowed mechanisms equal the template of
  the key's role. A capability that the token does not know counts as false, and only then.
- Exactly one object of each expected class for a label and id; the right type and length.
- A generated key is LOCAL, ALWAYS_SENSITIVE and NEVER_EXTRACTABLE; the token sets these flags.
- The key behaves as its check values say, and every negative probe is refused.
- Any object outside the key ring that can wrap, unwrap, derive, or give up its value is a finding;
  a harmless stranger is a warning.
- All findings are collected, not only the first. No finding holds a value of a key.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from pkcs11 import Attribute, Object, ObjectClass, Session, Token
from pkcs11.exceptions import PKCS11Error

from hsm import keys, token
from hsm.attributes import ABSENT, KEY_TYPES, display, mechanism_name, read
from hsm.errors import Finding, InspectionFailed, MechanismMissing, Severity, return_value
from hsm.keyring import KeyEntry, Keyring
from hsm.mechanisms import needed
from hsm.module import Library
from hsm.probes import probes
from hsm.token import TokenLocation
from hsm.vocabulary import Family, Origin

_REPLACE: Final = "replace the key: provision it again from the template of its role"
_COMPARE: Final = "find out which is right: the record of the key ceremony decides"
_REMOVE: Final = "remove the object from the token, or use a token of its own for this service"

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


def inspect_token(
    library: Library, location: TokenLocation, keyring: Keyring
) -> tuple[Finding, ...]:
    """Compare the token with the key ring in a session of its own; the warnings, if that is all.

    InspectionFailed with every finding when one of them stops the start.
    """
    found = token.find(library, location)
    check_mechanisms(found, keyring)
    session = token.open_session(found, location, read_write=True)
    try:
        findings = inspect(session, keyring)
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


def inspect(session: Session, keyring: Keyring) -> tuple[Finding, ...]:
    """Every disagreement between the token and the key ring; empty when they agree.

    `session` is logged in and read-write, so that the probes are refused by the key and not by the
    session. PKCS11Error when the token fails.
    """
    findings = [finding for entry in keyring.in_use for finding in _inspect_key(session, entry)]
    findings.extend(_inspect_strangers(session, keyring))
    return tuple(findings)


def review(live: keys.LiveKey) -> tuple[Finding, ...]:
    """Every attribute of a key found in a session that disagrees with its template."""
    return tuple(
        finding
        for object_class, key in live.objects.items()
        for finding in _inspect_attributes(key, live.entry, object_class)
    )


def _inspect_key(session: Session, entry: KeyEntry) -> Iterator[Finding]:
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
    for object_class, key in objects.items():
        yield from _inspect_attributes(key, entry, object_class)
    if len(objects) == len(entry.role.grants):
        yield from _inspect_behaviour(session, entry, objects)


def _inspect_attributes(
    key: Object, entry: KeyEntry, object_class: ObjectClass
) -> Iterator[Finding]:
    template = entry.role.template(object_class, destroyable=entry.destroyable)
    for attribute, expected in template.items():
        found = read(key, attribute)
        if found is ABSENT and expected is False and attribute in _MAY_BE_ABSENT:
            continue
        if found != expected:
            yield _disagreement(entry, attribute.name, expected, found)
    key_type = KEY_TYPES[entry.algorithm]
    if (found := read(key, Attribute.KEY_TYPE)) != key_type:
        yield _disagreement(entry, "KEY_TYPE", key_type.name, getattr(found, "name", found))
    elif (length := _length(key, entry)) != entry.algorithm.bits:
        yield _disagreement(entry, "length in bits", entry.algorithm.bits, length)
    made_here = entry.origin is Origin.GENERATED
    for attribute in _MADE_HERE[object_class]:
        found = read(key, attribute)
        if found is not made_here and (made_here or attribute is Attribute.LOCAL):
            yield _disagreement(entry, attribute.name, made_here, found)


def _length(key: Object, entry: KeyEntry) -> object:
    """The key's length in bits as the token reports it; a TDES type says its length itself."""
    match entry.algorithm.family:
        case Family.TDES | Family.EC:
            return entry.algorithm.bits
        case Family.RSA:
            modulus = read(key, Attribute.MODULUS)
            if not isinstance(modulus, bytes):
                return ABSENT
            return int.from_bytes(modulus, "big").bit_length()
        case _:
            length = read(key, Attribute.VALUE_LEN)
            return length * 8 if isinstance(length, int) else length


def _inspect_behaviour(
    session: Session, entry: KeyEntry, objects: dict[ObjectClass, Object]
) -> Iterator[Finding]:
    """The check values, then the probes. A key that cannot be used at all is one finding."""
    try:
        live = keys.assemble(entry, objects)
        yield from _inspect_check_values(live)
        for probe in probes(session, live):
            if not probe.is_refused():
                yield _disagreement(entry, probe.name, "refused", "permitted")
    except PKCS11Error as error:
        yield _disagreement(entry, "use", "possible", return_value(error).name)
    except keys.KeyChanged:
        yield _disagreement(entry, "use", "possible", "not possible")


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


def _inspect_strangers(session: Session, keyring: Keyring) -> Iterator[Finding]:
    """Every object of the token that the key ring does not use."""
    expected = {
        (object_class, entry.id) for entry in keyring.in_use for object_class in entry.role.grants
    }
    retired = {entry.id for entry in keyring.keys} - {entry.id for entry in keyring.in_use}
    for stranger in list(session.get_objects({Attribute.TOKEN: True})):
        object_class = read(stranger, Attribute.CLASS)
        label = display(read(stranger, Attribute.LABEL))
        identity = read(stranger, Attribute.ID)
        if (object_class, label) in expected and identity == label.encode("utf-8"):
            continue
        yield from _judge(stranger, object_class, label, is_retired=label in retired)


def _judge(
    stranger: Object, object_class: object, label: str, *, is_retired: bool
) -> Iterable[Finding]:
    """What an object outside the key ring means: a danger, a warning, or nothing if retired."""
    name = label or "(no label)"
    if object_class not in _PASSIVE:
        for attribute, danger in _DANGEROUS.items():
            if read(stranger, attribute) is danger:
                yield Finding(
                    key_id=name,
                    attribute=attribute.name,
                    expected=str(not danger),
                    found=str(danger),
                    remedy=_REMOVE,
                )
    if not is_retired:
        yield Finding(
            key_id=name,
            attribute="object",
            expected="named in the key ring",
            found="not named",
            remedy=_REMOVE,
            severity=Severity.WARNING,
        )


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

"""Negative probes: attempts that a correct key must refuse, made at every start.

Attributes can lie; behaviour cannot. Each probe is harmless if it succeeds: it works on throw-away
session objects, or writes a label back to itself.

Rules:
- Only a refusal for the right reason counts: a call that fails because its data were bad proves
  nothing, so every probe is built to succeed on a key that permits it.
- Session objects made by a probe are destroyed, whatever happens. A token that cannot make them
  cannot be misused by means of them either, so that counts as a refusal.
- A fault of the device is not a refusal; it is raised to the caller.
"""

import ctypes
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pkcs11 import (
    Attribute,
    KeyType,
    Mechanism,
    ObjectClass,
    Session,
    _pkcs11,
)
from pkcs11.exceptions import PKCS11Error

from hsm import agreement, derivation, keys, unwrapping
from hsm.derivation import Step
from hsm.errors import Fault, return_value
from hsm.keys import LiveKey
from hsm.mechanisms import ECB, Invocation, Operation, RsaPadding, invocation
from hsm.passing import NO_DEFAULTS, destroy
from hsm.roles import PKCS1_ROLE
from hsm.vocabulary import Algorithm, Family

_internals = cast("Any", _pkcs11)

_ALL_TRUE: Final = dict.fromkeys(
    (Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.WRAP, Attribute.UNWRAP), True
)


@dataclass(frozen=True, slots=True)
class Probe:
    """An attempt that must be refused, by name."""

    name: str
    attempt: Callable[[], object]

    def is_refused(self) -> bool:
        """Make the attempt. PKCS11Error when the device fails instead of refusing."""
        try:
            self.attempt()
        except PKCS11Error as error:
            if return_value(error).fault is Fault.REFUSAL:
                return True
            raise
        return False


def probes(session: Session, live: LiveKey) -> Iterator[Probe]:
    """The probes for one key. `session` is read-write; its session objects come and go."""
    for object_class, found in live.objects.items():
        key = unbound(found, object_class)
        yield Probe("setting an attribute", partial(_write_back, key))
        yield Probe("copying", partial(_copy, key))
    operative = unbound(live.operative, live.entry.role.operative)
    yield from _direction_probes(operative, live)
    yield from _mechanism_probes(operative, live)
    yield from _wrapping_probes(session, operative, live)
    yield from _key_giving_probes(operative, live)
    yield from _disclosure_probes(session, operative, live)


def unbound(found: Any, object_class: ObjectClass) -> Any:
    """The same object with every method: python-pkcs11 leaves out those the attributes deny."""
    base = {
        ObjectClass.SECRET_KEY: _internals.SecretKey,
        ObjectClass.PRIVATE_KEY: _internals.PrivateKey,
        ObjectClass.PUBLIC_KEY: _internals.PublicKey,
    }[object_class]
    mixins = (
        _internals.EncryptMixin,
        _internals.DecryptMixin,
        _internals.SignMixin,
        _internals.WrapMixin,
        _internals.UnwrapMixin,
        _internals.DeriveMixin,
    )
    return type("Unbound", (base, *mixins, _internals.Object), {})(found.wrapper)


def _write_back(key: Any) -> None:
    key[Attribute.LABEL] = key[Attribute.LABEL]


def _copy(key: Any) -> None:
    destroy(key.copy({Attribute.TOKEN: False}))


def _direction_probes(key: Any, live: LiveKey) -> Iterator[Probe]:
    """What the key may not do, with the mechanism by which its family does it."""
    role, family = live.entry.role, live.entry.algorithm.family
    if family in ECB:
        block, ecb = bytes(family.block_size), ECB[family]
        if not role.permits(Attribute.ENCRYPT):
            yield Probe("enciphering", lambda: key.encrypt(block, mechanism=ecb))
        if not role.permits(Attribute.DECRYPT):
            yield Probe("deciphering", lambda: key.decrypt(block, mechanism=ecb))
    elif role.operative is not ObjectClass.PRIVATE_KEY:
        return
    elif family is Family.RSA:
        digest = bytes(20)
        yield Probe("signing", lambda: key.sign(digest, mechanism=Mechanism.RSA_PKCS))
        if not role.permits(Attribute.DECRYPT):
            sealed, how = _sealed(live)
            use = {"mechanism": how.mechanism, "mechanism_param": how.parameter}
            yield Probe("deciphering", lambda: key.decrypt(sealed, **use))
    elif not role.permits(Attribute.SIGN):
        digest = bytes(32)
        yield Probe("signing", lambda: key.sign(digest, mechanism=Mechanism.ECDSA))


def _mechanism_probes(key: Any, live: LiveKey) -> Iterator[Probe]:
    """The permitted direction, by a mechanism that the role does not allow."""
    role, algorithm = live.entry.role, live.entry.algorithm
    match algorithm.family:
        case Family.TDES | Family.AES if role.only_derives:
            yield Probe("chaining (CBC)", partial(_derive_chained, key, algorithm.family))
        case Family.TDES | Family.AES:
            tdes = algorithm.family is Family.TDES
            use = {
                "mechanism": Mechanism.DES3_CBC if tdes else Mechanism.AES_CBC,
                "mechanism_param": bytes(algorithm.block_size),
            }
            block = bytes(algorithm.block_size)
            act = key.encrypt if role.permits(Attribute.ENCRYPT) else key.decrypt
            yield Probe("chaining (CBC)", lambda: act(block, **use))
        case Family.HMAC:
            other = Mechanism.SHA512_HMAC
            yield Probe("another MAC", lambda: key.sign(b"", mechanism=other))
        case Family.RSA if role.operative is ObjectClass.PRIVATE_KEY:
            size = algorithm.bits // 8
            number, padded = bytes(size - 1) + b"\x02", _padded(live)
            yield Probe("raw RSA", lambda: key.decrypt(number, mechanism=Mechanism.RSA_X_509))
            by = Invocation(Mechanism.RSA_PKCS)
            if role is PKCS1_ROLE:
                yield Probe("OAEP", partial(_decrypt, key, *_by_oaep(live)))
            elif role.permits(Attribute.UNWRAP):
                yield Probe("PKCS #1 v1.5", partial(_unwrap, key, padded, by))
            else:
                yield Probe("PKCS #1 v1.5", lambda: key.decrypt(padded, mechanism=by.mechanism))
        case _:
            return


def _padded(live: LiveKey) -> bytes:
    """A well-formed PKCS #1 v1.5 ciphertext, so that only a refusal can stop its deciphering."""
    return _public(live).encrypt(bytes(16), padding.PKCS1v15())


def _sealed(live: LiveKey) -> tuple[bytes, Invocation]:
    """A well-formed ciphertext of a possible key, and how the role's own key opens it."""
    sealed, chosen = keys.seal_known_answer(live.entry, _public(live))
    return sealed, invocation(Operation.RSA_DECRYPT, Family.RSA, chosen)


def _by_oaep(live: LiveKey) -> tuple[bytes, Invocation]:
    """A well-formed OAEP ciphertext, and how it opens, for a key that does not open it."""
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)  # noqa: S303
    how = invocation(Operation.RSA_DECRYPT, Family.RSA, RsaPadding.OAEP_SHA1)
    return _public(live).encrypt(bytes(16), oaep), how


def _decrypt(key: Any, sealed: bytes, how: Invocation) -> None:
    key.decrypt(sealed, mechanism=how.mechanism, mechanism_param=how.parameter)


def _public(live: LiveKey) -> rsa.RSAPublicKey:
    public = serialization.load_der_public_key(live.spki or b"")
    if not isinstance(public, rsa.RSAPublicKey):
        raise TypeError("the public key is not an RSA key")
    return public


def _wrapping_probes(session: Session, key: Any, live: LiveKey) -> Iterator[Probe]:
    """Wrapping a key that anyone may wrap."""
    family = live.entry.algorithm.family
    wraps = {
        Family.TDES: Mechanism.DES3_ECB,
        Family.AES: Mechanism.AES_KEY_WRAP,
        Family.RSA: Mechanism.RSA_PKCS,
    }
    if family in wraps and live.entry.role.operative is not ObjectClass.PRIVATE_KEY:
        yield Probe("wrapping with it", lambda: _wrap_target(session, key, wraps[family]))


def _wrap_target(session: Session, key: Any, mechanism: Mechanism) -> None:
    with _throwaway(session, {Attribute.EXTRACTABLE: True}) as target:
        key.wrap_key(target, mechanism=mechanism)


def _key_giving_probes(key: Any, live: LiveKey) -> Iterator[Probe]:
    """Other keys got from this one: derived, agreed upon, or unwrapped."""
    role, family = live.entry.role, live.entry.algorithm.family
    if role.operative is ObjectClass.PUBLIC_KEY:
        return
    if family in ECB and not role.permits(Attribute.DERIVE):
        yield Probe("deriving from it", partial(_derive, key, family))
    if family is Family.EC and not role.permits(Attribute.DERIVE):
        point = agreement.point(live.spki or b"")
        yield Probe("deriving from it", partial(agreement.agree, key, point))
    if family is Family.RSA:
        yield from _unwrapping_probes(key, live)


def _unwrapping_probes(key: Any, live: LiveKey) -> Iterator[Probe]:
    """Unwrapping at all or, by a key that may, what is a content key but for one attribute.

    No token need tell CKA_UNWRAP_TEMPLATE: here it is proved.
    """
    sealed, how = _sealed(live)
    if not live.entry.role.permits(Attribute.UNWRAP):
        yield Probe("unwrapping with it", partial(_unwrap, key, sealed, how))
        return
    for name, weaker in (
        ("unwrapping into the open", {Attribute.SENSITIVE: False}),
        ("unwrapping what can be wrapped", {Attribute.EXTRACTABLE: True}),
    ):
        yield Probe(name, partial(_unwrap_weaker, key, sealed, how, weaker))


def _derive(key: Any, family: Family) -> None:
    path = (Step(Algorithm.TDES_2KEY, bytes(16)),)
    with derivation.derived(key, family, path, enciphers=True):
        return


def _derive_chained(key: Any, family: Family) -> None:
    """By CKM_DES3_CBC_ENCRYPT_DATA or CKM_AES_CBC_ENCRYPT_DATA (PKCS#11 v2.20, 12.14)."""
    tdes = family is Family.TDES
    iv, data = bytes(family.block_size), ctypes.create_string_buffer(16)
    made = key.derive_key(
        KeyType.GENERIC_SECRET,
        128,
        mechanism=Mechanism.DES3_CBC_ENCRYPT_DATA if tdes else Mechanism.AES_CBC_ENCRYPT_DATA,
        mechanism_param=iv + struct.pack("PL", ctypes.addressof(data), len(data)),
        capabilities=NO_DEFAULTS,
    )
    destroy(made)


def _unwrap(key: Any, sealed: bytes, how: Invocation) -> None:
    with unwrapping.unwrapped(key, sealed, how, algorithm=Algorithm.AES_256):
        return


def _unwrap_weaker(
    key: Any, sealed: bytes, how: Invocation, weaker: Mapping[Attribute, bool]
) -> None:
    template = {**unwrapping.TEMPLATE, **weaker}
    destroy(unwrapping.unwrap(key, sealed, how, KeyType.AES, template))


def _disclosure_probes(session: Session, key: Any, live: LiveKey) -> Iterator[Probe]:
    """Reading the value, and wrapping this key under a key that may wrap anything."""
    match live.entry.role.operative, live.entry.algorithm.family:
        case ObjectClass.SECRET_KEY, _:
            secret = Attribute.VALUE
        case ObjectClass.PRIVATE_KEY, Family.RSA:
            secret = Attribute.PRIVATE_EXPONENT
        case ObjectClass.PRIVATE_KEY, _:
            secret = Attribute.VALUE
        case _:
            return
    yield Probe("reading its value", lambda: len(key[secret]))
    yield Probe("wrapping it", lambda: _wrap_key(session, key))


def _wrap_key(session: Session, key: Any) -> None:
    with _throwaway(session, _ALL_TRUE) as wrapping:
        wrapping.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD)


@contextmanager
def _throwaway(session: Session, attributes: dict[Attribute, bool]) -> Iterator[Any]:
    """An AES session key with these attributes, destroyed at the end."""
    template = {Attribute.TOKEN: False, Attribute.PRIVATE: True, **attributes}
    made = session.generate_key(KeyType.AES, 256, capabilities=NO_DEFAULTS, template=template)
    try:
        yield made
    finally:
        destroy(made)

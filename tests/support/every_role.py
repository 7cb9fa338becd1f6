"""A key of every role there is, its value known wherever a value can be known.

Rules:
- The roles are those of `hsm.roles.ROLES`: a new one is taken in without a word here.
- Values follow from names, so that every run makes the same keys; pairs are made once a process.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pkcs11 import Attribute, KeyType, ObjectClass, Token
from pkcs11.util.ec import encode_named_curve_parameters

from hsm import agreement, provisioning, softhsm, token
from hsm.keyring import KeyEntry, Keyring
from hsm.module import Library
from hsm.provisioning import KeySpec
from hsm.roles import ROLES, Role
from hsm.token import TokenLocation
from hsm.vocabulary import Algorithm, Family, Mode
from pinvault.development.environment import check_value
from tests.integration.hsm.support import leave_library
from tests.support.memory import folder_in_memory

Pair = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

ALGORITHMS = {
    Family.TDES: Algorithm.TDES_2KEY,
    Family.AES: Algorithm.AES_256,
    Family.RSA: Algorithm.RSA_2048,
    Family.EC: Algorithm.EC_P256,
    Family.HMAC: Algorithm.HMAC_SHA256,
}


def name_of(role: Role) -> str:
    """Name a role, and the key of it, as "p0-tdes-e"."""
    return f"{role.usage}-{role.family}-{role.mode}".lower()


NAMES = {name_of(role): role for role in ROLES.values()}


def spec_of(role: Role, name: str | None = None) -> KeySpec:
    """Say what a key of this role is."""
    seals = role.family is Family.RSA and role.mode is Mode.D
    return KeySpec(
        name=name or name_of(role),
        version=1,
        usage=role.usage,
        algorithm=ALGORITHMS[role.family],
        mode=role.mode,
        valid_from=date(2026, 1, 1),
        jwa="RSA-OAEP" if seals else None,
    )


def value_of(role: Role) -> bytes:
    """Give the value of the secret key of this role; a TDES key's bytes have odd parity."""
    algorithm = ALGORITHMS[role.family]
    value = hashlib.sha256(name_of(role).encode()).digest()[: algorithm.bits // 8]
    if role.family is Family.TDES:
        return bytes(byte ^ ((byte.bit_count() + 1) & 1) for byte in value)
    return value


@cache
def pair_of(family: Family, *, another: bool = False) -> Pair:
    """Make a key pair in software: a partner's, or one to load; with `another`, a second."""
    del another  # it tells the pairs apart in the cache
    if family is Family.RSA:
        return rsa.generate_private_key(65537, ALGORITHMS[family].bits)
    return ec.generate_private_key(ec.SECP256R1())


def spki_of(pair: Pair) -> bytes:
    """Give the public half as a SubjectPublicKeyInfo in DER."""
    return pair.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def halves_of(pair: Pair) -> dict[ObjectClass, dict[Attribute, Any]]:
    """Give the attributes that are the key, for the private and the public half of a pair."""
    if isinstance(pair, ec.EllipticCurvePrivateKey):
        curve = {
            Attribute.KEY_TYPE: KeyType.EC,
            Attribute.EC_PARAMS: encode_named_curve_parameters(pair.curve.name),
        }
        encoded = agreement.encode(pair.public_key())
        point = b"\x04" + bytes([len(encoded)]) + encoded  # an OCTET STRING in DER
        value = pair.private_numbers().private_value
        return {
            ObjectClass.PRIVATE_KEY: {**curve, Attribute.VALUE: _number(value)},
            ObjectClass.PUBLIC_KEY: {**curve, Attribute.EC_POINT: point},
        }
    numbers = pair.private_numbers()
    public = {
        Attribute.KEY_TYPE: KeyType.RSA,
        Attribute.MODULUS: _number(numbers.public_numbers.n),
        Attribute.PUBLIC_EXPONENT: _number(numbers.public_numbers.e),
    }
    private = {
        **public,
        Attribute.PRIVATE_EXPONENT: _number(numbers.d),
        Attribute.PRIME_1: _number(numbers.p),
        Attribute.PRIME_2: _number(numbers.q),
        Attribute.EXPONENT_1: _number(numbers.dmp1),
        Attribute.EXPONENT_2: _number(numbers.dmq1),
        Attribute.COEFFICIENT: _number(numbers.iqmp),
    }
    return {ObjectClass.PRIVATE_KEY: private, ObjectClass.PUBLIC_KEY: public}


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def provision(location: TokenLocation, role: Role) -> KeyEntry:
    """Make the key of this role as the service's own provisioning does; its entry."""
    spec = spec_of(role)
    if role.operative is ObjectClass.PRIVATE_KEY:
        return provisioning.generate(location, spec)
    if role.operative is ObjectClass.PUBLIC_KEY:
        return provisioning.import_public_key(location, spec, spki_of(pair_of(role.family)))
    value = value_of(role)
    promised = None if role.family is Family.HMAC else check_value(value, spec.algorithm)
    return provisioning.import_secret(location, spec, value, check_value=promised)


@dataclass(frozen=True, slots=True)
class Service:
    """A token with a key of every role, as a service has it, and its key ring."""

    location: TokenLocation
    keyring: Keyring

    @contextmanager
    def token(self) -> Iterator[Token]:
        """Be logged in to the token with the service's own PIN."""
        library = Library.load(self.location.module)
        session = token.open_session(token.find(library, self.location), self.location)
        try:
            yield session.token
        finally:
            token.close_session(session)
            library.close()


@contextmanager
def service(names: Iterable[str] = tuple(NAMES)) -> Iterator[Service]:
    """Make a service's token with keys of these roles; SoftHSM sees it until the end."""
    module = softhsm.find_module(os.environ)
    leave_library(module)
    with folder_in_memory() as root, pytest.MonkeyPatch.context() as patch:
        made = softhsm.prepare(root, module=module, label="service", environ=os.environ)
        for name, value in made.environment.items():
            patch.setenv(name, value)
        entries = tuple(provision(made.location, NAMES[name]) for name in names)
        yield Service(made.location, Keyring(keys=entries))
        leave_library(module)

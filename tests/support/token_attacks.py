"""What a thief with the token's user PIN tries against a key, each attempt carried to its end.

The attacks are those on the rules of PKCS#11 itself: Clulow (CHES 2003), Delaune, Kremer and Steel
(CSF 2008), Bortolozzo and others (CCS 2010, "Tookan"). Each has a name, and so has each of its
attempts; a key withstands when all of them are refused.
"""

import ctypes
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from pkcs11 import KDF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.constants import DEFAULT

from hsm import agreement, attributes
from hsm.vocabulary import Family
from tests.support.every_role import pair_of
from tests.support.thief import (
    CAPABILITIES,
    OPEN,
    PRIVATE,
    PUBLIC,
    SECRET,
    TROJAN,
    Attempt,
    Thief,
    opened,
    public_key,
    wrapped_by,
)

VICTIM = bytes(range(100, 132))
"""The value of a key that may be taken out, on which the thief tries a service key as a tool."""
DATA = bytes(range(64, 96))
"""What a thief derives a child of: two blocks of AES, four of TDES."""
PEER = agreement.encode(ec.derive_private_key(11, ec.SECP256R1()).public_key())
"""The point of P-256 that a thief agrees with."""
_NO_DEFAULTS = dict.fromkeys(CAPABILITIES, DEFAULT)
_WRAPS = {
    "AES key wrap with padding": (Mechanism.AES_KEY_WRAP_PAD, None),
    "AES key wrap": (Mechanism.AES_KEY_WRAP, None),
    "AES CBC": (Mechanism.AES_CBC, bytes(16)),
}
SHA1_OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)


# Wrap, then decipher (Clulow): a key that may do both gives up every key that may be wrapped.


def _wrap_then_decipher(how: Mechanism, parameter: bytes | None) -> Attempt:
    def attempt(thief: Thief) -> bytes:
        wrapping = thief.drawn()
        wrapped = wrapping.wrap_key(thief.key, mechanism=how, mechanism_param=parameter)
        return opened(wrapping, wrapped, how)

    return attempt


# Trojan keys: wrapping under a key that the thief can open outside, trusted or not.


def _under_a_known_key(changes: Mapping[Attribute, object]) -> Attempt:
    return lambda thief: thief.carry_off(thief.key, thief.known(changes={**OPEN, **changes}))


def _under_a_key_made_trusted(thief: Thief) -> bytes:
    wrapping = thief.known()
    wrapping[Attribute.TRUSTED] = True
    return thief.carry_off(thief.key, wrapping)


def _under_a_copy_made_trusted(thief: Thief) -> bytes:
    wrapping = thief.known().copy({Attribute.TRUSTED: True})
    return thief.carry_off(thief.key, wrapping)


def _under_a_trusted_key_unwrapped(thief: Thief) -> bytes:
    wrapped = keywrap.aes_key_wrap(TROJAN, TROJAN)
    template = {Attribute.TRUSTED: True}
    wrapping = thief.known().unwrap_key(SECRET, KeyType.AES, wrapped, template=template)
    return thief.carry_off(thief.key, wrapping)


def _under_a_public_key(how: Mechanism, undo: padding.AsymmetricPadding) -> Attempt:
    def attempt(thief: Thief) -> bytes:
        pair = pair_of(Family.RSA)
        assert isinstance(pair, rsa.RSAPrivateKey)
        numbers = pair.public_key().public_numbers()
        public = thief.session.create_object(
            {
                Attribute.CLASS: PUBLIC,
                Attribute.KEY_TYPE: KeyType.RSA,
                Attribute.MODULUS: numbers.n.to_bytes(256, "big"),
                Attribute.PUBLIC_EXPONENT: numbers.e.to_bytes(3, "big"),
                Attribute.WRAP: True,
            }
        )
        return pair.decrypt(public.wrap_key(thief.key, mechanism=how), undo)

    return attempt


# Clones: the same value in another object, under a template of the thief's.


def _unwrapped_again(changes: Mapping[Attribute, object], key_type: KeyType | None) -> Attempt:
    def attempt(thief: Thief) -> bytes:
        wrapping = thief.drawn()
        how = Mechanism.AES_KEY_WRAP_PAD
        clone = wrapping.unwrap_key(
            thief.kind,
            key_type or thief.key[Attribute.KEY_TYPE],
            wrapping.wrap_key(thief.key, mechanism=how),
            mechanism=how,
            template={**_NO_DEFAULTS, **changes},
        )
        return thief.take(clone)

    return attempt


def _copied(changes: Mapping[Attribute, object]) -> Attempt:
    return lambda thief: thief.take(thief.key.copy({Attribute.TOKEN: False, **changes}))


def _set(changes: Mapping[Attribute, object]) -> Attempt:
    def attempt(thief: Thief) -> bytes:
        for attribute, value in changes.items():
            thief.key[attribute] = value
        return thief.take(thief.key)

    return attempt


# Halves: a TDES key wrapped in ECB falls into halves that can be searched one after the other.


def split_halves(
    wrap: Callable[[], bytes],
    encipher_under: Callable[[bytes], bytes],
    guesses: Callable[[int], Iterator[bytes]],
    encipher: Callable[[bytes, bytes], bytes],
) -> bytes:
    """Find a double-length key half by half, each as a key of two equal halves.

    `wrap` gives the key in ECB; `encipher_under` what a block of zeros becomes under the key that
    a wrap holds; `guesses` the candidates for a half; `encipher` the same in software.
    """
    wrapped = wrap()
    value = b""
    for half in range(2):
        doubled = wrapped[8 * half : 8 * half + 8] * 2
        seen = encipher_under(doubled)
        value += next(each for each in guesses(half) if encipher(each * 2, bytes(8)) == seen)
    return value


def _halves(how: Mechanism, parameter: bytes | None) -> Attempt:
    """The first step of it: a wrap in halves, and its first half twice as a key."""

    def attempt(thief: Thief) -> bytes:
        wrapping = thief.drawn(KeyType.DES3, None)
        use = {"mechanism": how, "mechanism_param": parameter}
        half = wrapping.wrap_key(thief.key, **use)[:8]
        doubled = wrapping.unwrap_key(SECRET, KeyType.DES2, half * 2, template=OPEN, **use)
        return thief.take(doubled)

    return attempt


# The key as a tool: it wraps, or unwraps, what is not its own.


def _wrapping_with_it(how: Mechanism, undo: Any = None) -> Attempt:
    """The value of a key that may be taken out, had by means of the service's key alone."""

    def attempt(thief: Thief) -> bytes:
        victim = thief.known(VICTIM, {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: True})
        parameter = bytes(16) if how is Mechanism.AES_CBC else None
        wrapped = thief.tool.wrap_key(victim, mechanism=how, mechanism_param=parameter)
        if undo is None:
            return opened(thief.key, wrapped, how)
        if PRIVATE in thief.prey:
            return bytes(thief.key.decrypt(wrapped, mechanism=how))
        pair = pair_of(Family.RSA)
        assert isinstance(pair, rsa.RSAPrivateKey)
        return pair.decrypt(wrapped, undo)

    return attempt


def _unwrapping_with_it(how: Mechanism) -> Attempt:
    """A key of a chosen value, conjured up by a wrap that was made by enciphering."""

    def attempt(thief: Thief) -> bytes:
        if thief.family is Family.RSA:
            undone_by = padding.PKCS1v15() if how is Mechanism.RSA_PKCS else SHA1_OAEP
            wrapped = public_key(thief.prey[PUBLIC]).encrypt(VICTIM, undone_by)
        else:
            wrapped = wrapped_by(
                VICTIM, lambda block: bytes(thief.tool.encrypt(block, mechanism=Mechanism.AES_ECB))
            )
        made = thief.key.unwrap_key(SECRET, KeyType.AES, wrapped, mechanism=how, template=OPEN)
        return thief.take(made)

    return attempt


def _conjuring(how: Mechanism, length: int) -> Attempt:
    """A key out of nothing: bytes that nobody ever wrapped."""
    return lambda thief: thief.take(
        thief.key.unwrap_key(SECRET, KeyType.AES, bytes(length), mechanism=how, template=OPEN)
    )


# Derivation: a child that may be read, by every mechanism there is for it.


def derived(how: Mechanism, parameter: Any, bits: int = 256) -> Attempt:
    """The value of a child of `bits` bits."""

    def attempt(thief: Thief) -> bytes:
        child = thief.key.derive_key(
            KeyType.GENERIC_SECRET,
            bits,
            mechanism=how,
            mechanism_param=parameter,
            capabilities=MechanismFlag(0),
            template={**OPEN, Attribute.TOKEN: False},
        )
        return bytes(child[Attribute.VALUE])

    return attempt


# Digests: C_DigestKey, after whatever the thief puts before the key.


def digested(before: bytes) -> Mapping[str, Attempt]:
    """The digest of `before` and the key, by every hash there is, under Python's names."""

    def by(how: Mechanism) -> Attempt:
        return lambda thief: thief.session.digest(iter((before, thief.key)), mechanism=how)

    return {
        "md5": by(Mechanism._MD5),
        "sha1": by(Mechanism.SHA_1),
        "sha224": by(Mechanism.SHA224),
        "sha256": by(Mechanism.SHA256),
        "sha384": by(Mechanism.SHA384),
        "sha512": by(Mechanism.SHA512),
    }


def _named(changes: Mapping[Attribute, object]) -> str:
    names = [f"{name.name} {attributes.display(value)}" for name, value in changes.items()]
    return ", ".join(names) or "nothing"


_WEAKER: tuple[Mapping[Attribute, object], ...] = (
    {Attribute.SENSITIVE: False},
    {Attribute.EXTRACTABLE: True},
    {Attribute.WRAP_WITH_TRUSTED: False},
    {Attribute.TRUSTED: True},
    {Attribute.PRIVATE: False},
    {Attribute.MODIFIABLE: True},
    {Attribute.COPYABLE: True},
    {Attribute.DESTROYABLE: True},
    {Attribute.TOKEN: False},
    {Attribute.ALLOWED_MECHANISMS: frozenset({int(Mechanism.AES_KEY_WRAP)})},
    {Attribute.ALLOWED_MECHANISMS: frozenset()},
    {Attribute.KEY_TYPE: KeyType.GENERIC_SECRET},
    {Attribute.CLASS: ObjectClass.DATA},
    {Attribute.LABEL: "another"},
    *({capability: True} for capability in CAPABILITIES),
    dict.fromkeys(CAPABILITIES, True),
    OPEN,
)
"""Every attribute, each made such that it would help a thief."""

_BUFFER = ctypes.create_string_buffer(DATA, len(DATA))
_STRING = struct.pack("PL", ctypes.addressof(_BUFFER), len(DATA))
"""CK_KEY_DERIVATION_STRING_DATA (PKCS#11 v2.40 mechanisms, 2.44); the buffer lives as long."""

DERIVATIONS: Mapping[str, Attempt] = {
    how.name: derived(how, parameter)
    for how, parameter in (
        (Mechanism.AES_ECB_ENCRYPT_DATA, DATA),
        (Mechanism.DES3_ECB_ENCRYPT_DATA, _STRING),
        (Mechanism.AES_CBC_ENCRYPT_DATA, bytes(16) + _STRING),
        (Mechanism.DES3_CBC_ENCRYPT_DATA, bytes(8) + _STRING),
        (Mechanism.XOR_BASE_AND_DATA, _STRING),
        (Mechanism.CONCATENATE_BASE_AND_DATA, _STRING),
        (Mechanism.CONCATENATE_DATA_AND_BASE, _STRING),
        (Mechanism.CONCATENATE_BASE_AND_KEY, struct.pack("L", 1)),
        (Mechanism.EXTRACT_KEY_FROM_KEY, struct.pack("L", 0)),
        (Mechanism.SHA1_KEY_DERIVATION, None),
        (Mechanism.SHA256_KEY_DERIVATION, None),
        (Mechanism.ECDH1_DERIVE, (KDF.NULL, None, PEER)),
        (Mechanism.ECDH1_COFACTOR_DERIVE, (KDF.NULL, None, PEER)),
        (Mechanism.DH_PKCS_DERIVE, bytes(range(1, 65))),
    )
}
"""A readable child of DATA, or agreed upon with PEER, by each mechanism."""

TARGETED: Mapping[str, Mapping[str, Attempt]] = {
    "wrap then decipher": {name: _wrap_then_decipher(*how) for name, how in _WRAPS.items()},
    "trojan wrapping key": {
        "brought in": _under_a_known_key({}),
        "brought in as trusted": _under_a_known_key({Attribute.TRUSTED: True}),
        "made trusted": _under_a_key_made_trusted,
        "copied as trusted": _under_a_copy_made_trusted,
        "unwrapped as trusted": _under_a_trusted_key_unwrapped,
    },
    "trojan public key": {
        "PKCS #1 v1.5": _under_a_public_key(Mechanism.RSA_PKCS, padding.PKCS1v15()),
        "OAEP": _under_a_public_key(Mechanism.RSA_PKCS_OAEP, SHA1_OAEP),
    },
    "unwrap again": {
        "readable": _unwrapped_again(OPEN, None),
        "extractable": _unwrapped_again({Attribute.EXTRACTABLE: True}, None),
        "as another type": _unwrapped_again(OPEN, KeyType.GENERIC_SECRET),
    },
    "copy": {"with nothing changed": _copied({})}
    | {f"with {_named(changes)}": _copied(changes) for changes in _WEAKER},
    "flip": {_named(changes): _set(changes) for changes in _WEAKER},
    "halves": {
        "ECB": _halves(Mechanism.DES3_ECB, None),
        "CBC": _halves(Mechanism.DES3_CBC, bytes(8)),
    },
}
"""Attacks on the value of the key itself."""

AS_A_TOOL: Mapping[str, Mapping[str, Attempt]] = {
    "wrapping with it": {
        **{name: _wrapping_with_it(how) for name, (how, _) in _WRAPS.items()},
        "PKCS #1 v1.5": _wrapping_with_it(Mechanism.RSA_PKCS, padding.PKCS1v15()),
        "OAEP": _wrapping_with_it(Mechanism.RSA_PKCS_OAEP, SHA1_OAEP),
    },
    "unwrapping with it": {
        "AES key wrap": _unwrapping_with_it(Mechanism.AES_KEY_WRAP),
        "PKCS #1 v1.5": _unwrapping_with_it(Mechanism.RSA_PKCS),
        "OAEP": _unwrapping_with_it(Mechanism.RSA_PKCS_OAEP),
    },
    "conjuring": {
        "AES key wrap": _conjuring(Mechanism.AES_KEY_WRAP, 40),
        "TDES": _conjuring(Mechanism.DES3_ECB, 16),
        "PKCS #1 v1.5": _conjuring(Mechanism.RSA_PKCS, 256),
        "OAEP": _conjuring(Mechanism.RSA_PKCS_OAEP, 256),
    },
}
"""Attacks by means of the key on others, whose value is then VICTIM."""

"""Keys as they live in a session: finding them, proving which they are, using them.

Rules:
- A handle is only as old as its session. After anything that may have changed handles a key is
  found again, and its check value compared, before it is used: the handle of a lost key may by then
  belong to another one.
- A key is found by label, id and class together, and there must be exactly one.
- Data go in as `bytes`: python-pkcs11 answers a bytearray with a generator that does nothing yet.
- The attributes of a key are the business of `hsm.inspection`; its identity is checked here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pkcs11 import Attribute, Object, ObjectClass, Session
from pkcs11.exceptions import PKCS11Error

from hsm import agreement, attributes, check_values, derivation, key_blocks, unwrapping
from hsm.derivation import KeyCipher, Step
from hsm.errors import Fault, HsmDataRefused, HsmError, return_value
from hsm.key_blocks import KeyBlockKeys, KeyBlockVersion
from hsm.keyring import KeyEntry
from hsm.mechanisms import JWA_PADDING, Operation, RsaPadding, invocation
from hsm.unwrapping import ContentCipher
from hsm.vocabulary import Algorithm, Family

CALL_BYTES: Final = 163_840
"""Most bytes of input in one C_Encrypt or C_Decrypt: 10,240 AES blocks, twice as many of TDES."""

_METHOD_OF: Final = {
    Attribute.ENCRYPT: "encrypt",
    Attribute.DECRYPT: "decrypt",
    Attribute.SIGN: "sign",
    Attribute.DERIVE: "derive_key",
    Attribute.UNWRAP: "unwrap_key",
}
_METHODS: Final = {operation: _METHOD_OF[operation.capability] for operation in Operation}
"""What python-pkcs11 calls the operations on an object that has the capability."""
EC_POINT_HEADER: Final = b"\x04\x41"
"""DER of an OCTET STRING that holds an uncompressed point of P-256 (CKA_EC_POINT)."""
_KNOWN_ANSWER: Final = hashlib.sha256(b"known answer").digest()
_OF_DATA: Final = frozenset({Fault.DATA, Fault.UNCLEAR, Fault.REFUSAL})
"""Faults that bad data can cause."""


class KeyAbsent(HsmError):
    """The token does not hold exactly one object where the key ring wants one."""

    text = "the key is not in the token exactly once"


class KeyChanged(HsmError):
    """The token holds a key under this id, but it is another key."""

    text = "the key in the token is not the key of the key ring"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveKey:
    """A key found in a session: its objects by class, and its public key if it has one."""

    entry: KeyEntry
    objects: Mapping[ObjectClass, Object]
    operative: Any
    """The object that does the work. Any: python-pkcs11 makes its methods at run time."""
    spki: bytes | None


def search(session: Session, entry: KeyEntry, object_class: ObjectClass) -> list[Object]:
    """The token's objects with the label and id of `entry`, of one class."""
    return list(
        session.get_objects(
            {
                Attribute.TOKEN: True,
                Attribute.CLASS: object_class,
                Attribute.LABEL: entry.id,
                Attribute.ID: entry.id.encode("utf-8"),
            }
        )
    )


def locate(session: Session, entry: KeyEntry) -> LiveKey:
    """Find a key and prove that it is the one the key ring names.

    KeyAbsent or KeyChanged when it is not; PKCS11Error when the token fails.
    """
    found = {
        object_class: search(session, entry, object_class) for object_class in entry.role.grants
    }
    if any(len(matches) != 1 for matches in found.values()):
        raise KeyAbsent(key=entry.id)
    live = assemble(entry, {object_class: each[0] for object_class, each in found.items()})
    if not is_authentic(live):
        raise KeyChanged(key=entry.id)
    return live


def assemble(entry: KeyEntry, objects: Mapping[ObjectClass, Object]) -> LiveKey:
    """A key from its objects, its public key read. KeyChanged when that is malformed."""
    public = objects.get(ObjectClass.PUBLIC_KEY)
    spki = None if public is None else read_public_key(public, entry.algorithm.family)
    operative = objects[entry.role.operative]
    return LiveKey(entry=entry, objects=objects, operative=operative, spki=spki)


def apply(
    live: LiveKey, operation: Operation, data: bytes, *, rsa_padding: RsaPadding | None = None
) -> bytes:
    """Run one operation in the token. PKCS11Error when it fails.

    KeyChanged when the object in the token has lost the capability, here and below.
    """
    how = invocation(operation, live.entry.algorithm.family, rsa_padding)
    method = getattr(_capable(live, operation), _METHODS[operation])
    return bytes(method(data, mechanism=how.mechanism, mechanism_param=how.parameter))


def open_pkcs1(live: LiveKey, data: bytes) -> bytes:
    """The message of a PKCS #1 v1.5 ciphertext. PKCS11Error when the token fails.

    HsmDataRefused, returned like the result of a turn, when it does not open. Whether it did is
    not told by how long the token was kept: it opens the data once, whatever comes of that, and
    then a known answer, which also tells bad data from a fault of the token.
    """
    refused = cast("bytes", HsmDataRefused())
    try:
        message = apply(live, Operation.RSA_DECRYPT, data, rsa_padding=RsaPadding.PKCS1_V1_5)
    except PKCS11Error as error:
        if return_value(error).fault not in _OF_DATA:
            raise
        message = refused
    if not _halves_match(live):
        raise KeyChanged("the key gives no known answer", key=live.entry.id)
    return message


def derived(
    live: LiveKey, path: Sequence[Step], *, enciphers: bool = True
) -> AbstractContextManager[KeyCipher]:
    """The cipher at the end of a path that has been checked; see `hsm.derivation`."""
    parent = _capable(live, Operation.DERIVE)
    return derivation.derived(parent, live.entry.algorithm.family, path, enciphers=enciphers)


def key_block_keys(
    live: LiveKey, version: KeyBlockVersion, *, opens: bool
) -> AbstractContextManager[KeyBlockKeys]:
    """KBEK and KBAK of a protection key that fits the version; see `hsm.key_blocks`."""
    parent = _capable(live, Operation.OPEN_BLOCK if opens else Operation.MAKE_BLOCK)
    return key_blocks.derived(parent, live.entry.algorithm, version, opens=opens)


def unwrapped(
    live: LiveKey, wrapped: bytes, *, rsa_padding: RsaPadding, algorithm: Algorithm
) -> AbstractContextManager[ContentCipher]:
    """The cipher under an AES key that is wrapped for this pair; see `hsm.unwrapping`."""
    how = invocation(Operation.UNWRAP, live.entry.algorithm.family, rsa_padding)
    private = _capable(live, Operation.UNWRAP)
    return unwrapping.unwrapped(private, wrapped, how, algorithm=algorithm)


def agree(live: LiveKey, point: bytes) -> bytes:
    """The shared secret with a peer's point that has been checked; see `hsm.agreement`."""
    return agreement.agree(_capable(live, Operation.AGREE), point)


def _capable(live: LiveKey, operation: Operation) -> Any:
    """The object that does the work: python-pkcs11 gives it no method for what it may not do."""
    if not hasattr(live.operative, _METHODS[operation]):
        raise KeyChanged("the key in the token lacks a capability", key=live.entry.id)
    return live.operative


def apply_blocks(live: LiveKey, operation: Operation, payloads: Sequence[bytes]) -> list[bytes]:
    """ECB over many payloads of whole blocks at once: joined for the token, split afterwards."""
    if len(payloads) == 1:
        return [_ecb(live, operation, payloads[0])]
    results, split, start = _ecb(live, operation, b"".join(payloads)), [], 0
    for payload in payloads:
        split.append(results[start : start + len(payload)])
        start += len(payload)
    return split


def _ecb(live: LiveKey, operation: Operation, blocks: bytes) -> bytes:
    if len(blocks) <= CALL_BYTES:
        return apply(live, operation, blocks)
    return b"".join(
        apply(live, operation, blocks[start : start + CALL_BYTES])
        for start in range(0, len(blocks), CALL_BYTES)
    )


def is_authentic(live: LiveKey) -> bool:
    """Whether the key behaves as the check values of its entry say."""
    entry = live.entry
    if live.spki is not None and measure_public(live.spki) != entry.check_value:
        return False
    match entry.algorithm.family:
        case Family.TDES | Family.AES:
            return _symmetric_is_authentic(live)
        case Family.HMAC:
            return measure(live) == entry.check_value
        case Family.RSA | Family.EC:
            return len(live.objects) == 1 or _halves_match(live)


def measure(live: LiveKey) -> str | None:
    """The key's check value, recomputed in the token, in upper-case hex.

    None where nothing can tell: an AES key that may only decipher. AES gives 10 digits, of which
    the key ring may hold the first 6.
    """
    entry = live.entry
    match entry.algorithm.family:
        case Family.TDES | Family.AES if entry.role.only_deciphers:
            return _reported(live)
        case Family.TDES | Family.AES:
            return measure_by(partial(_encipher, live), entry.algorithm.family)
        case Family.HMAC:
            value = check_values.hmac_sha256(lambda data: apply(live, Operation.MAC, data))
            return value.hex().upper()
        case Family.RSA | Family.EC:
            return None if live.spki is None else measure_public(live.spki)


def measure_by(encipher: check_values.Cipher, family: Family) -> str:
    """The check value of the TDES or AES key under which `encipher` enciphers whole blocks."""
    value = check_values.tdes if family is Family.TDES else check_values.aes
    return value(encipher).hex().upper()


def _encipher(live: LiveKey, blocks: bytes) -> bytes:
    """Blocks enciphered under a key that may encipher, or derive."""
    if live.entry.role.only_derives:
        parent = _capable(live, Operation.DERIVE)
        return derivation.enciphered(parent, live.entry.algorithm.family, blocks)
    return apply(live, Operation.ENCIPHER, blocks)


def measure_deciphering(live: LiveKey) -> str:
    """The first 3 bytes of zeros deciphered, in upper-case hex, of a key that may decipher."""
    value = check_values.deciphering(
        lambda data: apply(live, Operation.DECIPHER, data),
        block_size=live.entry.algorithm.block_size,
    )
    return value.hex().upper()


def measure_derivation(live: LiveKey) -> str:
    """The first 3 bytes of zeros enciphered under the child of zeros, of a key that may derive."""
    family = live.entry.algorithm.family
    child = Algorithm.AES_128 if family is Family.AES else Algorithm.TDES_2KEY
    with derived(live, (Step(child, bytes(child.bits // 8)),)) as cipher:
        value = check_values.deriving(cipher.encipher, block_size=family.block_size)
    return value.hex().upper()


def measure_public(spki: bytes) -> str:
    """The check value of a public key, in upper-case hex."""
    return check_values.public_key(spki).hex().upper()


def _symmetric_is_authentic(live: LiveKey) -> bool:
    entry = live.entry
    measured = measure(live)
    if measured is not None and measured[: len(entry.check_value)] != entry.check_value:
        return False
    if entry.decipher_check_value is not None:
        return measure_deciphering(live) == entry.decipher_check_value
    if entry.derivation_check_value is not None:
        return measure_derivation(live) == entry.derivation_check_value
    return measured is not None


def _reported(live: LiveKey) -> str | None:
    """CKA_CHECK_VALUE of a TDES key (PKCS#11 v2.40 base, 4.10: the same 3 bytes as ours).

    That of an AES key is an ECB value, not a CMAC, so it cannot be compared.
    """
    if live.entry.algorithm.family is not Family.TDES:
        return None
    value = attributes.read(live.operative, Attribute.CHECK_VALUE)
    return value.hex().upper() if isinstance(value, bytes) and value else None


def read_public_key(public: Object, family: Family) -> bytes:
    """The SubjectPublicKeyInfo (RFC 5280, 4.1) of a public key object, in DER."""
    if family is Family.RSA:
        modulus = int.from_bytes(public[Attribute.MODULUS], "big")
        exponent = int.from_bytes(public[Attribute.PUBLIC_EXPONENT], "big")
        try:
            key: Any = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        except ValueError:
            raise KeyChanged("the public key in the token is malformed") from None
        return _der(key)
    encoded = bytes(public[Attribute.EC_POINT]).removeprefix(EC_POINT_HEADER)
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encoded)
    except ValueError:
        raise KeyChanged("the public key in the token is malformed") from None
    return _der(key)


def _der(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _halves_match(live: LiveKey) -> bool:
    """Whether the private half undoes, or makes, what goes with the public half."""
    public = serialization.load_der_public_key(live.spki or b"")
    if isinstance(public, rsa.RSAPublicKey):
        return _rsa_halves_match(live, public)
    if not isinstance(public, ec.EllipticCurvePublicKey):
        return False
    if live.entry.role.permits(Attribute.DERIVE):
        return _agrees(live, public)
    return _signs(live, public)


def seal_known_answer(entry: KeyEntry, public: rsa.RSAPublicKey) -> tuple[bytes, RsaPadding]:
    """32 known bytes sealed for a pair, and the padding that its entry fixes."""
    chosen = JWA_PADDING[entry.jwa or ""]
    if chosen is RsaPadding.PKCS1_V1_5:
        return public.encrypt(_KNOWN_ANSWER, padding.PKCS1v15()), chosen
    algorithm = hashes.SHA1() if chosen is RsaPadding.OAEP_SHA1 else hashes.SHA256()  # noqa: S303
    oaep = padding.OAEP(padding.MGF1(algorithm), algorithm, label=None)
    return public.encrypt(_KNOWN_ANSWER, oaep), chosen


def _rsa_halves_match(live: LiveKey, public: rsa.RSAPublicKey) -> bool:
    """Whether the private half opens what is sealed under the public half.

    The moduli are compared first: a stranger's ciphertext looks like a dead device to SoftHSM.
    """
    halves = (live.operative, live.objects[ObjectClass.PUBLIC_KEY])
    if len({bytes(half[Attribute.MODULUS]) for half in halves}) != 1:
        return False
    sealed, chosen = seal_known_answer(live.entry, public)
    if live.entry.role.permits(Attribute.DECRYPT):
        return apply(live, Operation.RSA_DECRYPT, sealed, rsa_padding=chosen) == _KNOWN_ANSWER
    cipher = Cipher(algorithms.AES(_KNOWN_ANSWER), modes.ECB())  # noqa: S305  one known block
    expected = cipher.decryptor().update(_KNOWN_ANSWER)
    with unwrapped(live, sealed, rsa_padding=chosen, algorithm=Algorithm.AES_256) as content:
        return content.decipher(_KNOWN_ANSWER) == expected


def _agrees(live: LiveKey, public: ec.EllipticCurvePublicKey) -> bool:
    """Whether both halves come to one secret with a third party."""
    other = ec.derive_private_key(int.from_bytes(_KNOWN_ANSWER, "big") >> 1, ec.SECP256R1())
    secret = agree(live, agreement.encode(other.public_key()))
    return secret == other.exchange(ec.ECDH(), public)


def _signs(live: LiveKey, public: ec.EllipticCurvePublicKey) -> bool:
    """Whether the public half verifies what the private half signs."""
    raw = apply(live, Operation.SIGN, _KNOWN_ANSWER)
    half = len(raw) // 2
    signature = utils.encode_dss_signature(
        int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    )
    try:
        public.verify(signature, _KNOWN_ANSWER, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True

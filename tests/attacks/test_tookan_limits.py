"""What whoever holds the service's own HSM login does get, exactly: the use of keys, never a key.

PKCS#11 has no word that would forbid a readable child or a digest of a key, and a token does for a
thief what it does for the service. So these are limits, told in SECURITY.md; here it is shown
how far each of them goes, and that it goes no further.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB
from cryptography.hazmat.primitives.cmac import CMAC
from pkcs11 import KDF, Attribute, KeyType, Mechanism, MechanismFlag, Session, Token
from pkcs11.exceptions import KeyUnextractable, TemplateInconsistent

from hsm.vocabulary import Family
from tests.support.every_role import NAMES, Service, service, value_of
from tests.support.thief import (
    CAPABILITIES,
    OPEN,
    PRIVATE,
    PUBLIC,
    SECRET,
    TROJAN,
    Thief,
    mount,
    public_key,
    session_of,
)
from tests.support.token_attacks import (
    DATA,
    DERIVATIONS,
    PEER,
    SHA1_OAEP,
    TARGETED,
    VICTIM,
    derived,
    digested,
)

DERIVES = [name for name, role in NAMES.items() if role.permits(Attribute.DERIVE)]
OTHERS = [name for name in NAMES if name not in DERIVES]
SECRETS = [name for name, role in NAMES.items() if role.operative is SECRET]
PAIRS = [name for name, role in NAMES.items() if role.operative is PRIVATE]
UNWRAPS = [name for name, role in NAMES.items() if role.permits(Attribute.UNWRAP)]
AGREES = "k3-ec-x"
SHUT = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
WEAKER: Mapping[str, Mapping[Attribute, object]] = {
    "open": OPEN,
    "readable": {**SHUT, Attribute.SENSITIVE: False},
    "extractable": {**SHUT, Attribute.EXTRACTABLE: True},
    "perhaps readable": {Attribute.EXTRACTABLE: False},
    "perhaps extractable": {Attribute.SENSITIVE: True},
    "by default": {},
}
"""What a thief would rather have of an unwrapped key, or leaves out of its template."""
ORACLES = {Family.AES: "AES_ECB_ENCRYPT_DATA", Family.TDES: "DES3_ECB_ENCRYPT_DATA"}


@pytest.fixture(scope="module")
def served() -> Iterator[Service]:
    with service() as made:
        yield made


@pytest.fixture(scope="module")
def token(served: Service) -> Iterator[Token]:
    with served.token() as opened:
        yield opened


def enciphered(name: str, data: bytes) -> bytes:
    """What a known key of the service makes of data in ECB."""
    value = value_of(NAMES[name])
    algorithm = AES(value) if NAMES[name].family is Family.AES else TripleDES(value + value[:8])
    return Cipher(algorithm, ECB()).encryptor().update(data)


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_is_derived_of_a_key_that_does_not_derive(token: Token, name: str) -> None:
    told = mount(DERIVATIONS, token, f"{name}/1", NAMES[name].family)
    assert set(told.values()) <= {"CKR_KEY_FUNCTION_NOT_PERMITTED", "CKR_MECHANISM_INVALID"}


@pytest.mark.parametrize("name", [name for name in DERIVES if name != AGREES])
def test_a_key_that_derives_is_an_oracle_that_enciphers(token: Token, name: str) -> None:
    """A readable child is the data enciphered under its parent: the thief chooses the data.

    So it has whatever the service derives, and never the parent, nor what deciphers under it.
    """
    family = NAMES[name].family
    told = mount(DERIVATIONS, token, f"{name}/1", family)
    assert told.pop(ORACLES[family]) == enciphered(name, DATA)
    assert set(told.values()) == {"CKR_MECHANISM_INVALID"}
    with session_of(token) as session:
        key = Thief.choose(session, f"{name}/1", family).key
        assert key[Attribute.DECRYPT] is False


def test_what_opens_key_blocks_is_computed_by_the_oracle(token: Token) -> None:
    """CMAC is made of enciphering, and the keys of a key block of CMAC (X9.143): who has the login
    and a key block has the key in it, though never the key that protects it.
    """

    def oracle(block: bytes) -> bytes:
        attempts = {"": derived(Mechanism.AES_ECB_ENCRYPT_DATA, block, 128)}
        loot = mount(attempts, token, "k1-aes-b/1", Family.AES)[""]
        assert isinstance(loot, bytes)
        return loot

    data = bytes.fromhex("0100000000040100")  # the first half of a key that enciphers, AES-256
    subkey = int.from_bytes(oracle(bytes(16)), "big")
    for _ in range(2):
        subkey = (subkey << 1) ^ (0x87 | 1 << 128 if subkey >> 127 else 0)
    padded = int.from_bytes(data + b"\x80" + bytes(7), "big")
    cmac = CMAC(AES(value_of(NAMES["k1-aes-b"])))
    cmac.update(data)
    assert oracle((padded ^ subkey).to_bytes(16, "big")) == cmac.finalize()


def test_a_default_key_that_derives_falls_to_chaining_too(token: Token) -> None:
    """The attempts that a role's mechanisms stop do bite where none are named."""
    value = value_of(NAMES["b0-aes-x"])
    with session_of(token) as session:
        loose = {Attribute.ID: b"loose", Attribute.DERIVE: True, Attribute.SENSITIVE: True}
        identity = {Attribute.KEY_TYPE: KeyType.AES, Attribute.VALUE: value}
        session.create_object({Attribute.CLASS: SECRET, **identity, **loose})
        told = mount(DERIVATIONS, token, "loose", Family.AES)
    assert told["AES_ECB_ENCRYPT_DATA"] == enciphered("b0-aes-x", DATA)
    chained = Cipher(AES(value), CBC(bytes(16))).encryptor().update(DATA)
    assert told["AES_CBC_ENCRYPT_DATA"] == chained
    assert {name for name, loot in told.items() if isinstance(loot, bytes)} == {
        "AES_ECB_ENCRYPT_DATA",
        "AES_CBC_ENCRYPT_DATA",
    }


def test_an_agreement_gives_the_shared_secret_and_no_more(token: Token) -> None:
    told = mount(DERIVATIONS, token, f"{AGREES}/1", Family.EC)
    with session_of(token) as session:
        point = Thief.choose(session, f"{AGREES}/1", Family.EC).prey[PUBLIC][Attribute.EC_POINT]
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes(point)[2:])
    thiefs = ec.derive_private_key(11, ec.SECP256R1())
    assert told.pop("ECDH1_DERIVE") == thiefs.exchange(ec.ECDH(), public)
    assert set(told.values()) == {"CKR_MECHANISM_INVALID"}


INVALID = {
    "nothing": b"",
    "infinity": b"\0",
    "zero": b"\4" + bytes(64),
    "off the curve by one bit": PEER[:-1] + bytes([PEER[-1] ^ 1]),
    # 4P = O on y^2 = x^3 - 3x + b' with x = 1, y = 2: a point of another curve.
    "of another curve": b"\4" + (1).to_bytes(32, "big") + (2).to_bytes(32, "big"),
    "not reduced": b"\4" + b"\xff" * 64,
    "cut short": PEER[:33],
    "hybrid": bytes([6 + (PEER[-1] & 1 ^ 1)]) + PEER[1:],
}
"""Points that would draw a private key out bit by bit (Biehl, Meyer, Müller, CRYPTO 2000)."""


@pytest.mark.parametrize("point", INVALID)
def test_no_point_off_the_curve_is_agreed_with(token: Token, point: str) -> None:
    attempts = {point: derived(Mechanism.ECDH1_DERIVE, (KDF.NULL, None, INVALID[point]))}
    assert isinstance(mount(attempts, token, f"{AGREES}/1", Family.EC)[point], str)


@pytest.mark.parametrize("name", SECRETS)
def test_a_digest_confirms_a_guess_of_a_secret_key(token: Token, name: str) -> None:
    """C_DigestKey heeds no attribute in SoftHSM: a fingerprint of the whole key, alone or after
    other data. A key that was drawn cannot be guessed; one made of a phrase could.
    """
    told = mount(digested(b""), token, f"{name}/1", NAMES[name].family)
    value = value_of(NAMES[name])
    for hash_name, loot in told.items():
        if isinstance(loot, bytes):
            assert loot == hashlib.new(hash_name, value).digest()
    assert {loot for loot in told.values() if isinstance(loot, str)} == {"KeyIndigestible"}
    salted = mount(digested(b"salt"), token, f"{name}/1", NAMES[name].family)["sha256"]
    assert salted == hashlib.sha256(b"salt" + value).digest()


@pytest.mark.parametrize("name", [name for name in PAIRS if NAMES[name].family is Family.RSA])
def test_no_rsa_key_is_digested(token: Token, name: str) -> None:
    """Unlike those of a curve; but of these every guess can be held against the public half."""
    told = mount(digested(b""), token, f"{name}/1", NAMES[name].family)
    assert set(told.values()) == {"KeyIndigestible"}


def test_a_key_of_few_bits_falls_to_its_digest(token: Token) -> None:
    """What drawing keys is for: 2^16 guesses are made in a moment."""
    value = bytes(14) + b"\x12\x34"
    with session_of(token) as session:
        identity = {Attribute.KEY_TYPE: KeyType.AES, Attribute.VALUE: value}
        session.create_object({Attribute.CLASS: SECRET, Attribute.ID: b"weak", **identity})
        told = mount(digested(b""), token, "weak", Family.AES)["sha256"]
    guesses = (bytes(14) + number.to_bytes(2, "big") for number in range(1 << 16))
    assert next(each for each in guesses if hashlib.sha256(each).digest() == told) == value


@pytest.mark.parametrize("name", UNWRAPS)
@pytest.mark.parametrize("weaker", WEAKER)
def test_what_was_wrapped_for_a_pair_is_not_had(token: Token, weaker: str, name: str) -> None:
    """A recorded cryptogram is not unwrapped into an object that gives its value up."""
    with session_of(token) as session, pytest.raises(TemplateInconsistent):
        unwrapped(session, name, sealed_for(session, name, VICTIM), WEAKER[weaker])


@pytest.mark.parametrize("name", UNWRAPS)
def test_what_was_wrapped_for_a_pair_is_used_and_still_not_had(token: Token, name: str) -> None:
    """It can be unwrapped for any purpose; the value stays in, by every attack there is."""
    with session_of(token) as session:
        changes = {Attribute.ID: b"unwrapped", **dict.fromkeys(CAPABILITIES, True)}
        used = unwrapped(session, name, sealed_for(session, name, VICTIM), {**SHUT, **changes})
        block = Cipher(AES(VICTIM), ECB()).encryptor().update(DATA)
        assert used.encrypt(DATA, mechanism=Mechanism.AES_ECB) == block
        for attempts in TARGETED.values():
            told = mount(attempts, token, "unwrapped", Family.AES)
            assert {type(loot) for loot in told.values()} == {str}


@pytest.mark.parametrize("name", UNWRAPS)
def test_a_key_conjured_up_under_a_pair_takes_nothing_out(token: Token, name: str) -> None:
    """Anyone can wrap for a pair; a known wrapping key that came so is as little use as another."""
    with session_of(token) as session:
        changes = {**SHUT, Attribute.WRAP: True}
        trojan = unwrapped(session, name, sealed_for(session, name, TROJAN), changes)
        for other in (each for each in NAMES if NAMES[each].operative is not PUBLIC):
            kept = Thief.choose(session, f"{other}/1", NAMES[other].family)
            with pytest.raises(KeyUnextractable):
                kept.carry_off(kept.key, trojan)


def sealed_for(session: Session, name: str, value: bytes) -> bytes:
    """A key sealed under the public half outside the token."""
    public = Thief.choose(session, f"{name}/1", Family.RSA).prey[PUBLIC]
    return public_key(public).encrypt(value, SHA1_OAEP)


def unwrapped(
    session: Session, name: str, sealed: bytes, changes: Mapping[Attribute, object]
) -> Any:
    """What a thief makes of a sealed key, by a pair of the service."""
    private = Thief.choose(session, f"{name}/1", Family.RSA).key
    return private.unwrap_key(
        SECRET,
        KeyType.AES,
        sealed,
        mechanism=Mechanism.RSA_PKCS_OAEP,
        capabilities=MechanismFlag(0),
        template={Attribute.TOKEN: False, **changes},
    )

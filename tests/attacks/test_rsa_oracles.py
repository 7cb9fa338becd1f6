"""Attack: ask about RSA ciphertexts until one has been read (Bleichenbacher, 1998; Manger, 2001).

One bit a query is enough: whether a ciphertext is padded as it should be, or its plaintext is
below a bound. Bad ciphertexts of every class go in by every kind of envelope that RSA opens, and
come back with one face, in one time class.

What is padded by PKCS #1 v1.5 can be changed and stay padded, once in some 2^16 tries, which OAEP
cannot. So there the padding must not be told at all: not by a replay, and not by work.
"""

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from hsm.errors import HsmDataRefused
from pinvault.client.sealing import SealingKey, seal
from pinvault.model.keys import Key
from pinvault.model.profiles import (
    Encoding,
    IncomingProfile,
    JweInProfile,
    PinLength,
    Plaintext,
    SealedAesBlockProfile,
    SealedAesGcmProfile,
    SealedJsonProfile,
    SealedJweProfile,
    SealedRsaProfile,
)
from tests.attacks.test_one_face import mann_whitney
from tests.support.attack import PAN, Attacker, Told, attacker, encrypt, envelope
from tests.support.core import Setting
from tests.support.software_device import key
from tests.unit.clearzone import other_ends as ends

SEAL = key("in-seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP")
UNWRAP = key("in-unwrap", "K0", "RSA_2048", "D", jwa="RSA-OAEP")
BYTES = 256
ROUNDS = 12
QUANTUM_S = 0.006

# Manger's attack on one bit: is the plaintext below B, that is, is its first byte zero?


@dataclass
class Naive:
    """Stand in for a service that tells a first byte of zero from others, for a small key."""

    p: int = 2**89 - 1
    q: int = 2**107 - 1
    asked: int = 0

    def __post_init__(self) -> None:
        self.n = self.p * self.q
        self.d = pow(65537, -1, (self.p - 1) * (self.q - 1))
        self.below = 1 << (8 * ((self.n.bit_length() - 1) // 8))

    def is_below(self, ciphertext: int) -> bool:
        self.asked += 1
        return pow(ciphertext, self.d, self.n) < self.below


def manger(oracle: Naive, ciphertext: int) -> int:
    """Read the plaintext, which is below B (Manger, CRYPTO 2001, section 3)."""
    n, below = oracle.n, oracle.below

    def asks(factor: int) -> bool:
        return oracle.is_below(ciphertext * pow(factor, 65537, n) % n)

    first = 2
    while asks(first):
        first *= 2
    second = (n + below) // below * (first // 2)
    while not asks(second):
        second += first // 2
    low, high = -(-n // second), (n + below) // second
    while low < high:
        step = 2 * below // (high - low)
        times = step * low // n
        third = -(-times * n // low)
        if asks(third):
            high = (times * n + below) // third
        else:
            low = -(-(times * n + below) // third)
    return low


def test_the_attack_is_real_against_a_service_that_tells_one_bit() -> None:
    oracle = Naive()
    for seed in range(8):
        secret = random.Random(seed).randrange(oracle.below)
        assert manger(oracle, pow(secret, 65537, oracle.n)) == secret
    assert oracle.asked / 8 < 2 * oracle.n.bit_length()


# What is sent: integers that the private key makes of classes of plaintexts.


def under(plaintext: int, to: Key) -> bytes:
    """Encipher a number without any padding, as an attacker can."""
    numbers = ends.private_key(to.id).public_key().public_numbers()
    return pow(plaintext, numbers.e, numbers.n).to_bytes(BYTES)


def at_most(bound: int) -> int:
    return secrets.randbelow(bound - 2) + 2


def modulus(to: Key) -> int:
    return ends.private_key(to.id).public_key().public_numbers().n


def padded(to: Key, scheme: padding.AsymmetricPadding, content: bytes) -> bytes:
    return ends.private_key(to.id).public_key().encrypt(content, scheme)


def sha256_oaep() -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


BELOW = 1 << 8 * (BYTES - 1)
BAD: dict[str, Callable[[Key], bytes]] = {
    "random": lambda to: under(at_most(modulus(to)), to),
    "first byte is zero": lambda to: under(at_most(BELOW), to),
    "first byte is not zero": lambda to: under(BELOW + at_most(modulus(to) - BELOW), to),
    "zero": lambda _: bytes(BYTES),
    "above the modulus": lambda to: (modulus(to) + secrets.randbelow(1 << 2000)).to_bytes(BYTES),
    "padded by PKCS 1": lambda to: padded(to, padding.PKCS1v15(), b'{"pin":"7392"}'),
    "padded with another hash": lambda to: padded(to, sha256_oaep(), b"7392" * 8),
    "well padded, and nothing in it": lambda to: padded(
        to, ends.OAEP["RSA-OAEP"], secrets.token_bytes(33)
    ),
}


@dataclass(frozen=True)
class Kind:
    """An incoming kind: its profile, a good envelope, and one with another RSA ciphertext."""

    profile: IncomingProfile
    to: Key
    good: Callable[[], bytes]
    bad: Callable[[bytes], bytes]


def sealed_jwe() -> bytes:
    client = SealingKey(
        kid=SEAL.id,
        alg="RSA-OAEP",
        thumbprint="",
        public_key=ends.private_key(SEAL.id).public_key(),
    )
    return seal("7392", key=client, pan=PAN, expires=int(time.time()) + 60)


def with_wrapped_key(compact: bytes, ciphertext: bytes) -> bytes:
    parts = compact.split(b".")
    parts[1] = ends.base64.urlsafe_b64encode(ciphertext).rstrip(b"=")
    return b".".join(parts)


def plain_jwe() -> bytes:
    return ends.jwe_to(b"7392", SEAL)


KINDS = {
    "sealed-jwe": Kind(
        SealedJweProfile(name="sealed-in", key=SEAL.name),
        SEAL,
        sealed_jwe,
        lambda bad: with_wrapped_key(sealed_jwe(), bad),
    ),
    "jwe-in": Kind(
        JweInProfile(name="jwe-in", key=SEAL.name, plaintext=Plaintext.DIGITS),
        SEAL,
        plain_jwe,
        lambda bad: with_wrapped_key(plain_jwe(), bad),
    ),
    "sealed-rsa": Kind(
        SealedRsaProfile(
            name="rsa-in", key=SEAL.name, plaintext=Plaintext.DIGITS, encoding=Encoding.HEX_UPPER
        ),
        SEAL,
        lambda: ends.HEX(ends.rsa_to(b"7392", SEAL)).encode(),
        lambda bad: ends.HEX(bad).encode(),
    ),
    "sealed-json": Kind(
        SealedJsonProfile(name="json-in", key=SEAL.name),
        SEAL,
        lambda: ends.BASE64(
            ends.rsa_to(ends.dump({"nonce": ends.nonce(), "pin": "7392"}), SEAL)
        ).encode(),
        lambda bad: ends.BASE64(bad).encode(),
    ),
    "sealed-aes-block": Kind(
        SealedAesBlockProfile(name="aes-block-in", key=UNWRAP.name),
        UNWRAP,
        lambda: ends.dump(ends.aes_block_to("7392", UNWRAP)),
        lambda bad: ends.dump(ends.aes_block_to("7392", UNWRAP) | {"encryptedKey": ends.HEX(bad)}),
    ),
    "sealed-aes-gcm": Kind(
        SealedAesGcmProfile(name="aes-gcm-in", key=UNWRAP.name, plaintext=Plaintext.DIGITS),
        UNWRAP,
        lambda: ends.dump(ends.aes_gcm_to(b"7392", UNWRAP)),
        lambda bad: ends.dump(
            ends.aes_gcm_to(b"7392", UNWRAP) | {"encryptedKey": ends.BASE64(bad)}
        ),
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.fixture(scope="module")
def someone(tmp_path_factory: pytest.TempPathFactory) -> Attacker:
    keys = tuple((each, ends.private_key(each.id)) for each in (SEAL, UNWRAP))
    profiles = tuple(kind.profile for kind in KINDS.values())
    folder = tmp_path_factory.mktemp("oracles")
    return attacker(folder, Setting(keys=keys, profiles=profiles), quantum_s=QUANTUM_S)


def ask(someone: Attacker, kind: Kind, ciphertext: bytes) -> Told:
    return someone.ask("EncryptPin", encrypt(envelope(ciphertext, kind.profile.name)))


def test_every_kind_that_rsa_opens_is_here() -> None:
    """ECDH has no RSA in it; whoever adds a kind is asked for its classes."""
    rsa_kinds = {name.split()[0] for name in ends.INCOMING} - {"sealed-ecdh-block"}
    assert KINDS.keys() == rsa_kinds | {"sealed-jwe"}


@kinds
def test_no_class_of_bad_ciphertext_can_be_told_from_another(someone: Attacker, kind: Kind) -> None:
    assert ask(someone, kind, kind.good()).reason == "OK", "but for the ciphertext all is well"
    faces: set[object] = set()
    times: dict[str, list[float]] = {name: [] for name in BAD}
    for _ in range(ROUNDS):
        for name, make in BAD.items():
            text = kind.bad(make(kind.to))
            began = time.perf_counter()
            told = ask(someone, kind, text)
            times[name].append(time.perf_counter() - began)
            faces.add(told.face)
            assert told.reason == "PIN_SOURCE_REFUSED"
    assert len(faces) == 1
    for name, found in times.items():
        rest = [took for other in BAD if other != name for took in times[other]]
        assert mann_whitney(found, rest) > 1e-6 / len(BAD), name


@kinds
def test_a_bad_ciphertext_that_comes_again_is_told_no_differently(
    someone: Attacker, kind: Kind
) -> None:
    """What opened is remembered, so a replay says that it had: none of another's can be made to.

    A block under an AES key is told by its token, which stands outside: all classes are spent.
    """
    told = {}
    for name, make in BAD.items():
        text = kind.bad(make(kind.to))
        told[name] = tuple(ask(someone, kind, text).reason for _ in range(2))
    well_padded = told.pop("well padded, and nothing in it")
    if kind.profile.name == "aes-block-in":
        assert set(told.values()) == {well_padded}
    else:
        assert set(told.values()) == {("PIN_SOURCE_REFUSED", "PIN_SOURCE_REFUSED")}


# PKCS #1 v1.5, before a token that tells bad padding and one that makes a message of it.

OPEN = key("in-open", "D1", "RSA_2048", "D", jwa="RSA1_5")
FIELD = SealedRsaProfile(
    name="field-in",
    key=OPEN.name,
    plaintext=Plaintext.HEX_OF_DIGITS,
    encoding=Encoding.HEX_LOWER,
    pin_length=PinLength(minimum=4, maximum=4),
    accept_pkcs1_v1_5=True,
)
CONTENT = b"7392".hex().encode()


def block(
    content: bytes,
    *,
    first: bytes = b"\x00\x02",
    length: int | None = None,
    end: bytes = b"\x00",
) -> int:
    """Give an encryption block (RFC 8017, 7.2.1), whole or spoilt."""
    count = BYTES - len(first) - len(end) - len(content) if length is None else length
    padded = first + bytes(1 + secrets.randbelow(255) for _ in range(count)) + end + content
    rest = bytes(1 + secrets.randbelow(255) for _ in range(BYTES - len(padded)))
    return int.from_bytes(padded + rest)


def multiple(to: Key, by: int) -> bytes:
    """Give a seen field times a number that the attacker chose, as Bleichenbacher does."""
    return under(block(CONTENT) * by % modulus(to), to)


def another_spelling(to: Key) -> bytes:
    """Give a good field plus the modulus, in as many bytes."""
    while True:
        spelt = int.from_bytes(under(block(CONTENT), to)) + modulus(to)
        if spelt < 1 << 8 * BYTES:
            return spelt.to_bytes(BYTES)


BAD_FIELDS: dict[str, Callable[[Key], bytes]] = {
    "random": BAD["random"],
    "zero": BAD["zero"],
    "above the modulus": BAD["above the modulus"],
    "the modulus more": another_spelling,
    "times a number": lambda to: multiple(to, at_most(modulus(to))),
    "twice": lambda to: multiple(to, 2),
    "padded by OAEP": lambda to: padded(to, ends.OAEP["RSA-OAEP"], CONTENT),
    "block type 1": lambda to: under(block(CONTENT, first=b"\x00\x01"), to),
    "no zero before": lambda to: under(block(CONTENT, first=b"\x01\x02"), to),
    "short padding": lambda to: under(block(CONTENT, length=7), to),
    "no end of the padding": lambda to: under(block(CONTENT, end=b"\x01"), to),
    "padded, and nothing in it": lambda to: under(block(b""), to),
    "padded, and another's content": lambda to: under(block(secrets.token_bytes(8)), to),
    "padded, and the digits as they are": lambda to: under(block(b"7392"), to),
    "padded, and a digit more": lambda to: under(block(CONTENT + b"30"), to),
    "padded, and a byte more": lambda to: under(block(CONTENT + b"0"), to),
    "padded, and a letter": lambda to: under(block(CONTENT[:-1] + b"a"), to),
}
PADDED = {name for name in BAD_FIELDS if name.startswith("padded, ")}


def strict(ciphertext: bytes) -> bytes:
    """Decrypt as the standard says (RFC 8017, 7.2.2), and tell bad padding."""
    numbers = ends.private_key(OPEN.id).private_numbers()
    value = int.from_bytes(ciphertext)
    first, second = pow(value, numbers.dmp1, numbers.p), pow(value, numbers.dmq1, numbers.q)
    plain = second + (first - second) * numbers.iqmp % numbers.p * numbers.q
    encoded = plain.to_bytes(BYTES)
    end = encoded.find(0, 2)
    if encoded[:2] != b"\x00\x02" or end < 10:
        raise HsmDataRefused
    return encoded[end + 1 :]


@pytest.fixture(scope="module", params=["strict", "implicit rejection"])
def fielded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Attacker:
    """Stand before a service that takes fields."""
    setting = Setting(keys=((OPEN, ends.private_key(OPEN.id)),), profiles=(FIELD,))
    folder = tmp_path_factory.mktemp("fields")
    found = attacker(folder, setting, quantum_s=2 * QUANTUM_S)
    if request.param == "strict":
        opened: dict[str, Any] = {"rsa_decrypt": lambda _, ciphertext, **__: strict(ciphertext)}
        vars(found.core.device).update(opened)
    return found


def told_of(someone: Attacker, field: bytes) -> Told:
    return someone.ask("EncryptPin", encrypt(envelope(field.hex().encode(), FIELD.name)))


def test_the_strict_token_tells_padding_and_so_would_the_service() -> None:
    for name, make in BAD_FIELDS.items():
        field = make(OPEN)
        if name in PADDED:
            assert strict(field) != CONTENT
        elif int.from_bytes(field) < modulus(OPEN):
            with pytest.raises(HsmDataRefused):
                strict(field)
    assert strict(under(block(CONTENT), OPEN)) == CONTENT


def test_padding_and_content_of_a_field_are_one_question(fielded: Attacker) -> None:
    faces: set[object] = set()
    times: dict[str, list[float]] = {name: [] for name in BAD_FIELDS}
    for _ in range(ROUNDS):
        for name, make in BAD_FIELDS.items():
            field = make(OPEN)
            began = time.perf_counter()
            told = told_of(fielded, field)
            times[name].append(time.perf_counter() - began)
            faces.add(told.face)
            assert told.reason == "PIN_SOURCE_REFUSED"
    assert len(faces) == 1
    for name, found in times.items():
        rest = [took for other in times if other != name for took in times[other]]
        assert mann_whitney(found, rest) > 1e-6 / len(BAD_FIELDS), name


def test_a_replay_tells_nothing_of_the_padding_either(fielded: Attacker) -> None:
    for make in BAD_FIELDS.values():
        field = make(OPEN)
        told = [told_of(fielded, field) for _ in range(3)]
        assert {each.reason for each in told} == {"PIN_SOURCE_REFUSED"}
    good = under(block(CONTENT), OPEN)
    assert [told_of(fielded, good).reason for _ in range(2)] == ["OK", "ENVELOPE_REPLAYED"]
    respelt = encrypt(envelope(good.hex().upper().encode(), FIELD.name))
    assert fielded.ask("EncryptPin", respelt).reason == "PIN_SOURCE_REFUSED"


@pytest.mark.parametrize(("to", "accepts"), [(SEAL, True), (OPEN, False)])
def test_no_key_opens_by_two_paddings(tmp_path: Path, to: Key, accepts: bool) -> None:
    """A profile and a key of different paddings do not come together."""
    profile = replace(FIELD, key=to.name, accept_pkcs1_v1_5=accepts)
    setting = Setting(keys=((to, ends.private_key(to.id)),), profiles=(profile,))
    someone = attacker(tmp_path, setting)
    for scheme in (padding.PKCS1v15(), ends.OAEP["RSA-OAEP"]):
        field = padded(to, scheme, CONTENT).hex().encode()
        told = someone.ask("EncryptPin", encrypt(envelope(field, profile.name)))
        assert told.reason == "KEY_STATE"
        assert "rsa_decrypt" not in dict(told.hsm)


def test_the_sample_would_notice_a_difference() -> None:
    sample = [i * 1e-6 for i in range(ROUNDS)]
    rest = [value + 20e-6 for value in sample] * (len(BAD) - 1)
    assert mann_whitney(sample, rest) < 1e-6 / len(BAD)

"""Envelopes named by what is wrong with them, each forged so that nothing else is."""

import base64
import json
import secrets
import string
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psec import pinblock

from pinvault.clearzone.pin import Malformed
from pinvault.model.profiles import (
    ContentKey,
    DerivationHash,
    Encoding,
    IncomingProfile,
    Plaintext,
)
from tests.unit.clearzone.other_ends import (
    AGREE,
    BASE64,
    BLOCK_PROFILE,
    DERIVATION,
    ECDH_PROFILE,
    HEX,
    INCOMING,
    JSON_PROFILE,
    OAEP,
    PAN,
    READ,
    SEAL,
    SEAL_256,
    UNWRAP,
    LenientDevice,
    Members,
    aes_block_to,
    aes_gcm_to,
    device,
    digits,
    dump,
    ecdh_block_to,
    json_to,
    jwe_to,
    opened,
    plain,
    point_of,
    private_key,
    rsa_kind,
    rsa_to,
)

Make = Callable[[], bytes]
Case = tuple[IncomingProfile, Make]

RSA = rsa_kind(Plaintext.DIGITS, Encoding.BASE64).profile
JWE = INCOMING["jwe-in digits"].profile
GCM = INCOMING["sealed-aes-gcm digits"].profile
FROM_BASE64 = READ[Encoding.BASE64]


def public(of: Any) -> Any:
    return private_key(of.id).public_key()


def rsa(ciphertext: Callable[[], bytes]) -> Case:
    return RSA, lambda: BASE64(ciphertext()).encode()


def gcm(change: Callable[[], Members]) -> Case:
    return GCM, lambda: dump(aes_gcm_to(b"7392") | change())


def gcm_all(make: Callable[[], Members]) -> Case:
    return GCM, lambda: dump(make())


def block(change: Callable[[], Members]) -> Case:
    return BLOCK_PROFILE, lambda: dump(aes_block_to("7392") | change())


def point(make: Callable[[bytes], bytes]) -> Case:
    def forge() -> bytes:
        found = ecdh_block_to("7392")
        return dump(found | {"ephemeralPublicKey": BASE64(make(point_in(found)))})

    return ECDH_PROFILE, forge


def agreed(**changes: Any) -> Case:
    derivation = replace(DERIVATION, **changes)
    return ECDH_PROFILE, lambda: dump(ecdh_block_to("7392", derivation=derivation))


def point_in(found: Members) -> bytes:
    return FROM_BASE64(found["ephemeralPublicKey"])


def mirrored(found: bytes) -> bytes:
    """The other point with this x coordinate."""
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    return found[:33] + (prime - int.from_bytes(found[33:])).to_bytes(32)


def other_curve() -> bytes:
    return point_of(ec.generate_private_key(ec.SECP256K1()).public_key())


def cbc_of(content_key: bytes) -> Members:
    iv = secrets.token_bytes(16)
    cipher = Cipher(algorithms.AES(content_key), modes.CBC(iv)).encryptor()
    return {
        "encryptedKey": BASE64(rsa_to(content_key, UNWRAP)),
        "iv": BASE64(iv),
        "encryptedPin": BASE64(cipher.update(b"7392" + b"\x0c" * 12)),
    }


def with_aad() -> Members:
    content_key, iv = secrets.token_bytes(32), secrets.token_bytes(12)
    sealed = AESGCM(content_key).encrypt(iv, b"7392", b"header")
    return {
        "encryptedKey": BASE64(rsa_to(content_key, UNWRAP)),
        "iv": BASE64(iv),
        "encryptedPin": BASE64(sealed),
    }


PKCS1 = padding.PKCS1v15()
LABELLED = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), b"label")
STRANGER = SEAL_256  # a key of ours that these profiles do not name

FORGED: dict[str, Case] = {
    "rsa: PKCS #1 v1.5": rsa(lambda: public(SEAL).encrypt(b"7392", PKCS1)),
    "rsa: OAEP with SHA-256": rsa(lambda: public(SEAL).encrypt(b"7392", OAEP["RSA-OAEP-256"])),
    "rsa: OAEP with a label": rsa(lambda: public(SEAL).encrypt(b"7392", LABELLED)),
    "rsa: raw": rsa(lambda: raw(b"7392")),
    "rsa: under another key": rsa(lambda: public(STRANGER).encrypt(b"7392", OAEP["RSA-OAEP"])),
    "rsa: zeros": rsa(lambda: bytes(256)),
    "rsa: the modulus": rsa(lambda: modulus().to_bytes(256)),
    "rsa: all ones": rsa(lambda: b"\xff" * 256),
    "rsa: short": rsa(lambda: rsa_to(b"7392", SEAL)[1:]),
    "rsa: long": rsa(lambda: bytes(1) + rsa_to(b"7392", SEAL)),
    "jwe: RSA-OAEP-256": (JWE, lambda: jwe_to(b"7392", SEAL, alg="RSA-OAEP-256")),
    "jwe: RSA1_5": (JWE, lambda: jwe_to(b"7392", SEAL, alg="RSA1_5")),
    "jwe: A128GCM": (JWE, lambda: jwe_to(b"7392", SEAL, enc="A128GCM")),
    "jwe: A256CBC-HS512": (JWE, lambda: jwe_to(b"7392", SEAL, enc="A256CBC-HS512")),
    "jwe: cty": (JWE, lambda: jwe_to(b"7392", SEAL, cty="JWT")),
    "jwe: zip": (JWE, lambda: jwe_to(b"7392", SEAL, zip="DEF")),
    "jwe: kid unknown": (JWE, lambda: jwe_to(b"7392", SEAL, kid="pin-seal/3")),
    "jwe: kid of another name": (JWE, lambda: jwe_to(b"7392", SEAL, kid=SEAL_256.id)),
    "gcm: key under PKCS #1 v1.5": gcm(
        lambda: {"encryptedKey": BASE64(public(UNWRAP).encrypt(bytes(32), PKCS1))}
    ),
    "gcm: key of another envelope": gcm(
        lambda: {"encryptedKey": aes_gcm_to(b"7392")["encryptedKey"]}
    ),
    "gcm: key of zeros and no wrapped key": gcm_all(
        lambda: aes_gcm_to(b"7392", content_key=bytes(32)) | {"encryptedKey": BASE64(bytes(256))}
    ),
    "gcm: key of 16 bytes": gcm_all(lambda: aes_gcm_to(b"7392", content_key=bytes(16))),
    "gcm: key of 24 bytes": gcm_all(lambda: aes_gcm_to(b"7392", content_key=bytes(24))),
    "gcm: IV of 8 bytes": gcm_all(lambda: aes_gcm_to(b"7392", iv_bytes=8)),
    "gcm: IV of 16 bytes": gcm_all(lambda: aes_gcm_to(b"7392", iv_bytes=16)),
    "gcm: associated data": gcm_all(with_aad),
    "gcm: nothing sealed": gcm_all(lambda: aes_gcm_to(b"")),
    "gcm: a tag alone": gcm(lambda: {"encryptedPin": BASE64(bytes(16))}),
    "gcm: CBC": gcm_all(lambda: cbc_of(secrets.token_bytes(32))),
    "block: key under PKCS #1 v1.5": block(
        lambda: {"encryptedKey": HEX(public(UNWRAP).encrypt(bytes(32), PKCS1))}
    ),
    "block: key of another envelope": block(
        lambda: {"encryptedKey": aes_block_to("7392")["encryptedKey"]}
    ),
    "block: key of 16 bytes": (
        BLOCK_PROFILE,
        lambda: dump(aes_block_to("7392", content_key=bytes(16))),
    ),
    "block: key of zeros and no wrapped key": (
        BLOCK_PROFILE,
        lambda: dump(
            aes_block_to("7392", content_key=bytes(32)) | {"encryptedKey": HEX(bytes(256))}
        ),
    ),
    "block: short": block(lambda: {"encryptedPinBlock": "00" * 15}),
    "block: long": block(lambda: {"encryptedPinBlock": "00" * 32}),
    "block: no block": block(lambda: {"encryptedPinBlock": ""}),
    "block: token of another envelope": block(lambda: {"token": aes_block_to("7392")["token"]}),
    "block: token short": block(lambda: {"token": "0" * 15}),
    "block: token long": block(lambda: {"token": "0" * 17}),
    "block: token with a newline": block(lambda: {"token": "0" * 16 + "\n"}),
    "block: token of another script": block(lambda: {"token": "\u0660" * 16}),
    "block: token a number": block(lambda: {"token": 10**15}),
    "ecdh: SHA-256": agreed(hash=DerivationHash.SHA_256),
    "ecdh: AES-256": agreed(content_key=ContentKey.AES_256),
    "ecdh: no shared information": agreed(shared_info=b""),
    "ecdh: other shared information": agreed(shared_info=b"pinvaulu"),
    "ecdh: point of another envelope": point(lambda found: point_in(ecdh_block_to("7392"))),
    "ecdh: long block": (
        ECDH_PROFILE,
        lambda: dump(ecdh_block_to("7392") | {"encryptedPinBlock": "00" * 32}),
    ),
    "ecdh: short block": (
        ECDH_PROFILE,
        lambda: dump(ecdh_block_to("7392") | {"encryptedPinBlock": "00" * 15}),
    ),
}

# What is wrong with these points is found before the HSM sees them.
POINTS: dict[str, Case] = {
    "compressed": point(lambda found: bytes([2 + found[64] % 2]) + found[1:33]),
    "hybrid": point(lambda found: bytes([6 + found[64] % 2]) + found[1:]),
    "at infinity": point(lambda found: bytes(1)),
    "zero": point(lambda found: b"\x04" + bytes(64)),
    "without its mark": point(lambda found: found[1:]),
    "long": point(lambda found: found + b"\x00"),
    "off the curve": point(lambda found: found[:64] + bytes([found[64] ^ 1])),
    "of another curve": point(lambda found: other_curve()),
    "not below the prime": point(lambda found: b"\x04" + b"\xff" * 64),
}


def modulus() -> int:
    return public(SEAL).public_numbers().n


def raw(message: bytes) -> bytes:
    return pow(int.from_bytes(message), 65537, modulus()).to_bytes(256)


def refuse(case: Case) -> None:
    profile, make = case
    with pytest.raises(Malformed) as caught:
        opened(make(), profile).pin()
    assert (caught.value.args, caught.value.cause) == ((), "")
    assert caught.value.__cause__ is None


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # RSA1_5, to be refused
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_envelope_is_malformed(name: str) -> None:
    refuse(FORGED[name])


@pytest.mark.parametrize("name", POINTS)
def test_a_point_that_is_none_never_reaches_the_hsm(name: str) -> None:
    device().calls.clear()
    refuse(POINTS[name])
    assert not device().calls


SIZES = [
    *("rsa: short", "rsa: long", "rsa: the modulus", "rsa: all ones"),
    *("gcm: IV of 8 bytes", "gcm: IV of 16 bytes", "gcm: nothing sealed", "gcm: a tag alone"),
    *("block: short", "block: long", "block: no block", "ecdh: short block", "ecdh: long block"),
]


@pytest.mark.parametrize("name", SIZES)
def test_what_has_another_size_never_reaches_the_hsm(name: str) -> None:
    device().calls.clear()
    refuse(FORGED[name])
    assert not device().calls


def test_a_field_has_no_second_spelling() -> None:
    """Some HSMs would take the ciphertext with the modulus added, or without leading zeros."""
    while (ciphertext := rsa_to(b"7392", SEAL))[0]:
        pass
    added = (int.from_bytes(ciphertext) + modulus()).to_bytes(256)
    for other in (added, bytes(1) + added, ciphertext[1:], bytes(1) + ciphertext):
        refuse(rsa(lambda other=other: other))
    assert digits(opened(BASE64(ciphertext).encode(), RSA)) == "7392"


def test_a_second_spelling_of_a_wrapped_key_is_the_same_envelope() -> None:
    """An HSM that takes one must not let an envelope be used twice."""
    lenient = device(LenientDevice)
    block, gcm, compact = aes_block_to("7392"), aes_gcm_to(b"7392"), jwe_to(b"7392", SEAL)
    wrapped = bytes(1) + FROM_BASE64(gcm["encryptedKey"])
    header, _, rest = compact.partition(b".")
    jwe_wrapped, _, tail = rest.partition(b".")
    respelled = base64.urlsafe_b64encode(bytes(1) + decoded(jwe_wrapped)).rstrip(b"=")
    for profile, first, second in (
        (BLOCK_PROFILE, dump(block), dump(block | {"encryptedKey": "00" + block["encryptedKey"]})),
        (GCM, dump(gcm), dump(gcm | {"encryptedKey": BASE64(wrapped)})),
        (JWE, compact, b".".join([header, respelled, tail])),
    ):
        assert digits(opened(second, profile, hsm=lenient)) == "7392"
        nonces = {opened(text, profile, hsm=lenient).nonce for text in (first, second)}
        assert len(nonces) == 1


def decoded(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def test_bits_that_carry_nothing_are_zero() -> None:
    """The last characters of a tag hold 4 bits, and 2 that must be zero."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    compact = jwe_to(b"7392", SEAL).decode()
    last = alphabet[alphabet.index(compact[-1]) ^ 1]
    refuse((JWE, lambda: (compact[:-1] + last).encode()))
    assert digits(opened(compact.encode(), JWE)) == "7392"


def test_the_mirror_image_of_a_point_is_the_same_envelope() -> None:
    """It agrees on the same key, so that it must not open a second time."""
    found = ecdh_block_to("7392")
    image = found | {"ephemeralPublicKey": BASE64(mirrored(point_in(found)))}
    assert image != found
    first, second = (opened(dump(each), ECDH_PROFILE) for each in (found, image))
    assert digits(first) == digits(second) == "7392"
    assert first.nonce == second.nonce


def test_a_named_and_an_unnamed_key_are_the_same_envelope() -> None:
    for found, profile, kid in (
        (aes_block_to("7392"), BLOCK_PROFILE, UNWRAP.id),
        (aes_gcm_to(b"7392"), GCM, UNWRAP.id),
        (ecdh_block_to("7392"), ECDH_PROFILE, AGREE.id),
    ):
        named = opened(dump(found | {"kid": kid}), profile)
        assert named.nonce == opened(dump(found), profile).nonce


def test_one_token_is_one_envelope_whatever_it_is_bound_to() -> None:
    nonces = {opened(dump(aes_block_to("7392", token="0" * 16)), BLOCK_PROFILE).nonce for _ in "ab"}
    assert len(nonces) == 1


@pytest.mark.parametrize(
    ("padding_fault", "content_fault"),
    [
        ("block: key under PKCS #1 v1.5", "block: token of another envelope"),
        ("gcm: key under PKCS #1 v1.5", "gcm: a tag alone"),
    ],
)
def test_a_bad_key_and_bad_content_have_taken_the_same_way(
    padding_fault: str, content_fault: str
) -> None:
    calls = []
    for name in (padding_fault, content_fault):
        device().calls.clear()
        if name.startswith("gcm: a tag"):
            refuse(gcm(lambda: {"encryptedPin": BASE64(bytes(20))}))
        else:
            refuse(FORGED[name])
        calls.append(dict(device().calls))
    assert calls == [{"with_unwrapped": 1}] * 2


def test_an_envelope_whose_key_does_not_unwrap_opens_to_no_pin_and_can_be_spent() -> None:
    found = aes_block_to("7392") | {"encryptedKey": HEX(bytes(256))}
    with pytest.raises(Malformed):
        opened(dump(found), BLOCK_PROFILE).pin()
    assert opened(dump(found), BLOCK_PROFILE).nonce.endswith(found["token"].encode())


# What a plaintext may not be, each under an authentic RSA field.

FULLWIDTH = "\uff17\uff13\uff19\uff12"
DIGIT_FORMS = ("", "739", "7392051846271", "73a2", "7392 ", "-7392", FULLWIDTH, "+392", "7_392")
NO_PLAINTEXT: dict[Plaintext, list[bytes]] = {
    Plaintext.DIGITS: [form.encode() for form in DIGIT_FORMS] + [b"\xb7392", b"7392\n", b"7392\0"],
    Plaintext.HEX_OF_DIGITS: [
        *(form.encode().hex().encode() for form in DIGIT_FORMS),
        *(b"7392", b"3733393", b"37333932\n", b" 37333932", b"3733393G", b"37 33 39 32"),
    ],
    Plaintext.PIN_JSON: [
        *(dump({"pin": form}) for form in DIGIT_FORMS),
        *(
            b"{}",
            b"null",
            b'"7392"',
            b"7392",
            b'["7392"]',
            b'{"pin":7392}',
            b'{"pin":"\\u0037392"}',
        ),
        *(b'{"pin":"7392","pin":"7392"}', b'{"pin":"7392","nonce":1}', b'{"PIN":"7392"}'),
        *(b'{"pin":"7392"}}', b'{"pin":"7392"', b"\xef\xbb\xbf" + b'{"pin":"7392"}'),
    ],
    **{
        form: [
            *(b"", bytes(8), b"\xff" * 8, b"7392"),
            *(change(plain("7392", form)) for change in (lambda b: b[:7], lambda b: b + b"\xff")),
            *(plain("7392", other) for other in Plaintext if other is not form),
        ]
        for form in Plaintext
        if "block" in form
    },
}


@pytest.mark.parametrize("form", Plaintext)
def test_a_plaintext_of_another_form_is_malformed_after_it_has_opened(form: Plaintext) -> None:
    """So that it can be spent first."""
    profile = rsa_kind(form, Encoding.HEX_UPPER).profile
    for content in NO_PLAINTEXT[form]:
        found = opened(HEX(rsa_to(content, SEAL)).encode(), profile)
        with pytest.raises(Malformed):
            found.pin()


NO_JSON = {
    "no nonce": b'{"pin":"7392"}',
    "no pin": b'{"nonce":12345678}',
    "an unknown member": b'{"nonce":12345678,"pin":"7392","exp":1}',
    "nonce twice": b'{"nonce":12345678,"nonce":12345679,"pin":"7392"}',
    "pin twice": b'{"nonce":12345678,"pin":"7392","pin":"7392"}',
    "nonce of 7 digits": b'{"nonce":1234567,"pin":"7392"}',
    "nonce of 19 digits": b'{"nonce":1234567890123456789,"pin":"7392"}',
    "nonce a text": b'{"nonce":"12345678","pin":"7392"}',
    "nonce negative": b'{"nonce":-12345678,"pin":"7392"}',
    "nonce a fraction": b'{"nonce":12345678.5,"pin":"7392"}',
    "nonce true": b'{"nonce":true,"pin":"7392"}',
    "a list": b'[12345678,"7392"]',
    "a comment": b'{"nonce":12345678,"pin":"7392"}//',
    "nothing": b"",
    "not UTF-8": b'{"nonce":12345678,"\xff":"7392"}',
}


@pytest.mark.parametrize("name", NO_JSON)
def test_json_of_other_members_is_malformed(name: str) -> None:
    refuse((JSON_PROFILE, lambda: json_to(NO_JSON[name])))


@pytest.mark.parametrize(
    "pin", ['""', '"739"', '"7392051846271"', "7392", "null", '["7392"]', '"\\u0037392"', '"73a2"']
)
def test_json_opens_before_its_pin_is_found_malformed(pin: str) -> None:
    found = opened(json_to(b'{"nonce":12345678,"pin":%b}' % pin.encode()), JSON_PROFILE)
    assert found.nonce == b"pin-seal/2 12345678"
    with pytest.raises(Malformed):
        found.pin()


def test_the_psec_block_is_what_the_forger_thinks() -> None:
    """Else the refusals above would prove nothing."""
    under, found = secrets.token_bytes(32), None
    found = aes_block_to("7392", content_key=under, token="1234567890123456")
    clear = pinblock.decipher_pinblock_iso_4(
        under, bytes.fromhex(found["encryptedPinBlock"]), "1234567890123456"
    )
    assert clear == "7392"
    assert digits(opened(dump(found), BLOCK_PROFILE)) == "7392"
    assert json.loads(dump(found)) == found
    assert PAN not in found.values()

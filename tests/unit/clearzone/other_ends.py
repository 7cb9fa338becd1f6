"""The other end of every envelope kind: psec, joserfc and `cryptography`, none of our own codecs.

Incoming, it seals as a sender would; outgoing, it opens as a partner would.
"""

import base64
import json
import secrets
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.padding import PKCS7
from joserfc import jwe
from joserfc.errors import SecurityWarning
from joserfc.jwk import RSAKey
from psec import pinblock

from pinvault.clearzone.envelope import Opened, make_envelope, open_envelope
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from pinvault.model.keys import Key, Usage
from pinvault.model.pan import Pan
from pinvault.model.profiles import (
    ContentKey,
    Derivation,
    DerivationHash,
    EcdhBlockProfile,
    Encoding,
    IncomingProfile,
    JweAlgorithm,
    JweInProfile,
    JweProfile,
    OutgoingProfile,
    Padding,
    Plaintext,
    RsaAesBlockProfile,
    RsaAesCbcProfile,
    RsaAesGcmProfile,
    RsaFieldProfile,
    RsaJsonProfile,
    SealedAesBlockProfile,
    SealedAesGcmProfile,
    SealedEcdhBlockProfile,
    SealedJsonProfile,
    SealedRsaProfile,
)
from tests.conftest import OTHER_PAN, PAN
from tests.support import zone
from tests.support.software_device import SoftwareDevice, held, key

__all__ = ["OTHER_PAN", "PAN"]

SEAL = key("pin-seal", "D1", "RSA_2048", "D", version=2, jwa="RSA-OAEP")
OLDER_SEAL = key(
    "pin-seal", "D1", "RSA_2048", "D", version=1, state="decipher-only", jwa="RSA-OAEP"
)
SEAL_256 = key("pin-seal-256", "D1", "RSA_2048", "D", jwa="RSA-OAEP-256")
UNWRAP = key("pin-unwrap", "K0", "RSA_2048", "D", version=2, jwa="RSA-OAEP")
OLDER_UNWRAP = key(
    "pin-unwrap", "K0", "RSA_2048", "D", version=1, state="decipher-only", jwa="RSA-OAEP"
)
AGREE = key("pin-agree", "K3", "EC_P256", "X", version=2)
OLDER_AGREE = key("pin-agree", "K3", "EC_P256", "X", version=1, state="decipher-only")
PARTNER = key("partner", "D1", "RSA_2048", "E")
PARTNER_EC = key("partner-ec", "K3", "EC_P256", "E")
OURS = (SEAL, OLDER_SEAL, SEAL_256, UNWRAP, OLDER_UNWRAP, AGREE, OLDER_AGREE)

OAEP = {
    "RSA-OAEP": padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    "RSA-OAEP-256": padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
}
PADDINGS = {
    Padding.PKCS1_V1_5: padding.PKCS1v15(),
    Padding.OAEP_SHA1: OAEP["RSA-OAEP"],
    Padding.OAEP_SHA256: OAEP["RSA-OAEP-256"],
}
SHARED_INFO = bytes.fromhex("70696E7661756C74")
DERIVATION = Derivation(
    hash=DerivationHash.SHA_512, shared_info=SHARED_INFO, content_key=ContentKey.AES_128
)
HASHES = {DerivationHash.SHA_256: hashes.SHA256, DerivationHash.SHA_512: hashes.SHA512}

Members = dict[str, Any]


@cache
def private_key(key_id: str) -> Any:
    """One private key a name, made once a run."""
    if "agree" in key_id or "ec" in key_id:
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, 2048)


class LenientDevice(SoftwareDevice):
    """An HSM that takes a second spelling of an RSA ciphertext: with zeros before it."""

    def rsa_decrypt(self, key_id: str, ciphertext: bytes, **how: Any) -> bytes:
        return super().rsa_decrypt(key_id, ciphertext[-256:], **how)

    def with_unwrapped(self, key_id: str, wrapped: bytes, work: Any, **how: Any) -> Any:
        return super().with_unwrapped(key_id, wrapped[-256:], work, **how)


@cache
def device(kind: type[SoftwareDevice] = SoftwareDevice) -> SoftwareDevice:
    """A device with all our private keys and the partners' public ones."""
    return kind(
        [
            *(held(each, private_key(each.id)) for each in OURS),
            held(PARTNER, private_key(PARTNER.id).public_key()),
            held(PARTNER_EC, private_key(PARTNER_EC.id).public_key()),
        ]
    )


def opened(
    text: bytes,
    profile: IncomingProfile,
    pan: str | None = PAN,
    hsm: SoftwareDevice | None = None,
) -> Opened:
    """Open an envelope as the clear zone does."""
    return open_envelope(
        text,
        profile=profile,
        keys={each.id: each for each in OURS if each.name == profile.key},
        pan=Pan(pan) if pan is not None else None,
        device=hsm or device(),
        deadline=Deadline.after(60),
    )


def digits(found: Opened) -> str:
    with found.pin() as pin:
        return digits_of(pin).decode()


def made(pin: str, profile: OutgoingProfile, pan: str | None = PAN) -> str:
    """Make an envelope as the clear zone does."""
    with Pin(pin.encode()) as secret:
        return make_envelope(
            secret,
            profile=profile,
            key=PARTNER_EC if profile.usage is Usage.K3 else PARTNER,
            pan=Pan(pan) if pan is not None else None,
            device=device(),
            deadline=Deadline.after(60),
        )


# How text is written, anew.

WRITE: Mapping[Encoding, Callable[[bytes], str]] = {
    Encoding.HEX_LOWER: lambda data: data.hex(),
    Encoding.HEX_UPPER: lambda data: data.hex().upper(),
    Encoding.BASE64: lambda data: base64.b64encode(data).decode(),
}
READ: Mapping[Encoding, Callable[[str], bytes]] = {
    Encoding.HEX_LOWER: bytes.fromhex,
    Encoding.HEX_UPPER: bytes.fromhex,
    Encoding.BASE64: lambda text: base64.b64decode(text, validate=True),
}
HEX, BASE64 = WRITE[Encoding.HEX_UPPER], WRITE[Encoding.BASE64]


def dump(members: Members) -> bytes:
    return json.dumps(members).encode()


# A PIN as a plaintext, anew.


def plain(pin: str, form: Plaintext, pan: str = PAN) -> bytes:
    match form:
        case Plaintext.DIGITS:
            return pin.encode()
        case Plaintext.HEX_OF_DIGITS:
            return pin.encode().hex().encode()
        case Plaintext.PIN_JSON:
            return dump({"pin": pin})
        case Plaintext.ISO_2_BLOCK:
            return pinblock.encode_pinblock_iso_2(pin)
        case Plaintext.ISO_0_BLOCK:
            return zone.clear_block(pin, pan=pan, form="ISO_0")
        case Plaintext.ISO_1_BLOCK:
            return zone.clear_block(pin, pan=pan, form="ISO_1")
        case Plaintext.ISO_3_BLOCK:
            return zone.clear_block(pin, pan=pan, form="ISO_3")


def pin_in(found: bytes, form: Plaintext, pan: str = PAN) -> str:
    match form:
        case Plaintext.DIGITS:
            return found.decode()
        case Plaintext.HEX_OF_DIGITS:
            return bytes.fromhex(found.decode()).decode()
        case Plaintext.PIN_JSON:
            (name, pin), *others = json.loads(found).items()
            assert (name, others) == ("pin", [])
            return pin
        case Plaintext.ISO_0_BLOCK:
            return pinblock.decode_pinblock_iso_0(found, pan)
        case Plaintext.ISO_1_BLOCK:
            assert found.hex()[0] == "1"
            return found.hex()[2 : 2 + int(found.hex()[1], 16)]
        case Plaintext.ISO_2_BLOCK:
            return pinblock.decode_pinblock_iso_2(found)
        case Plaintext.ISO_3_BLOCK:
            return pinblock.decode_pinblock_iso_3(found, pan)


# Incoming kinds: a sender's seals, as members or bytes before they are written.


def rsa_to(plaintext: bytes, to: Key) -> bytes:
    return private_key(to.id).public_key().encrypt(plaintext, OAEP[to.jwa or ""])


def jwe_to(plaintext: bytes, to: Key, **header: Any) -> bytes:
    members = {"alg": to.jwa, "enc": "A256GCM"} | header
    oracle = RSAKey.import_key(private_key(to.id))
    algorithms_used = [members["alg"], members["enc"], "DEF"]
    return jwe.encrypt_compact(members, plaintext, oracle, algorithms=algorithms_used).encode()


def aes_block_to(
    pin: str, to: Key = UNWRAP, *, token: str | None = None, content_key: bytes | None = None
) -> Members:
    under = content_key or secrets.token_bytes(32)
    bound_to = token or f"{secrets.randbelow(10**16):016}"
    return {
        "encryptedKey": HEX(rsa_to(under, to)),
        "encryptedPinBlock": HEX(pinblock.encipher_pinblock_iso_4(under, pin, bound_to)),
        "token": bound_to,
    }


def aes_gcm_to(
    plaintext: bytes, to: Key = UNWRAP, *, content_key: bytes | None = None, iv_bytes: int = 12
) -> Members:
    under = content_key or secrets.token_bytes(32)
    iv = secrets.token_bytes(iv_bytes)
    return {
        "encryptedKey": BASE64(rsa_to(under, to)),
        "iv": BASE64(iv),
        "encryptedPin": BASE64(AESGCM(under).encrypt(iv, plaintext, None)),
    }


def ecdh_block_to(
    pin: str, to: Key = AGREE, *, pan: str = PAN, derivation: Derivation = DERIVATION
) -> Members:
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    shared = ephemeral.exchange(ec.ECDH(), private_key(to.id).public_key())
    block = pinblock.encipher_pinblock_iso_4(derived(shared, derivation), pin, pan)
    return {
        "ephemeralPublicKey": BASE64(point_of(ephemeral.public_key())),
        "encryptedPinBlock": HEX(block),
    }


def derived(shared: bytes, derivation: Derivation) -> bytes:
    length = {ContentKey.AES_128: 16, ContentKey.AES_256: 32}[derivation.content_key]
    algorithm = HASHES[derivation.hash]()
    return ConcatKDFHash(algorithm, length, derivation.shared_info).derive(shared)


def point_of(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


@dataclass(frozen=True)
class Incoming:
    """A kind under one profile, and how a sender seals for it."""

    profile: IncomingProfile
    seal: Callable[[str], bytes]
    seal_older: Callable[[str], bytes] | None = None


def rsa_kind(form: Plaintext, encoding: Encoding) -> Incoming:
    return Incoming(
        SealedRsaProfile(name="sealed", key=SEAL.name, plaintext=form, encoding=encoding),
        lambda pin: WRITE[encoding](rsa_to(plain(pin, form), SEAL)).encode(),
    )


def jwe_kind(form: Plaintext, to: Key = SEAL) -> Incoming:
    return Incoming(
        JweInProfile(name="sealed", key=to.name, plaintext=form),
        lambda pin: jwe_to(plain(pin, form), to),
        lambda pin: jwe_to(plain(pin, form), OLDER_SEAL, kid=OLDER_SEAL.id),
    )


def gcm_kind(form: Plaintext, content_key: ContentKey = ContentKey.AES_256) -> Incoming:
    def seal(pin: str, to: Key = UNWRAP) -> Members:
        under = secrets.token_bytes(16 if content_key is ContentKey.AES_128 else 32)
        return aes_gcm_to(plain(pin, form), to, content_key=under)

    return Incoming(
        SealedAesGcmProfile(
            name="sealed", key=UNWRAP.name, plaintext=form, content_key=content_key
        ),
        lambda pin: dump(seal(pin)),
        lambda pin: dump(seal(pin, OLDER_UNWRAP) | {"kid": OLDER_UNWRAP.id}),
    )


JSON_PROFILE = SealedJsonProfile(name="sealed", key=SEAL.name)
BLOCK_PROFILE = SealedAesBlockProfile(name="sealed", key=UNWRAP.name)
ECDH_PROFILE = SealedEcdhBlockProfile(name="sealed", key=AGREE.name, derivation=DERIVATION)


def json_to(members: Members | bytes) -> bytes:
    content = members if isinstance(members, bytes) else dump(members)
    return BASE64(rsa_to(content, SEAL)).encode()


def nonce() -> int:
    return 10**7 + secrets.randbelow(10**17)


INCOMING: Mapping[str, Incoming] = {
    **{f"sealed-rsa {form}": rsa_kind(form, Encoding.BASE64) for form in Plaintext},
    **{f"sealed-rsa {how}": rsa_kind(Plaintext.DIGITS, how) for how in Encoding},
    **{f"jwe-in {form}": jwe_kind(form) for form in Plaintext},
    **{f"sealed-aes-gcm {form}": gcm_kind(form) for form in Plaintext},
    "sealed-aes-gcm AES-128": gcm_kind(Plaintext.ISO_2_BLOCK, ContentKey.AES_128),
    "sealed-json": Incoming(JSON_PROFILE, lambda pin: json_to({"nonce": nonce(), "pin": pin})),
    "sealed-aes-block": Incoming(
        BLOCK_PROFILE,
        lambda pin: dump(aes_block_to(pin)),
        lambda pin: dump(aes_block_to(pin, OLDER_UNWRAP) | {"kid": OLDER_UNWRAP.id}),
    ),
    "sealed-ecdh-block": Incoming(
        ECDH_PROFILE,
        lambda pin: dump(ecdh_block_to(pin)),
        lambda pin: dump(ecdh_block_to(pin, OLDER_AGREE) | {"kid": OLDER_AGREE.id}),
    ),
}


# Outgoing kinds: what a partner reads.


def from_rsa(data: bytes, how: Padding) -> bytes:
    return private_key(PARTNER.id).decrypt(data, PADDINGS[how])


def from_field(text: str, profile: RsaFieldProfile) -> str:
    plaintext = from_rsa(READ[profile.encoding](text), profile.padding)
    return pin_in(plaintext, profile.plaintext)


def from_json(text: str, profile: RsaJsonProfile) -> str:
    content = json.loads(from_rsa(READ[Encoding.BASE64](text), profile.padding))
    assert content.keys() == {"nonce", "pin"}
    assert type(content["nonce"]) is int
    assert len(str(content["nonce"])) == 16
    return content["pin"]


def from_jwe(text: str, profile: JweProfile) -> str:
    oracle = RSAKey.import_key(private_key(PARTNER.id))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # RSA1_5, which partners may demand
        found = jwe.decrypt_compact(text, oracle, algorithms=[profile.algorithm.value, "A256GCM"])
    kid = {} if profile.kid is None else {"kid": profile.kid}
    assert found.protected == {"alg": profile.algorithm.value, "enc": "A256GCM"} | kid
    return pin_in(found.plaintext or b"", profile.plaintext)


def from_aes_block(text: str, profile: RsaAesBlockProfile) -> str:
    members = json.loads(text)
    assert list(members) == ["encryptedKey", "encryptedPinBlock", "token"]
    under = from_rsa(read_upper(members["encryptedKey"]), profile.padding)
    assert (len(under), len(members["token"])) == (32, 16)
    return pinblock.decipher_pinblock_iso_4(
        under, read_upper(members["encryptedPinBlock"]), members["token"]
    )


def from_aes_gcm(text: str, profile: RsaAesGcmProfile) -> str:
    under, iv, sealed = aes_data(text, profile)
    assert len(iv) == 12
    return pin_in(AESGCM(under).decrypt(iv, sealed, None), profile.plaintext)


def from_aes_cbc(text: str, profile: RsaAesCbcProfile) -> str:
    under, iv, sealed = aes_data(text, profile)
    padded = Cipher(algorithms.AES(under), modes.CBC(iv)).decryptor().update(sealed)
    unpadder = PKCS7(128).unpadder()
    return pin_in(unpadder.update(padded) + unpadder.finalize(), profile.plaintext)


def aes_data(text: str, profile: RsaAesGcmProfile | RsaAesCbcProfile) -> tuple[bytes, bytes, bytes]:
    members = json.loads(text)
    assert list(members) == ["encryptedKey", "iv", "encryptedPin"]
    wrapped, iv, sealed = (READ[Encoding.BASE64](part) for part in members.values())
    under = from_rsa(wrapped, profile.padding)
    assert len(under) == {ContentKey.AES_128: 16, ContentKey.AES_256: 32}[profile.content_key]
    return under, iv, sealed


def from_ecdh_block(text: str, profile: EcdhBlockProfile) -> str:
    members = json.loads(text)
    assert list(members) == ["ephemeralPublicKey", "encryptedPinBlock"]
    point = READ[Encoding.BASE64](members["ephemeralPublicKey"])
    assert (len(point), point[0]) == (65, 4)
    peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    shared = private_key(PARTNER_EC.id).exchange(ec.ECDH(), peer)
    block = read_upper(members["encryptedPinBlock"])
    return pinblock.decipher_pinblock_iso_4(derived(shared, profile.derivation), block, PAN)


def read_upper(text: str) -> bytes:
    assert text == text.upper()
    return bytes.fromhex(text)


@dataclass(frozen=True)
class Outgoing:
    """A kind under one profile, and how the partner reads it."""

    profile: OutgoingProfile
    read: Callable[[str, Any], str]


def to_partner(kind: type[OutgoingProfile], **options: Any) -> Any:
    return kind(name="partner", key="partner", **options)


OUTGOING: dict[str, Outgoing] = {
    **{
        f"rsa-field {form} {how} {encoding}": Outgoing(
            to_partner(RsaFieldProfile, padding=how, plaintext=form, encoding=encoding),
            from_field,
        )
        for form in Plaintext
        for how, encoding in zip(Padding, Encoding, strict=True)
    },
    **{
        f"rsa-json {how}": Outgoing(to_partner(RsaJsonProfile, padding=how), from_json)
        for how in (Padding.OAEP_SHA1, Padding.OAEP_SHA256)
    },
    **{
        f"jwe {algorithm} {form}": Outgoing(
            to_partner(JweProfile, algorithm=algorithm, plaintext=form, kid=kid), from_jwe
        )
        for form in Plaintext
        for algorithm, kid in zip(JweAlgorithm, (None, "issuing-2026", None), strict=True)
    },
    **{
        f"rsa-aes-block {how}": Outgoing(
            to_partner(RsaAesBlockProfile, padding=how), from_aes_block
        )
        for how in Padding
    },
    **{
        f"rsa-aes-gcm {form} {how} {under}": Outgoing(
            to_partner(RsaAesGcmProfile, padding=how, plaintext=form, content_key=under),
            from_aes_gcm,
        )
        for form, how, under in (
            (Plaintext.DIGITS, Padding.OAEP_SHA256, ContentKey.AES_256),
            (Plaintext.ISO_2_BLOCK, Padding.PKCS1_V1_5, ContentKey.AES_128),
        )
    },
    **{
        f"rsa-aes-cbc {form} {how} {under}": Outgoing(
            to_partner(RsaAesCbcProfile, padding=how, plaintext=form, content_key=under),
            from_aes_cbc,
        )
        for form, how, under in (
            (Plaintext.DIGITS, Padding.PKCS1_V1_5, ContentKey.AES_256),
            (Plaintext.ISO_3_BLOCK, Padding.OAEP_SHA1, ContentKey.AES_128),
        )
    },
    **{
        f"ecdh-block {algorithm} {under}": Outgoing(
            to_partner(
                EcdhBlockProfile,
                derivation=Derivation(hash=algorithm, shared_info=SHARED_INFO, content_key=under),
            ),
            from_ecdh_block,
        )
        for algorithm in DerivationHash
        for under in ContentKey
    },
}

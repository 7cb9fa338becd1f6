"""Keys in every condition, and what a configuration makes of them: profiles, schemes, grants."""

import random
from dataclasses import replace
from datetime import date, timedelta
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pinvault.clearzone.dukpt.tdes import KEY_VARIANT
from pinvault.clearzone.iso9564.fields import xor
from pinvault.model.dukpt import Dukpt
from pinvault.model.keys import Algorithm, Key
from pinvault.model.pin_rules import PinRules
from pinvault.model.pins import (
    Format,
)
from pinvault.model.profiles import (
    ContentKey,
    Derivation,
    DerivationHash,
    EcdhBlockProfile,
    Encoding,
    Padding,
    Plaintext,
    Profile,
    RsaFieldProfile,
    SealedAesBlockProfile,
    SealedEcdhBlockProfile,
    SealedJweProfile,
    SealedRsaProfile,
)
from pinvault.model.scripts import ScriptBlock, ScriptPadding, ScriptProfile
from pinvault.model.verification import Ibm3624Scheme, ValidationLayout, VisaPvvScheme
from pinvault.policy.grants import Grant
from pinvault.policy.limits import Rate
from pinvault.policy.translation import Permission
from tests.support.software_device import Held, held, key

NOW = 1_770_000_000
TODAY = date(2026, 6, 15)
CALLER = "switch"
OFTEN = Rate(count=100_000, period_s=1.0, burst=100_000)

# Each legacy format has a key that is kept for it, by its name.
KEPT = {f"zpk-{form.value.lower().replace('_', '-')}": form for form in Format if form.is_legacy}
# The key of what is stored, which has a second name here.
STORED = key("pin-stored", "P0", "AES_128", "B")
KEYS = (
    key("zpk", "P0", "TDES_2KEY", "B", version=1, state="retired"),
    key("zpk", "P0", "TDES_2KEY", "B", version=2, state="decipher-only"),
    key("zpk", "P0", "TDES_2KEY", "B", version=3),
    key("zpk-e", "P0", "TDES_3KEY", "E"),
    key("zpk-d", "P0", "TDES_3KEY", "D"),
    key("zpk-aes", "P0", "AES_128", "B"),
    *(key(name, "P0", "TDES_2KEY", "B") for name in KEPT),
    STORED,
    replace(STORED, name="pin-stored-too"),
    key("zpk-next", "P0", "TDES_2KEY", "B", valid_from=TODAY + timedelta(days=1)),
    key("zpk-past", "P0", "TDES_2KEY", "B", valid_until=TODAY - timedelta(days=1)),
    key("zpk-gone", "P0", "TDES_2KEY", "B", state="retired"),
    key("pin-seal", "D1", "RSA_2048", "D", version=1, state="retired", jwa="RSA-OAEP"),
    key("pin-seal", "D1", "RSA_2048", "D", version=9, state="decipher-only", jwa="RSA-OAEP"),
    key("pin-seal", "D1", "RSA_2048", "D", version=10, jwa="RSA-OAEP"),
    key("partner", "D1", "RSA_2048", "E"),
    key("partner-past", "D1", "RSA_2048", "E", valid_until=TODAY - timedelta(days=1)),
    key("partner-gone", "D1", "RSA_2048", "E", state="retired"),
    key("index", "M7", "HMAC_SHA256", "G"),
    key("pin-agree", "K3", "EC_P256", "X"),
    key("agree-next", "K3", "EC_P256", "X", valid_from=TODAY + timedelta(days=1)),
    key("agree-gone", "K3", "EC_P256", "X", state="retired"),
    key("pvk", "V2", "TDES_2KEY", "C"),
    key("pvk-verify", "V2", "TDES_2KEY", "V"),
    key("pvk-make", "V2", "TDES_2KEY", "G"),
    key("pvk-past", "V2", "TDES_2KEY", "C", valid_until=TODAY - timedelta(days=1)),
    key("pvk-gone", "V2", "TDES_2KEY", "C", state="retired"),
    key("offset", "V1", "TDES_2KEY", "C"),
    key("offset-verify", "V1", "TDES_2KEY", "V"),
    key("bdk", "B0", "TDES_2KEY", "X"),
    key("bdk-variant", "B0", "TDES_2KEY", "X"),
    key("bdk-off", "B0", "TDES_2KEY", "X"),
    key("bdk-128", "B0", "AES_128", "X"),
    key("bdk-256", "B0", "AES_256", "X"),
    key("imk-ac", "E0", "TDES_2KEY", "X"),
    key("imk-smc", "E1", "TDES_2KEY", "X"),
    key("imk-smi", "E2", "TDES_2KEY", "X"),
)
BY_ID = {each.id: each for each in KEYS}


DERIVATION = Derivation(
    hash=DerivationHash.SHA_256, shared_info=b"pinvault", content_key=ContentKey.AES_256
)


def agreed(name: str, of: str) -> SealedEcdhBlockProfile:
    return SealedEcdhBlockProfile(name=name, key=of, derivation=DERIVATION)


def partners(name: str, of: str) -> RsaFieldProfile:
    return RsaFieldProfile(
        name=name,
        key=of,
        padding=Padding.PKCS1_V1_5,
        plaintext=Plaintext.DIGITS,
        encoding=Encoding.HEX_LOWER,
    )


PROFILES: dict[str, Profile] = {
    "sealed": SealedJweProfile(name="sealed", key="pin-seal"),
    "sealed-free": SealedJweProfile(name="sealed-free", key="pin-seal", bind_pan=False),
    "sealed-under-partner": SealedJweProfile(name="sealed-under-partner", key="partner"),
    "sealed-digits": SealedRsaProfile(
        name="sealed-digits",
        key="pin-seal",
        plaintext=Plaintext.DIGITS,
        encoding=Encoding.BASE64,
    ),
    "sealed-block": SealedRsaProfile(
        name="sealed-block",
        key="pin-seal",
        plaintext=Plaintext.ISO_0_BLOCK,
        encoding=Encoding.BASE64,
    ),
    "agreed": agreed("agreed", "pin-agree"),
    "agreed-next": agreed("agreed-next", "agree-next"),
    "agreed-gone": agreed("agreed-gone", "agree-gone"),
    "agreed-under-seal": agreed("agreed-under-seal", "pin-seal"),
    "unwrapped-under-seal": SealedAesBlockProfile(name="unwrapped-under-seal", key="pin-seal"),
    "agreed-with-rsa": EcdhBlockProfile(
        name="agreed-with-rsa", key="partner", derivation=DERIVATION
    ),
    "partner": partners("partner", "partner"),
    "partner-past": partners("partner-past", "partner-past"),
    "partner-gone": partners("partner-gone", "partner-gone"),
    "partner-under-seal": partners("partner-under-seal", "pin-seal"),
}


def offsets(name: str, of: str = "offset", digits: int = 4) -> Ibm3624Scheme:
    return Ibm3624Scheme(
        name=name,
        key=of,
        decimalisation_table="0123456789012345",
        validation=ValidationLayout(template="{first16}"),
        check_length=digits,
        pin_length=digits,
    )


# By key index: good for all, verifies only, makes only, past its time, of another usage, gone.
PVV_KEYS = ("pvk", "pvk-verify", "pvk-make", "pvk-past", "offset", "pvk-gone")
SCHEMES: dict[str, VisaPvvScheme | Ibm3624Scheme] = {
    "visa": VisaPvvScheme(name="visa", keys=dict(enumerate(PVV_KEYS))),
    "ibm": offsets("ibm"),
    "ibm-6": offsets("ibm-6", digits=6),
    "ibm-verify": offsets("ibm-verify", "offset-verify"),
    "ibm-under-pvk": offsets("ibm-under-pvk", "pvk"),
}


def script(
    name: str, block: ScriptBlock, padding: ScriptPadding, **keys: str | None
) -> ScriptProfile:
    usual = {
        "confidentiality": "imk-smc",
        "integrity": "imk-smi",
        "cryptograms": None if block is ScriptBlock.ISO_2 else "imk-ac",
    }
    return ScriptProfile(name=name, block=block, padding=padding, **(usual | keys))


SCRIPTS = {
    each.name: each
    for each in (
        script("m-chip", ScriptBlock.ISO_2, ScriptPadding.NONE),
        script("ccd", ScriptBlock.ISO_2, ScriptPadding.CHAINED),
        script("vsdc", ScriptBlock.VISA, ScriptPadding.LENGTH),
        script("vsdc-current", ScriptBlock.VISA_WITH_CURRENT, ScriptPadding.LENGTH),
        script("no-smc", ScriptBlock.ISO_2, ScriptPadding.NONE, confidentiality="imk-x"),
        script("bad-smc", ScriptBlock.ISO_2, ScriptPadding.NONE, confidentiality="imk-smi"),
        script("bad-smi", ScriptBlock.ISO_2, ScriptPadding.NONE, integrity="imk-ac"),
        script("bad-ac", ScriptBlock.VISA, ScriptPadding.LENGTH, cryptograms="imk-smc"),
    )
}
RULES = PinRules(name="cards")
VARIANTS = {"bdk": "bdk-variant"}
TDES_TRANSACTION = Dukpt(ksn=bytes.fromhex("FFFF9876543210E00003"), working_key=Algorithm.TDES_2KEY)


def aes_transaction(working_key: Algorithm, counter: int = 3) -> Dukpt:
    ksn = bytes.fromhex("1234567890123456") + counter.to_bytes(4)
    return Dukpt(ksn=ksn, working_key=working_key)


PIN_METHODS = tuple(
    f"PinBlockService.{name}"
    for name in (
        *("EncryptPin", "EncryptPinChange", "TranslatePin", "TranslatePinBatch", "VerifyPin"),
        *("GenerateVerificationValue", "ChangeVerificationValue", "GeneratePin"),
        "EncryptPinChangeScript",
    )
)
METHODS = (
    *PIN_METHODS,
    *("KeyService.ListKeys", "KeyService.GetKey", "KeyService.GetPublicKey"),
)
EVERYTHING = tuple(
    Grant(
        callers=frozenset({CALLER}),
        method=method,
        keys=frozenset(each.name for each in KEYS),
        formats=frozenset(Format),
        profiles=frozenset(PROFILES),
        translations=frozenset(Permission) - {Permission.NONE},
        schemes=frozenset(SCHEMES) | frozenset(SCRIPTS),
        per_caller=OFTEN,
    )
    for method in METHODS
)


@cache
def rsa_key(key_id: str) -> rsa.RSAPrivateKey:
    """One private key an id, made once a run."""
    return rsa.generate_private_key(65537, 2048)


Secret = bytes | rsa.RSAPrivateKey | rsa.RSAPublicKey | ec.EllipticCurvePrivateKey


def secret_of(each: Key) -> Secret:
    if each.algorithm.startswith("RSA"):
        private = rsa_key(each.id)
        return private if each.mode == "D" else private.public_key()
    if each.algorithm.startswith("EC"):
        return ec.derive_private_key(random.Random(each.id).getrandbits(200), ec.SECP256R1())
    if each.name in VARIANTS.values():
        (base,) = (name for name, variant in VARIANTS.items() if variant == each.name)
        return xor(value_of(f"{base}/{each.version}"), KEY_VARIANT)
    return value_of(each.id)


@cache
def in_the_hsm(each: Key) -> Held:
    return held(each, secret_of(each))


def value_of(key_id: str) -> bytes:
    """The value of a secret key, of its own for every id."""
    size = {"TDES_3KEY": 24, "HMAC_SHA256": 32, "AES_256": 32}.get(BY_ID[key_id].algorithm, 16)
    return random.Random(key_id).randbytes(size)

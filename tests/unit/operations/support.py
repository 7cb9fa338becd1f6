"""The operations on a software device, with keys in every condition and a real table of limits."""

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from hsm.mechanisms import RsaPadding
from pinvault.clearzone.dukpt.tdes import KEY_VARIANT
from pinvault.clearzone.encipher import BlockCipher, read
from pinvault.clearzone.iso9564 import format0, format2
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.legacy import eci2, eci3, mastercard35, oem1, visa2, visa3, visa4
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.parcels import BlockToMake, SealedBlock, Transaction
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.zone import ClearZone
from pinvault.client.sealing import SealingKey, seal
from pinvault.model.call import Call, Deadline
from pinvault.model.dukpt import Dukpt
from pinvault.model.errors import Refusal
from pinvault.model.keys import Algorithm, Key, KeyDirectory
from pinvault.model.pan import Pan
from pinvault.model.pin_rules import PinRules
from pinvault.model.pins import (
    EnvelopeSource,
    EnvelopeTarget,
    Format,
    PinBlockSource,
    PinBlockTarget,
    PinSource,
)
from pinvault.model.profiles import (
    Encoding,
    Padding,
    Plaintext,
    Profile,
    RsaFieldProfile,
    SealedJweProfile,
    SealedRsaProfile,
)
from pinvault.model.references import SchemeRef, ValueRef
from pinvault.model.scripts import ScriptBlock, ScriptPadding, ScriptProfile
from pinvault.model.verification import Ibm3624Scheme, ValidationLayout, VisaPvvScheme
from pinvault.operations.admission import Admission
from pinvault.operations.change_verification_value import ChangeVerificationValue
from pinvault.operations.desk import Desk
from pinvault.operations.encrypt_pin import EncryptPin
from pinvault.operations.encrypt_pin_change import EncryptPinChange
from pinvault.operations.encrypt_pin_change_script import EncryptPinChangeScript
from pinvault.operations.generate_pin import GeneratePin
from pinvault.operations.generate_verification_value import GenerateVerificationValue
from pinvault.operations.keys import Keys
from pinvault.operations.route import Router
from pinvault.operations.schemes import Schemes
from pinvault.operations.translate_pin import TranslatePin
from pinvault.operations.translate_pin_batch import TranslatePinBatch
from pinvault.operations.verify_pin import VerifyPin
from pinvault.policy.grants import Grant, Grants
from pinvault.policy.limits import Limits, Nonces, Rate
from pinvault.policy.pan_index import PanIndex
from pinvault.policy.shared_table import SharedTable
from pinvault.policy.translation import Permission
from tests.conftest import OTHER_PAN, PAN
from tests.support.software_device import SoftwareDevice, held, key, rsa_padding

__all__ = ["OTHER_PAN", "PAN"]

NOW = 1_770_000_000
TODAY = date(2026, 6, 15)
CALLER = "switch"
OFTEN = Rate(count=100_000, period_s=1.0, burst=100_000)

KEYS = (
    key("zpk", "P0", "TDES_2KEY", "B", version=1, state="retired"),
    key("zpk", "P0", "TDES_2KEY", "B", version=2, state="decipher-only"),
    key("zpk", "P0", "TDES_2KEY", "B", version=3),
    key("zpk-e", "P0", "TDES_3KEY", "E"),
    key("zpk-d", "P0", "TDES_3KEY", "D"),
    key("zpk-aes", "P0", "AES_128", "B"),
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


def value_of(key_id: str) -> bytes:
    """The value of a secret key, of its own for every id."""
    size = {"TDES_3KEY": 24, "HMAC_SHA256": 32, "AES_256": 32}.get(BY_ID[key_id].algorithm, 16)
    return random.Random(key_id).randbytes(size)


LEGACY: dict[Format, Callable[[Pin, Pan], bytes]] = {
    Format.ISO_2: lambda pin, _: format2.encode(pin),
    Format.OEM_1: lambda pin, _: oem1.encode(pin),
    Format.ECI_2: lambda pin, _: eci2.encode(pin, bytes.fromhex("ABCDEF012345")),
    Format.ECI_3: lambda pin, _: eci3.encode(pin, bytes.fromhex("ABCDEF0123")),
    Format.VISA_2: lambda pin, _: visa2.encode(pin, b"987654321"),
    Format.VISA_3: lambda pin, _: visa3.encode(pin, b"5"),
    Format.VISA_4: visa4.encode,
    Format.PLUS: visa4.encode,
    Format.MASTERCARD_35: mastercard35.encode,
}
"""The blocks that come in or are refused, and that this service never makes."""


class OtherEnd:
    """Whoever shares a key with the world: makes and reads PIN blocks under it."""

    def __init__(self, key_id: str, dukpt: Dukpt | None) -> None:
        each = BY_ID[key_id]
        self.key = each if dukpt is not None else key("made", "P0", each.algorithm, "B")
        keys = [held(self.key, secret_of(each))]
        variant = None
        if each.name in VARIANTS and dukpt is not None:
            variant = BY_ID[f"{VARIANTS[each.name]}/{each.version}"]
            keys.append(held(variant, secret_of(variant)))
        self.transaction = Transaction(dukpt=dukpt, variant=variant) if dukpt else None
        self.device = SoftwareDevice(keys)

    def make(self, digits: str, form: Format, pan: Pan) -> bytes:
        pin = Pin(digits.encode())
        if form in LEGACY:
            clear = LEGACY[form](pin, pan)
            return self.device.encipher(self.key.id, clear, timeout=60)
        bound = pan if form.carries_pan else None
        target = BlockToMake(key=self.key, format=form, pan=bound, transaction=self.transaction)
        return BlockCipher(self.device).encipher(pin, target, Deadline.after(60))

    def read(self, block: bytes, form: Format, pan: Pan | None) -> str:
        source = SealedBlock(
            key=self.key, format=form, pan=pan, ciphertext=block, transaction=self.transaction
        )
        clear = BlockCipher(self.device).decipher(source, Deadline.after(60))
        with read(clear, form, pan) as pin:
            return digits_of(pin).decode()


@dataclass
class World:
    """Everything from the router to the device; `rows` are the grants."""

    directory: Path
    rows: tuple[Grant, ...] = EVERYTHING
    keys: tuple[Key, ...] = KEYS
    now: float = float(NOW)
    today: date = TODAY
    secret: bytes = field(default=bytes(32), repr=False)

    def __post_init__(self) -> None:
        self.device = SoftwareDevice(held(each, secret_of(each)) for each in self.keys)
        self.table = SharedTable.open(
            self.directory / "limits.table", secret=self.secret, slots=4096
        )
        self.pans = PanIndex(self.secret)
        admission = Admission(
            grants=Grants(self.rows),
            limits=Limits(self.table),
            pans=self.pans,
            now=lambda: self.now,
        )
        self.admission = admission
        router = Router(
            keys=KeyDirectory(self.keys),
            profiles=PROFILES,
            today=lambda: self.today,
            variants=VARIANTS,
        )
        zone = ClearZone(
            self.device,
            spend=Nonces(self.table).spend,
            now=lambda: self.now,
            quantum_s=0.001,
        )
        schemes = Schemes(router=router, verification=SCHEMES, scripts=SCRIPTS)
        desk = Desk(router=router, schemes=schemes, admission=admission, zone=zone)
        self.desk = desk
        self.encrypt_pin = EncryptPin(desk)
        self.encrypt_pin_change = EncryptPinChange(desk)
        self.translate_pin = TranslatePin(self.encrypt_pin)
        self.translate_pin_batch = TranslatePinBatch(desk)
        self.verify_pin = VerifyPin(desk)
        self.generate_value = GenerateVerificationValue(desk)
        self.change_value = ChangeVerificationValue(desk)
        self.generate_pin = GeneratePin(desk)
        self.encrypt_script = EncryptPinChangeScript(desk)
        self.key_service = Keys(
            directory=router.keys,
            admission=admission,
            public_half=self.device.public_key,
            today=lambda: TODAY,
        )

    def is_untouched(self) -> bool:
        """Whether neither the HSM nor the limits have been asked for anything."""
        return not self.device.calls and self.table.live(now=self.now) == 0

    def block(
        self,
        form: Format = Format.ISO_0,
        *,
        under: str = "zpk/3",
        digits: str = "7392",
        pan: str = PAN,
        dukpt: Dukpt | None = None,
    ) -> PinBlockSource:
        """A PIN block as a terminal makes it, known to no counter of this world."""
        return PinBlockSource(
            key=under,
            format=form,
            pan=Pan(pan) if form.carries_pan else None,
            ciphertext=OtherEnd(under, dukpt).make(digits, form, Pan(pan)),
            dukpt=dukpt,
        )

    def pin_in(self, block: bytes, target: PinBlockTarget, under: str) -> str:
        """Read a PIN block as the other end of the key does."""
        return OtherEnd(under, target.dukpt).read(block, target.format, target.pan)


def call(method: str = "PinBlockService.EncryptPin", caller: str = CALLER) -> Call:
    return Call(call_id="call", caller=caller, method=method, deadline=Deadline.after(60))


def envelope(
    digits: str = "7392",
    *,
    under: str = "pin-seal/10",
    profile: str = "sealed",
    pan: str | None = PAN,
) -> EnvelopeSource:
    """A PIN as a client seals it."""
    client = SealingKey(
        kid=under, alg="RSA-OAEP", thumbprint="", public_key=rsa_key(under).public_key()
    )
    return EnvelopeSource(
        profile=profile,
        pan=Pan(pan) if pan is not None else None,
        ciphertext=seal(digits, key=client, pan=pan, expires=NOW + 120),
    )


def rsa_envelope(
    digits: str = "7392", *, profile: str = "sealed-block", pan: str = PAN
) -> EnvelopeSource:
    """A PIN under RSA-OAEP alone: its digits, or a clear block of format 0."""
    clear = digits.encode()
    if profile == "sealed-block":
        clear = format0.encode(Pin(clear), Pan(pan))
    public = rsa_key("pin-seal/10").public_key()
    sealed = public.encrypt(clear, rsa_padding(RsaPadding.OAEP_SHA1))
    return EnvelopeSource(profile=profile, pan=Pan(pan), ciphertext=base64.b64encode(sealed))


AES_BLOCK = aes_transaction(Algorithm.AES_128)
AES_BASE_TDES_BLOCK = aes_transaction(Algorithm.TDES_2KEY, counter=5)
Make = Callable[[World, str], PinSource]
BOUND: dict[str, Make] = {
    **{
        form.value: lambda world, digits, form=form: world.block(form, digits=digits)
        for form in (Format.ISO_0, Format.ISO_3, *filter(lambda f: f.is_legacy, Format))
        if form.carries_pan
    },
    "ISO_4": lambda world, digits: world.block(Format.ISO_4, under="zpk-aes/1", digits=digits),
    "ISO_3-DUKPT": lambda world, digits: world.block(
        Format.ISO_3, under="bdk/1", digits=digits, dukpt=TDES_TRANSACTION
    ),
    "ISO_0-DUKPT": lambda world, digits: world.block(
        under="bdk-256/1", digits=digits, dukpt=AES_BASE_TDES_BLOCK
    ),
    "ISO_4-DUKPT": lambda world, digits: world.block(
        Format.ISO_4, under="bdk-128/1", digits=digits, dukpt=AES_BLOCK
    ),
    "sealed": lambda _, digits: envelope(digits),
    "sealed-block": lambda _, digits: rsa_envelope(digits),
}
"""Sources that are bound to the PAN, by their word in the record."""
UNBOUND: dict[str, Make] = {
    **{
        form.value: lambda world, digits, form=form: world.block(form, digits=digits)
        for form in (Format.ISO_1, *filter(lambda f: f.is_legacy, Format))
        if not form.carries_pan
    },
    "sealed-free": lambda _, digits: envelope(digits, profile="sealed-free", pan=None),
    "sealed-digits": lambda _, digits: rsa_envelope(digits, profile="sealed-digits"),
}
"""Sources that do not say whose PIN they are."""


def to_block(
    under: str = "zpk",
    form: Format = Format.ISO_0,
    pan: str = PAN,
    dukpt: Dukpt | None = None,
) -> PinBlockTarget:
    bound = Pan(pan) if form.carries_pan else None
    return PinBlockTarget(key=under, format=form, pan=bound, dukpt=dukpt)


def to_partner(profile: str = "partner", pan: str = PAN) -> EnvelopeTarget:
    return EnvelopeTarget(profile=profile, pan=Pan(pan))


def visa(index: int | None = 0, name: str = "visa") -> SchemeRef:
    return SchemeRef(name=name, key_index=index)


def ibm(name: str = "ibm") -> SchemeRef:
    return SchemeRef(name=name)


def value(scheme: SchemeRef, digits: str = "0000") -> ValueRef:
    return ValueRef(scheme=scheme, digits=digits)


def refusal_of(use: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        use()
    return caught.value


def partner_reads(text: str, key_id: str = "partner/1") -> str:
    return rsa_key(key_id).decrypt(bytes.fromhex(text), padding.PKCS1v15()).decode()

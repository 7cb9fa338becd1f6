"""The operations on a software device, with keys in every condition and a real table of limits."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import psec.pin
import pytest
from cryptography.hazmat.primitives.asymmetric import padding

from hsm.mechanisms import RsaPadding
from pinvault.clearzone.encipher import BlockCipher, read
from pinvault.clearzone.iso9564 import format0, format2
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
from pinvault.model.pins import (
    EnvelopeSource,
    EnvelopeTarget,
    Format,
    PinBlockSource,
    PinBlockTarget,
    PinSource,
)
from pinvault.model.references import SchemeRef, ValueRef
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
from pinvault.policy.limits import Limits, Nonces
from pinvault.policy.pan_index import PanIndex
from pinvault.policy.shared_table import SharedTable
from tests.conftest import OTHER_PAN, PAN
from tests.support.software_device import SoftwareDevice, held, key, rsa_padding
from tests.unit.operations.configured import (
    BY_ID,
    CALLER,
    EVERYTHING,
    KEPT,
    KEYS,
    NOW,
    PROFILES,
    PVV_KEYS,
    RULES,
    SCHEMES,
    SCRIPTS,
    STORED,
    TDES_TRANSACTION,
    TODAY,
    VARIANTS,
    aes_transaction,
    in_the_hsm,
    rsa_key,
    secret_of,
    value_of,
)

__all__ = [
    "BY_ID",
    "CALLER",
    "EVERYTHING",
    "KEPT",
    "KEYS",
    "NOW",
    "OTHER_PAN",
    "PAN",
    "PROFILES",
    "RULES",
    "SCRIPTS",
    "TDES_TRANSACTION",
    "TODAY",
    "aes_transaction",
    "rsa_key",
    "secret_of",
]

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


def key_for(form: Format) -> str:
    """The key that blocks of a format come under where a test names none."""
    kept = {legacy: name for name, legacy in KEPT.items()}
    return f"{kept[form]}/1" if form in kept else "zpk/3"


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
        self.device = SoftwareDevice(map(in_the_hsm, self.keys))
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
            legacy_formats=KEPT,
            kept_for_store=frozenset({STORED.name}),
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
        self.translate_pin = TranslatePin(desk)
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
        under: str = "",
        digits: str = "7392",
        pan: str = PAN,
        dukpt: Dukpt | None = None,
    ) -> PinBlockSource:
        """A PIN block as a terminal makes it, known to no counter of this world."""
        under = under or key_for(form)
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


# Verification values by psec, an independent implementation.
TABLE = "0123456789012345"


def triple(key_id: str) -> bytes:
    return (value_of(key_id) * 2)[:24]


def pvv_of(digits: str, *, index: int = 0, pan: str = PAN) -> str:
    return psec.pin.generate_visa_pvv(triple(f"{PVV_KEYS[index]}/1"), str(index), digits[:4], pan)


def offset_of(digits: str, *, of: str = "offset", pan: str = PAN) -> str:
    return psec.pin.generate_ibm3624_offset(triple(f"{of}/1"), TABLE, digits, pan, 0, 16, "F")


def pin_of(offset: str, *, pan: str = PAN) -> str:
    """The PIN that has this offset: the natural one for zeros."""
    return psec.pin.generate_ibm3624_pin(triple("offset/1"), TABLE, offset, pan, 0, 16, "F")

"""The operations on a software device, with keys in every condition and a real table of limits."""

import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pinvault.clearzone.encipher import BlockCipher
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.zone import ClearZone
from pinvault.client.sealing import SealingKey, seal
from pinvault.model.call import Call, Deadline
from pinvault.model.keys import Key, KeyDirectory
from pinvault.model.pan import Pan
from pinvault.model.pins import EnvelopeSource, Format, PinBlockSource, PinBlockTarget
from pinvault.model.profiles import (
    Encoding,
    Padding,
    Plaintext,
    Profile,
    RsaFieldProfile,
    SealedJweProfile,
)
from pinvault.operations.admission import Admission
from pinvault.operations.encrypt_pin import EncryptPin
from pinvault.operations.encrypt_pin_change import EncryptPinChange
from pinvault.operations.keys import Keys
from pinvault.operations.route import Router
from pinvault.policy.grants import Grant, Grants
from pinvault.policy.limits import Limits, Nonces, Rate
from pinvault.policy.pan_index import PanIndex
from pinvault.policy.shared_table import SharedTable
from tests.conftest import OTHER_PAN, PAN
from tests.support.software_device import SoftwareDevice, held, key

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
    "partner": partners("partner", "partner"),
    "partner-past": partners("partner-past", "partner-past"),
    "partner-gone": partners("partner-gone", "partner-gone"),
    "partner-under-seal": partners("partner-under-seal", "pin-seal"),
}
METHODS = (
    *("PinBlockService.EncryptPin", "PinBlockService.EncryptPinChange"),
    *("KeyService.ListKeys", "KeyService.GetKey", "KeyService.GetPublicKey"),
)
EVERYTHING = tuple(
    Grant(
        callers=frozenset({CALLER}),
        method=method,
        keys=frozenset(each.name for each in KEYS),
        formats=frozenset(Format),
        profiles=frozenset(PROFILES),
        per_caller=OFTEN,
    )
    for method in METHODS
)


@cache
def rsa_key(key_id: str) -> rsa.RSAPrivateKey:
    """One private key an id, made once a run."""
    return rsa.generate_private_key(65537, 2048)


def secret_of(each: Key) -> bytes | rsa.RSAPrivateKey | rsa.RSAPublicKey:
    if each.algorithm.startswith("RSA"):
        private = rsa_key(each.id)
        return private if each.mode == "D" else private.public_key()
    size = {"TDES_3KEY": 24, "HMAC_SHA256": 32}.get(each.algorithm, 16)
    return random.Random(each.id).randbytes(size)


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
            admission=admission,
            today=lambda: self.today,
        )
        zone = ClearZone(
            self.device,
            spend=Nonces(self.table).spend,
            now=lambda: self.now,
            quantum_s=0.001,
        )
        self.encrypt_pin = EncryptPin(router, zone)
        self.encrypt_pin_change = EncryptPinChange(router, zone)
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
        self, form: Format = Format.ISO_0, *, under: str = "zpk/3", digits: str = "7392"
    ) -> PinBlockSource:
        """A PIN block as a terminal makes it, known to no counter of this world."""
        each = BY_ID[under]
        enciphering = key("made", "P0", each.algorithm, "B")
        elsewhere = SoftwareDevice([held(enciphering, secret_of(each))])
        pan = Pan(PAN) if form.carries_pan else None
        ciphertext = BlockCipher(elsewhere).encipher(
            Pin(digits.encode()),
            key_id=enciphering.id,
            block_format=form,
            pan=pan,
            deadline=Deadline.after(60),
        )
        return PinBlockSource(key=under, format=form, pan=pan, ciphertext=ciphertext)

    def pin_in(self, block: bytes, target: PinBlockTarget, under: str) -> str:
        """Read a PIN block as the other end of the key does."""
        each = BY_ID[under]
        enciphering = key("made", "P0", each.algorithm, "B")
        elsewhere = SoftwareDevice([held(enciphering, secret_of(each))])
        with BlockCipher(elsewhere).decipher(
            block,
            key_id=enciphering.id,
            block_format=target.format,
            pan=target.pan,
            deadline=Deadline.after(60),
        ) as pin:
            return digits_of(pin).decode()


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


def to_block(under: str = "zpk", form: Format = Format.ISO_0, pan: str = PAN) -> PinBlockTarget:
    return PinBlockTarget(key=under, format=form, pan=Pan(pan) if form.carries_pan else None)


def partner_reads(text: str, key_id: str = "partner/1") -> str:
    return rsa_key(key_id).decrypt(bytes.fromhex(text), padding.PKCS1v15()).decode()

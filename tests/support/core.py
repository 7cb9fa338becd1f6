"""The service without sockets and token, in one process: the gate over a software device."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from hsm.keyring import Keyring
from hsm.vocabulary import Algorithm, State
from pinvault.audit.record import AuditRecord, encode
from pinvault.clearzone.key_zone import KeyZone
from pinvault.clearzone.zone import ClearZone
from pinvault.client.sealing import SealingKey
from pinvault.development.environment import check_value
from pinvault.model.custody import WantedKey
from pinvault.model.keys import Key, KeyDirectory
from pinvault.model.pin_rules import PinRules
from pinvault.model.pins import Format
from pinvault.model.profiles import (
    Encoding,
    Padding,
    PinLength,
    Plaintext,
    Profile,
    RsaFieldProfile,
    SealedJweProfile,
)
from pinvault.model.scripts import ScriptBlock, ScriptPadding, ScriptProfile
from pinvault.model.verification import Ibm3624Scheme, ValidationLayout, VisaPvvScheme
from pinvault.operations.admission import Admission
from pinvault.operations.custody import Custody
from pinvault.operations.desk import Desk
from pinvault.operations.key_desk import KeyDesk
from pinvault.operations.keys import Keys
from pinvault.operations.route import Router
from pinvault.operations.schemes import Schemes
from pinvault.policy.grants import Grant, Grants
from pinvault.policy.limits import Limits, Nonces, Rate
from pinvault.policy.pan_index import PanIndex
from pinvault.policy.shared_table import SharedTable
from pinvault.policy.translation import Permission
from pinvault.server.arrivals import Arrivals
from pinvault.server.contract import Contract
from pinvault.server.gate import DeadlineRule, Gate
from pinvault.server.identity import IdentityKind
from pinvault.server.jwk import write_jwk
from pinvault.server.key_service import KeyService
from pinvault.server.logs import make_log
from pinvault.server.metrics import Metrics
from pinvault.server.pin_block_service import PinBlockService
from pinvault.server.role import Role
from tests.support.key_book import MemoryBook
from tests.support.software_device import Secret, SoftwareDevice, held, key

CALLER = "spiffe://pinvault.test/card-app"
TODAY = date(2026, 6, 1)
METHODS = (
    "PinBlockService.EncryptPin",
    "PinBlockService.EncryptPinChange",
    "PinBlockService.TranslatePin",
    "PinBlockService.TranslatePinBatch",
    "PinBlockService.VerifyPin",
    "PinBlockService.GenerateVerificationValue",
    "PinBlockService.ChangeVerificationValue",
    "PinBlockService.GeneratePin",
    "PinBlockService.EncryptPinChangeScript",
    "KeyService.ListKeys",
    "KeyService.GetKey",
    "KeyService.GetPublicKey",
    "KeyService.ImportKeyBlock",
    "KeyService.ExportKeyBlock",
    "KeyService.ImportKeyCryptogram",
    "KeyService.RotateKey",
    "KeyService.RetireKey",
)
LEGACY = {
    form: key(f"zpk-{form.value.lower().replace('_', '-')}", "P0", "TDES_2KEY", "D")
    for form in Format
    if form.is_legacy
}
"""The keys that are kept for the legacy formats, one for each."""
SYMMETRIC = (
    key("zpk-terminal", "P0", "TDES_3KEY", "D"),
    key("zpk-switch", "P0", "TDES_3KEY", "E"),
    key("zpk", "P0", "TDES_2KEY", "B"),
    key("zpk-aes", "P0", "AES_128", "B"),
    key("bdk", "B0", "AES_128", "X"),
    key("bdk-tdes", "B0", "TDES_2KEY", "X"),
    key("bdk-tdes-variant", "B0", "TDES_2KEY", "X"),
    key("pvk", "V2", "TDES_2KEY", "C"),
    key("offset", "V1", "TDES_2KEY", "C"),
    key("imk-mac", "E2", "TDES_2KEY", "X"),
    key("imk-pin", "E1", "TDES_2KEY", "X"),
    *LEGACY.values(),
)
VERIFICATION = {
    "visa": VisaPvvScheme(name="visa", keys={1: "pvk"}),
    "ibm": Ibm3624Scheme(
        name="ibm",
        key="offset",
        decimalisation_table="0123456789012345",
        validation=ValidationLayout(template="{last16}"),
        check_length=4,
        pin_length=4,
    ),
}
SCRIPTS = {
    "chip": ScriptProfile(
        name="chip",
        block=ScriptBlock.ISO_2,
        padding=ScriptPadding.CHAINED,
        confidentiality="imk-pin",
        integrity="imk-mac",
    )
}


@dataclass(frozen=True, kw_only=True)
class KeyBlocks:
    """What a test wants of the keys that come and go; `rows` are those of KeyService, by keys."""

    clear_keys: bool = True
    storage: str | None = None
    variants: dict[str, tuple[str, str]] = field(default_factory=dict)
    awaited: tuple[WantedKey, ...] = ()
    own: tuple[str, ...] = ()
    rows: tuple[frozenset[str], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a test wants otherwise: in all rows of the grants, and of the server.

    `legacy_formats` are of keys besides those of `LEGACY`.
    """

    per_pan: Rate | None = None
    pin_length: PinLength | None = None
    pin_rules: PinRules | None = None
    translations: frozenset[Permission] = frozenset()
    role: Role = Role.ISSUING
    keys: tuple[tuple[Key, Secret], ...] = ()
    profiles: tuple[Profile, ...] = ()
    verification: tuple[VisaPvvScheme | Ibm3624Scheme, ...] = ()
    legacy_formats: dict[str, Format] = field(default_factory=dict)
    key_blocks: KeyBlocks = KeyBlocks()


ORDINARY = Setting()


@dataclass
class FakeContext:
    """What the gate asks of gRPC, and what it tells gRPC."""

    caller: str = CALLER
    remaining: float = 30.0
    code: grpc.StatusCode | None = None
    details: str = ""
    trailers: tuple[tuple[str, bytes], ...] = ()

    def cancel(self) -> None:
        self.code = grpc.StatusCode.CANCELLED

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"peer_spiffe_id": [self.caller.encode()], "ssl_tls_version": [b"TLSv1.3"]}

    def time_remaining(self) -> float:
        return self.remaining

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailers: tuple[tuple[str, bytes], ...]) -> None:
        self.trailers = trailers


@dataclass
class AuditList:
    """An audit log in memory; what may not be recorded is refused as in the real one."""

    records: list[AuditRecord] = field(default_factory=list)

    def append(self, record: AuditRecord, timeout: float) -> None:
        encode(record)
        self.records.append(record)


@dataclass
class Core:
    """The gate with all that it stands on, the records that it wrote, and the keys in the clear."""

    gate: Gate
    device: SoftwareDevice
    sealing_key: SealingKey
    partner: rsa.RSAPrivateKey
    zone_keys: dict[str, bytes]
    log: AuditList
    book: MemoryBook

    def call(self, method: str, request: bytes, context: FakeContext | None = None) -> bytes:
        """Make a call as gRPC would; the context tells how it ended."""
        path = f"/pinvault.v1.{method.replace('.', '/')}"
        handler = self.gate.service(SimpleNamespace(method=path))
        assert handler is not None
        return handler.stream_unary(iter([request]), context or FakeContext())


def build(
    folder: Path,
    log: TextIO,
    *,
    now: Callable[[], float],
    quantum_s: float = 0.0005,
    setting: Setting = ORDINARY,
    zone_keys: dict[str, bytes] | None = None,
) -> Core:
    """Build the service over a software device with fresh symmetric keys, or the given ones."""
    values = zone_keys or draw_keys(secrets.token_bytes)
    sealing, partner = private_key("pin-seal"), private_key("interswitch-pin")
    keys: list[tuple[Key, Secret]] = [
        (key("pin-seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP"), sealing),
        (key("interswitch-pin", "D1", "RSA_2048", "E"), partner.public_key()),
        *(_checked(each, values[each.name]) for each in SYMMETRIC),
        *(_checked(*pair) for pair in setting.keys),
    ]
    profiles = {each.name: each for each in (*_profiles(), *setting.profiles)}
    verification = VERIFICATION | {each.name: each for each in setting.verification}
    device = SoftwareDevice([held(*pair) for pair in keys])
    table = SharedTable.open(folder / "limits.table", secret=bytes(32), slots=8192)
    every = frozenset(each.name for each, _ in keys)
    grants = Grants(
        Grant(
            callers=frozenset({CALLER}),
            method=method,
            keys=names,
            formats=frozenset(Format),
            profiles=frozenset(profiles),
            translations=setting.translations,
            schemes=frozenset({*verification, *SCRIPTS}),
            pin_length=setting.pin_length,
            pin_rules=setting.pin_rules,
            per_pan=setting.per_pan if method.startswith("PinBlockService.") else None,
        )
        for method in METHODS
        for names in _rows(method, setting.key_blocks, every)
    )
    admission = Admission(
        grants=grants, limits=Limits(table), pans=PanIndex(bytes(range(32))), now=now
    )
    directory = KeyDirectory(each for each, _ in keys)
    book = MemoryBook(directory, adopt=lambda ring: _adopt(device, ring))
    router = Router(
        keys=directory,
        profiles=profiles,
        today=lambda: TODAY,
        variants={"bdk-tdes": "bdk-tdes-variant"},
        legacy_formats={each.name: form for form, each in LEGACY.items()} | setting.legacy_formats,
    )
    zone = ClearZone(device, spend=Nonces(table).spend, now=now, quantum_s=quantum_s)
    schemes = Schemes(router=router, verification=verification, scripts=SCRIPTS)
    services = (
        PinBlockService(Desk(router=router, schemes=schemes, admission=admission, zone=zone)),
        KeyService(
            keys=Keys(
                directory=directory,
                admission=admission,
                public_half=device.public_key,
                today=lambda: TODAY,
            ),
            desk=KeyDesk(admission=admission, custody=_custody(device, book, setting)),
        ),
    )
    methods = (method for service in services for method in service.methods())
    metrics = Metrics(CollectorRegistry())
    audit = AuditList()
    gate = Gate(
        [method for method in methods if setting.role.serves(method.name)],
        identity=IdentityKind.SPIFFE,
        admission=admission,
        deadlines=DeadlineRule(ceiling_s=10, default_s=None),
        arrivals=_arrivals(),
        contract=Contract(max_bytes=65_536),
        audit=audit,
        metrics=metrics,
        log=make_log(count=metrics.redacted, stream=log),
        now=lambda: datetime.now(UTC),
    )
    return Core(
        gate=gate,
        device=device,
        sealing_key=_sealing_key(sealing),
        partner=partner,
        zone_keys=values,
        log=audit,
        book=book,
    )


def _rows(method: str, wanted: KeyBlocks, every: frozenset[str]) -> tuple[frozenset[str], ...]:
    """Give the keys of each row for a method."""
    if wanted.rows is None or not method.startswith("KeyService."):
        return (every | {each.name for each in wanted.awaited},)
    return wanted.rows


def _custody(device: SoftwareDevice, book: MemoryBook, setting: Setting) -> Custody:
    wanted = setting.key_blocks
    zone = KeyZone(
        device,
        clear_keys=wanted.clear_keys,
        algorithm_of=lambda key_id: book.directory().find(key_id, field="").algorithm,
    )
    return Custody(
        zone=zone,
        book=book,
        today=lambda: TODAY,
        storage=wanted.storage,
        variants=wanted.variants,
        awaited={each.name: each for each in wanted.awaited},
        own=wanted.own,
    )


def _adopt(device: SoftwareDevice, ring: KeyDirectory) -> None:
    """Have the device serve under a key ring: its own entries, with the states of the ring."""
    entries = (
        replace(
            device._token[each.id].entry,
            state=State(each.state.value),
            valid_until=each.valid_until,
        )
        for each in ring
    )
    device.adopt(Keyring(keys=tuple(entries)), timeout=1)


def draw_keys(draw: Callable[[int], bytes]) -> dict[str, bytes]:
    """Draw the values of the symmetric keys, by their names."""
    return {each.name: draw(24 if each.algorithm == "TDES_3KEY" else 16) for each in SYMMETRIC}


@cache
def private_key(name: str) -> rsa.RSAPrivateKey:
    """One private key a name, made once a run."""
    return rsa.generate_private_key(65537, 2048)


@cache
def _arrivals() -> Arrivals:
    """One for all: a thread of its own would look after each until the run ends."""
    return Arrivals(within_s=5.0, room=8)


def _checked(each: Key, secret: Secret) -> tuple[Key, Secret]:
    """Give a symmetric key its check value, which tells a PIN block whatever the key is called."""
    if isinstance(secret, bytes):
        each = replace(each, check_value=check_value(secret, Algorithm(each.algorithm.value)))
    return each, secret


def _profiles() -> tuple[Profile, ...]:
    return (
        SealedJweProfile(name="sealed-pin", key="pin-seal"),
        RsaFieldProfile(
            name="interswitch",
            key="interswitch-pin",
            padding=Padding.PKCS1_V1_5,
            plaintext=Plaintext.HEX_OF_DIGITS,
            encoding=Encoding.HEX_LOWER,
        ),
    )


def _sealing_key(private: rsa.RSAPrivateKey) -> SealingKey:
    spki = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    jwk = write_jwk(spki, kid="pin-seal/1", alg="RSA-OAEP")
    return SealingKey.from_jwk(kid=jwk.kid, alg=jwk.alg, n=jwk.n, e=jwk.e)

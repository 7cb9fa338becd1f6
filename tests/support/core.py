"""The service without sockets and token, in one process: the gate over a software device."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from pinvault.audit.record import AuditRecord, encode
from pinvault.clearzone.zone import ClearZone
from pinvault.client.sealing import SealingKey
from pinvault.model.keys import KeyDirectory
from pinvault.model.pins import Format
from pinvault.model.profiles import (
    Encoding,
    Padding,
    Plaintext,
    RsaFieldProfile,
    SealedJweProfile,
)
from pinvault.operations.admission import Admission
from pinvault.operations.encrypt_pin import EncryptPin
from pinvault.operations.encrypt_pin_change import EncryptPinChange
from pinvault.operations.keys import Keys
from pinvault.operations.route import Router
from pinvault.policy.grants import Grant, Grants
from pinvault.policy.limits import Limits, Nonces
from pinvault.policy.pan_index import PanIndex
from pinvault.policy.shared_table import SharedTable
from pinvault.server.arrivals import Arrivals
from pinvault.server.contract import Contract
from pinvault.server.gate import DeadlineRule, Gate
from pinvault.server.identity import IdentityKind
from pinvault.server.jwk import write_jwk
from pinvault.server.key_service import KeyService
from pinvault.server.logs import make_log
from pinvault.server.metrics import Metrics
from pinvault.server.pin_block_service import PinBlockService
from tests.support.software_device import SoftwareDevice, held, key

CALLER = "spiffe://pinvault.test/card-app"
TODAY = date(2026, 6, 1)
METHODS = (
    "PinBlockService.EncryptPin",
    "PinBlockService.EncryptPinChange",
    "KeyService.ListKeys",
    "KeyService.GetKey",
    "KeyService.GetPublicKey",
)


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
    """The gate with all that it stands on, and the records that it wrote."""

    gate: Gate
    device: SoftwareDevice
    sealing_key: SealingKey
    partner: rsa.RSAPrivateKey
    zone_keys: dict[str, bytes]
    log: AuditList

    def call(self, method: str, request: bytes, context: FakeContext | None = None) -> bytes:
        """Make a call as gRPC would; the context tells how it ended."""
        path = f"/pinvault.v1.{method.replace('.', '/')}"
        handler = self.gate.service(SimpleNamespace(method=path))
        assert handler is not None
        return handler.stream_unary(iter([request]), context or FakeContext())


def build(
    folder: Path, log: TextIO, *, now: Callable[[], float], quantum_s: float = 0.0005
) -> Core:
    """Build the service over a software device with fresh keys."""
    sealing, partner = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    zones = {"zpk-terminal": secrets.token_bytes(24), "zpk-switch": secrets.token_bytes(24)}
    keys = {
        "pin-seal": (key("pin-seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP"), sealing),
        "interswitch-pin": (key("interswitch-pin", "D1", "RSA_2048", "E"), partner.public_key()),
        "zpk-terminal": (key("zpk-terminal", "P0", "TDES_3KEY", "D"), zones["zpk-terminal"]),
        "zpk-switch": (key("zpk-switch", "P0", "TDES_3KEY", "E"), zones["zpk-switch"]),
    }
    device = SoftwareDevice([held(*pair) for pair in keys.values()])
    table = SharedTable.open(folder / "limits.table", secret=bytes(32), slots=1024)
    grants = Grants(
        Grant(
            callers=frozenset({CALLER}),
            method=method,
            keys=frozenset(keys),
            formats=frozenset(Format),
            profiles=frozenset({"sealed-pin", "interswitch"}),
        )
        for method in METHODS
    )
    admission = Admission(
        grants=grants, limits=Limits(table), pans=PanIndex(bytes(range(32))), now=now
    )
    directory = KeyDirectory(pair[0] for pair in keys.values())
    router = Router(
        keys=directory,
        profiles={
            "sealed-pin": SealedJweProfile(name="sealed-pin", key="pin-seal"),
            "interswitch": RsaFieldProfile(
                name="interswitch",
                key="interswitch-pin",
                padding=Padding.PKCS1_V1_5,
                plaintext=Plaintext.HEX_OF_DIGITS,
                encoding=Encoding.HEX_LOWER,
            ),
        },
        admission=admission,
        today=lambda: TODAY,
    )
    zone = ClearZone(device, spend=Nonces(table).spend, now=now, quantum_s=quantum_s)
    services = (
        PinBlockService(
            encrypt_pin=EncryptPin(router, zone), encrypt_pin_change=EncryptPinChange(router, zone)
        ),
        KeyService(
            keys=Keys(
                directory=directory,
                admission=admission,
                public_half=device.public_key,
                today=lambda: TODAY,
            )
        ),
    )
    metrics = Metrics(CollectorRegistry())
    audit = AuditList()
    gate = Gate(
        [method for service in services for method in service.methods()],
        identity=IdentityKind.SPIFFE,
        admission=admission,
        deadlines=DeadlineRule(ceiling_s=10, default_s=None),
        arrivals=Arrivals(within_s=5.0, room=8),
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
        zone_keys=zones,
        log=audit,
    )


def _sealing_key(private: rsa.RSAPrivateKey) -> SealingKey:
    spki = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    jwk = write_jwk(spki, kid="pin-seal/1", alg="RSA-OAEP")
    return SealingKey.from_jwk(kid=jwk.kid, alg=jwk.alg, n=jwk.n, e=jwk.e)

"""Builds a worker: from a configuration to a server that can be run.

Rules:
- The token is open and inspected before a port is; nothing serves from a token that differs
  from its key ring.
- Objects get what they stand on as arguments; nothing below looks for it.
"""

import hashlib
import os
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from prometheus_client import REGISTRY

from hsm.device import Device, DeviceStatus
from pinvault import __version__
from pinvault.audit.log import AuditLog
from pinvault.audit.record import AuditRecord, rfc3339
from pinvault.bootstrap.inputs import (
    active_key,
    key_directory,
    read_keyring,
    require_tls_files,
    utc_now,
    utc_today,
)
from pinvault.bootstrap.token import DERIVATION_TIMEOUT_S, Secrets, open_device
from pinvault.clearzone.zone import ClearZone
from pinvault.config import Loaded, RunMode
from pinvault.model import keys as model
from pinvault.model.pins import Format
from pinvault.operations.admission import Admission
from pinvault.operations.desk import Desk
from pinvault.operations.keys import Keys
from pinvault.operations.route import Router
from pinvault.operations.schemes import Schemes
from pinvault.policy.grants import Grants
from pinvault.policy.limits import Limits, Nonces
from pinvault.policy.pan_index import PanIndex
from pinvault.policy.shared_table import SharedTable
from pinvault.server import core_log
from pinvault.server.arrivals import Arrivals
from pinvault.server.contract import Contract
from pinvault.server.gate import DeadlineRule, Gate, Method
from pinvault.server.hardening import harden, weaknesses
from pinvault.server.key_service import KeyService
from pinvault.server.logs import Log, make_log
from pinvault.server.metrics import Metrics
from pinvault.server.pin_block_service import PinBlockService
from pinvault.server.pulse import Pulse
from pinvault.server.transport import TlsFiles, credentials, options
from pinvault.server.worker import Listening, Worker, confine

RECORD_TIMEOUT_S = 1.0
HANDSHAKE_RECORDS_A_SECOND = 10


class StartRefused(Exception):
    """The service does not start: what is missing, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a worker stands on: opened once, closed together."""

    loaded: Loaded
    log: Log
    metrics: Metrics
    directory: model.KeyDirectory
    device: Device
    secrets: Secrets
    audit: AuditLog
    table: SharedTable

    def condition(self) -> Pulse:
        """Tell how the worker is: the token answers, and the record can be written."""
        since = self.device.busy_since
        hang_after_s = self.loaded.config.hsm.hang_after_s
        if since is not None and time.monotonic() - since > hang_after_s:
            return Pulse.HUNG
        self.device.probe()
        self.metrics.keys_sealed(len(self.device.sealed_keys))
        serves = self.device.status is DeviceStatus.SERVING and self.audit.healthy
        return Pulse.SERVING if serves else Pulse.AILING

    def close(self) -> None:
        """Close the record first: its last checkpoint is signed in the token."""
        self.audit.close()
        self.device.close()
        self.table.close()


def build_worker(loaded: Loaded, *, index: int, pulse_fd: int, port: int) -> Worker:
    """Build a worker, or raise with what stops it."""
    harden()
    if loaded.config.server.confine_to_core:
        confine(index)
    keep = os.dup(2)
    metrics = Metrics(REGISTRY)
    log = make_log(count=metrics.redacted, stream=os.fdopen(keep, "w", buffering=1), worker=index)
    _require_protection(loaded, log)
    require_tls_files(loaded)
    ground = _lay_ground(loaded, index, log, metrics)
    watch = _watch_handshakes(ground.audit, metrics, log, keep)  # from here on gRPC is at work
    try:
        return Worker(
            listening=_listening(loaded, log, port),
            gate=_build_gate(ground),
            services=("PinBlockService", "KeyService"),
            condition=ground.condition,
            close=ground.close,
            pulse_fd=pulse_fd,
            metrics=metrics,
            log=log,
        )
    except BaseException:
        watch.stop()
        raise


def _lay_ground(loaded: Loaded, index: int, log: Log, metrics: Metrics) -> Ground:
    ring = read_keyring(loaded)
    directory = key_directory(ring)
    device = open_device(loaded, ring)
    for finding in device.warnings:
        log.warning("token", finding=finding.summary, remedy=finding.remedy)
    secrets = Secrets.derive(device, active_key(loaded, directory, "index").id)
    return Ground(
        loaded=loaded,
        log=log,
        metrics=metrics,
        directory=directory,
        device=device,
        secrets=secrets,
        audit=open_audit_log(loaded, device, directory, secrets, index),
        table=open_table(loaded, secrets),
    )


def open_audit_log(
    loaded: Loaded, device: Device, directory: model.KeyDirectory, secrets: Secrets, worker: int
) -> AuditLog:
    """Open a worker's audit log; its checkpoints are signed in the HSM."""
    signer = active_key(loaded, directory, "audit_signing")
    ring_file = loaded.file(loaded.config.hsm.keyring_file)

    def sign(digest: bytes) -> bytes:
        return device.sign(signer.id, digest, timeout=DERIVATION_TIMEOUT_S)

    return AuditLog.open(
        loaded.file(loaded.config.audit.directory),
        worker=worker,
        chain_key=secrets.audit_chain,
        sign=sign,
        signer_id=signer.id,
        clock=utc_now,
        boot={
            "version": __version__,
            "keyring": f"sha256:{hashlib.sha256(ring_file.read_bytes()).hexdigest()}",
            "config": f"sha256:{loaded.sha256}",
        },
    )


def open_table(loaded: Loaded, secrets: Secrets) -> SharedTable:
    """Open the host's table of limits and spent envelopes."""
    path = loaded.file(loaded.config.state.directory) / "limits.table"
    return SharedTable.open(path, secret=secrets.table, slots=loaded.config.state.slots)


def _build_gate(ground: Ground) -> Gate:
    server = ground.loaded.config.server
    admission = Admission(
        grants=Grants(ground.loaded.grants()),
        limits=Limits(ground.table),
        pans=PanIndex(ground.secrets.pan_index),
        now=time.time,
    )
    return Gate(
        _methods(ground, admission),
        identity=server.identity,
        admission=admission,
        deadlines=DeadlineRule(
            ceiling_s=server.deadline.ceiling_s, default_s=server.deadline.default_s
        ),
        arrivals=Arrivals(within_s=server.message_within_s, room=max(1, server.threads // 2)),
        contract=Contract(max_bytes=server.max_request_bytes),
        audit=ground.audit,
        metrics=ground.metrics,
        log=ground.log,
        now=utc_now,
    )


def _methods(ground: Ground, admission: Admission) -> tuple[Method[Any], ...]:
    """Build the use cases, the services over them, and list what the role serves of them."""
    loaded, device = ground.loaded, ground.device
    config = loaded.config
    router = Router(
        keys=ground.directory,
        profiles=loaded.profiles(),
        today=utc_today,
        variants=config.dukpt.tdes_variants,
        legacy_formats={key: Format(name) for key, name in config.legacy_formats.items()},
    )
    desk = Desk(
        router=router,
        schemes=Schemes(
            router=router, verification=loaded.verification(), scripts=loaded.scripts()
        ),
        admission=admission,
        zone=ClearZone(
            device,
            spend=Nonces(ground.table).spend,
            now=time.time,
            quantum_s=config.protection.refusal_quantum_ms / 1000,
            ksn_window_s=config.dukpt.replay_window_s,
        ),
    )
    keys = Keys(
        directory=ground.directory,
        admission=admission,
        public_half=device.public_key,
        today=utc_today,
    )
    every = (*PinBlockService(desk).methods(), *KeyService(keys=keys).methods())
    return tuple(method for method in every if config.role.serves(method.name))


def _listening(loaded: Loaded, log: Log, port: int) -> Listening:
    server = loaded.config.server
    files = TlsFiles(
        certificate=loaded.file(server.tls.certificate_file),
        private_key=loaded.file(server.tls.private_key_file),
        client_ca=loaded.file(server.tls.client_ca_file),
    )
    return Listening(
        address=f"{server.listen.rpartition(':')[0]}:{port}",
        credentials=credentials(files, log),
        options=options(max_connection_age_s=server.max_connection_age_s),
        threads=server.threads,
        grace_s=server.grace_s,
        reflection=server.reflection,
    )


def _require_protection(loaded: Loaded, log: Log) -> None:
    missing = weaknesses()
    if missing and loaded.config.mode is RunMode.PRODUCTION:
        raise StartRefused("production mode refuses to start: " + "; ".join(missing))
    for weakness in missing:
        log.warning("protection missing", weakness=weakness)


def _watch_handshakes(audit: AuditLog, metrics: Metrics, log: Log, keep: int) -> core_log.Watch:
    recorded: deque[float] = deque(maxlen=HANDSHAKE_RECORDS_A_SECOND)

    def refused(cause: str) -> None:
        """Count each; record a few a second, since a stranger could else fill the disk."""
        metrics.tls_refused()
        now = time.monotonic()
        if len(recorded) == recorded.maxlen and now - recorded[0] < 1:
            return
        recorded.append(now)
        audit.append(
            AuditRecord(event="tls-refused", time=rfc3339(utc_now()), cause=cause),
            RECORD_TIMEOUT_S,
        )

    def other(severity: str, source: str) -> None:
        log.warning("grpc core", severity=severity, source=source)

    return core_log.watch(refused=refused, other=other, keep=keep)

"""Builds a worker: from a configuration to a server that can be run.

Rules:
- The token is open and inspected before a port is; nothing serves from a token that differs
  from its key ring.
- Objects get what they stand on as arguments; nothing below looks for it.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from google.protobuf.message import Message
from prometheus_client import REGISTRY

from hsm.device import Device, DeviceStatus
from pinvault.audit.log import AuditLog
from pinvault.bootstrap import own_keys
from pinvault.bootstrap.custody import build_custody
from pinvault.bootstrap.handshakes import watch_handshakes
from pinvault.bootstrap.inputs import (
    active_key,
    key_directory,
    require_tls_files,
    ring_path,
    utc_now,
    utc_today,
)
from pinvault.bootstrap.key_life import open_counts
from pinvault.bootstrap.protection import require_protection
from pinvault.bootstrap.purposes import NOTE as KEY_PURPOSES
from pinvault.bootstrap.purposes import Purposes
from pinvault.bootstrap.records import open_audit_log
from pinvault.bootstrap.ring import LiveRing
from pinvault.bootstrap.ring_versions import RingVersion
from pinvault.bootstrap.token import Secrets, open_token
from pinvault.bootstrap.vault import PinVault, open_vault
from pinvault.bootstrap.watch import KeyWatch, RingWitness
from pinvault.clearzone.zone import ClearZone
from pinvault.config import Loaded
from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import KeyDirectory
from pinvault.model.pins import Format
from pinvault.operations.admission import Admission
from pinvault.operations.cards.stored import StoredPins
from pinvault.operations.custody import Custody, KeyBook
from pinvault.operations.desk import Desk
from pinvault.operations.key_desk import KeyDesk
from pinvault.operations.keys import Keys
from pinvault.operations.route import Router
from pinvault.operations.schemes import Schemes
from pinvault.policy.block_counts import BlockCounts
from pinvault.policy.grants import Grants
from pinvault.policy.limits import Limits, Nonces
from pinvault.policy.pan_index import PanIndex
from pinvault.policy.shared_table import SharedTable
from pinvault.server.arrivals import Arrivals
from pinvault.server.contract import Contract
from pinvault.server.gate import DeadlineRule, Gate, Method
from pinvault.server.hardening import harden
from pinvault.server.key_service import KeyService
from pinvault.server.logs import Log, make_log
from pinvault.server.metrics import Metrics
from pinvault.server.pin_block_service import PinBlockService
from pinvault.server.pulse import Pulse
from pinvault.server.transport import TlsFiles, credentials, options
from pinvault.server.worker import Listening, Worker, confine

Served = Mapping[str, Method[Any]]
"""What a worker serves over one key ring, by `Service.Method`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a worker stands on: opened once, closed together."""

    loaded: Loaded
    log: Log
    metrics: Metrics
    version: RingVersion
    purposes: Purposes
    device: Device
    secrets: Secrets
    audit: AuditLog
    table: SharedTable
    counts: BlockCounts
    vault: PinVault | None

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

    def services(self) -> dict[str, Callable[[], bool]]:
        """Name what is served, each with what it stands on besides the worker."""
        cards = {"CardPinService": self.vault.watch.is_up} if self.vault is not None else {}
        return {"PinBlockService": _always, "KeyService": _always, **cards}

    def close(self) -> None:
        """Close the record first: its last checkpoint is signed in the token."""
        self.audit.close()
        if self.vault is not None:
            self.vault.close()
        self.device.close()
        self.table.close()
        self.counts.close()


def _always() -> bool:
    return True


def build_worker(loaded: Loaded, *, index: int, pulse_fd: int, port: int) -> Worker:
    """Build a worker, or raise with what stops it."""
    harden()
    if loaded.config.server.confine_to_core:
        confine(index)
    keep = os.dup(2)
    metrics = Metrics(REGISTRY)
    log = make_log(count=metrics.redacted, stream=os.fdopen(keep, "w", buffering=1), worker=index)
    require_protection(loaded, log)
    require_tls_files(loaded)
    ground = _lay_ground(loaded, index, log, metrics)
    watch = watch_handshakes(ground.audit, metrics, log, keep)  # from here on gRPC is at work
    try:
        admission = _build_admission(ground)
        ring = _live_ring(ground, admission)
        keys = KeyWatch(
            ring,
            ground.counts,
            warn_days=loaded.config.key_life.warn_days,
            is_first=index == 0,
            log=log,
            metrics=metrics,
        )
        keys.start()

        def close() -> None:
            keys.close()
            ground.close()

        return Worker(
            listening=_listening(loaded, log, port),
            gate=_build_gate(ground, admission, ring),
            services=ground.services(),
            condition=ground.condition,
            close=close,
            pulse_fd=pulse_fd,
            metrics=metrics,
            log=log,
        )
    except BaseException:
        watch.stop()
        raise


def _lay_ground(loaded: Loaded, index: int, log: Log, metrics: Metrics) -> Ground:
    version, device = open_token(loaded)
    own_keys.hold(loaded, version.ring)
    state = loaded.file(loaded.config.state.directory)
    purposes = Purposes(ring_path(loaded), state / KEY_PURPOSES)
    purposes.hold(version.ring)
    for finding in device.warnings:
        log.warning("token", finding=finding.summary, remedy=finding.remedy)
    index_key = active_key(loaded, key_directory(version.ring), "index")
    secrets = Secrets.derive(device, index_key.id)
    table = open_table(loaded, secrets)
    vault = open_vault(loaded, device, secrets=secrets, table=table, is_first=index == 0, log=log)
    return Ground(
        loaded=loaded,
        log=log,
        metrics=metrics,
        version=version,
        purposes=purposes,
        device=device,
        secrets=secrets,
        audit=open_audit_log(loaded, device, version, secrets, index),
        table=table,
        counts=open_counts(loaded),
        vault=vault,
    )


def open_table(loaded: Loaded, secrets: Secrets) -> SharedTable:
    """Open the host's table of limits and spent envelopes."""
    path = loaded.file(loaded.config.state.directory) / "limits.table"
    return SharedTable.open(path, secret=secrets.table, slots=loaded.config.state.slots)


def _build_admission(ground: Ground) -> Admission:
    return Admission(
        grants=Grants(ground.loaded.grants()),
        limits=Limits(ground.table),
        pans=PanIndex(ground.secrets.pan_index),
        now=time.time,
        counts=ground.counts,
    )


def _live_ring(ground: Ground, admission: Admission) -> LiveRing[Served]:
    """Build the key ring with all that is served over it, to be built anew over each."""
    config = ground.loaded.config
    zone = ClearZone(
        ground.device,
        spend=Nonces(ground.table).spend,
        now=time.time,
        quantum_s=config.protection.refusal_quantum_ms / 1000,
        ksn_window_s=config.dukpt.replay_window_s,
    )

    def build(book: KeyBook, directory: KeyDirectory) -> Served:
        custody = build_custody(ground.loaded, ground.device, book)
        methods = _methods(ground, admission, zone, custody, directory)
        return {method.name: method for method in methods}

    return LiveRing(
        ground.loaded,
        ground.device,
        ground.version,
        build=build,
        witness=RingWitness(ground.audit, ground.log, ground.metrics),
        purposes=ground.purposes,
    )


def _build_gate(ground: Ground, admission: Admission, ring: LiveRing[Served]) -> Gate:
    server = ground.loaded.config.server
    return Gate(
        live(ring),
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


def live(ring: LiveRing[Served]) -> tuple[Method[Any], ...]:
    """List the methods as the gate serves them: each call over the key ring that it begins with."""
    return tuple(
        replace(method, serve=partial(_serve, ring, name))
        for name, method in ring.current().serving.items()
    )


def _serve(ring: LiveRing[Served], name: str, call: Call, request: Any) -> Message:
    """Serve one call; a key that another worker may know already is looked for once more."""
    began = ring.current()
    try:
        return began.serving[name].serve(call, request)
    except Refusal as refusal:
        if refusal.reason is not Reason.KEY_UNKNOWN:
            raise
        now = ring.after_a_miss()
        if now is began:
            raise
    return now.serving[name].serve(call, request)


def _methods(
    ground: Ground,
    admission: Admission,
    zone: ClearZone,
    custody: Custody,
    directory: KeyDirectory,
) -> tuple[Method[Any], ...]:
    """Build the use cases, the services over them, and list what the role serves of them."""
    loaded, config = ground.loaded, ground.loaded.config
    router = Router(
        keys=directory,
        profiles=loaded.profiles(),
        today=utc_today,
        variants=config.dukpt.tdes_variants,
        legacy_formats={key: Format(name) for key, name in config.legacy_formats.items()},
        kept_for_store=loaded.store_keys(),
    )
    schemes = Schemes(router=router, verification=loaded.verification(), scripts=loaded.scripts())
    cards = None
    if ground.vault is not None:
        cards = ground.vault.desk(router=router, schemes=schemes, admission=admission)
    desk = Desk(
        router=router,
        schemes=schemes,
        admission=admission,
        zone=zone,
        stored=StoredPins(cards) if cards is not None else None,
    )
    keys = Keys(
        directory=directory,
        admission=admission,
        public_half=ground.device.public_key,
        today=utc_today,
    )
    key_service = KeyService(keys=keys, desk=KeyDesk(admission=admission, custody=custody))
    every = (*PinBlockService(desk).methods(), *key_service.methods())
    if ground.vault is not None and cards is not None:
        every += ground.vault.methods(cards)
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

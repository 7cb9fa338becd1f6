"""The only place where objects are built: from a configuration to a worker that can serve.

Rules:
- Whatever the configuration names is looked up here and must exist and fit.
- The HSM is opened and inspected before a port is; nothing serves from a token that
  differs from its key ring.
- Three secrets are derived from the index key, inside the HSM, at start: they stand in no file.
"""

import fcntl
import hashlib
import os
import re
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, date, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from prometheus_client import REGISTRY

from hsm import keyring
from hsm.device import Device, DeviceStatus, TokenLocation
from pinvault import __version__
from pinvault.audit.errors import RecordRefused
from pinvault.audit.log import AuditLog
from pinvault.audit.record import AuditRecord, KeyUse, encode, rfc3339
from pinvault.clearzone.zone import ClearZone
from pinvault.config import ConfigError, Loaded, RunMode
from pinvault.model import keys as model
from pinvault.model.profiles import Profile, RsaFieldProfile
from pinvault.operations.admission import Admission
from pinvault.operations.encrypt_pin import EncryptPin
from pinvault.operations.encrypt_pin_change import EncryptPinChange
from pinvault.operations.keys import Keys
from pinvault.operations.route import DECIPHERING, ENCIPHERING, Router
from pinvault.policy.grants import Grants
from pinvault.policy.limits import Limits, Nonces
from pinvault.policy.pan_index import PanIndex
from pinvault.policy.shared_table import SharedTable
from pinvault.server import core_log
from pinvault.server.arrivals import Arrivals
from pinvault.server.contract import Contract
from pinvault.server.gate import DeadlineRule, Gate
from pinvault.server.hardening import harden, weaknesses
from pinvault.server.key_service import KeyService
from pinvault.server.logs import Log, make_log
from pinvault.server.metrics import Metrics
from pinvault.server.pin_block_service import PinBlockService
from pinvault.server.pulse import Pulse
from pinvault.server.transport import TlsFiles, credentials, options
from pinvault.server.worker import Listening, Worker, confine

DERIVATION_TIMEOUT_S = 5.0
RECORD_TIMEOUT_S = 1.0
HANDSHAKE_RECORDS_A_SECOND = 10


class StartRefused(Exception):
    """The service does not start: what is missing, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """32-byte secrets that the HSM derives from the index key by HMAC over a fixed label."""

    pan_index: bytes
    audit_chain: bytes
    table: bytes

    @classmethod
    def derive(cls, device: Device, index_key_id: str) -> "Secrets":
        """Derive all three."""

        def of(label: bytes) -> bytes:
            return device.mac(index_key_id, label, timeout=DERIVATION_TIMEOUT_S)

        return cls(
            pan_index=of(b"pinvault PAN index v1"),
            audit_chain=of(b"pinvault audit chain v1"),
            table=of(b"pinvault shared table v1"),
        )

    def __repr__(self) -> str:
        return "<secrets>"


def location(loaded: Loaded) -> TokenLocation:
    """Give where the token is."""
    section = loaded.config.hsm
    return TokenLocation(
        module=loaded.file(section.module),
        label=section.token_label,
        serial=section.token_serial,
        pin_file=loaded.file(section.pin_file),
    )


def open_device(loaded: Loaded, ring: keyring.Keyring) -> Device:
    """Open and inspect the token, one process of the host at a time.

    A login writes to the token. SoftHSM's files are read wrongly by whoever opens them in
    that moment, and other tokens too like their logins one after another.
    """
    state = loaded.file(loaded.config.state.directory)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "hsm-opening.lock").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return Device.open(location(loaded), ring, hang_after=loaded.config.hsm.hang_after_s)


def read_keyring(loaded: Loaded) -> keyring.Keyring:
    """Read the key ring and check that all that the configuration names fits it."""
    ring = keyring.load(loaded.file(loaded.config.hsm.keyring_file))
    directory = key_directory(ring)
    for known in directory:
        _require_name(loaded, known)
    _require_own_key(loaded, directory, "index", model.Usage.M7)
    _require_own_key(loaded, directory, "audit_signing", model.Usage.S0)
    for name, profile in loaded.profiles().items():
        _require_profile_key(loaded, directory, name, profile)
    names = {key.name for key in directory}
    for number, section in enumerate(loaded.config.grants):
        for key in section.keys:
            if key not in names:
                text = f"the key ring has no key named {key}: add it or correct the name"
                raise ConfigError(loaded.path, f"grants[{number}].keys", text)
    return ring


def key_directory(ring: keyring.Keyring) -> model.KeyDirectory:
    """Give the key ring as the floors above the HSM know it."""
    return model.KeyDirectory(
        model.Key(
            name=entry.name,
            version=entry.version,
            usage=model.Usage(entry.usage.value),
            algorithm=model.Algorithm(entry.algorithm.value),
            mode=model.Mode(entry.mode.value),
            check_value=entry.check_value,
            state=model.State(entry.state.value),
            origin=model.Origin(entry.origin.value),
            valid_from=entry.valid_from,
            valid_until=entry.valid_until,
            jwa=entry.jwa,
        )
        for entry in ring.keys
    )


def active_key(loaded: Loaded, directory: model.KeyDirectory, option: str) -> model.Key:
    """Give the active version of one of the service's own keys."""
    name = getattr(loaded.config.keys, option)
    found = [k for k in directory.versions(name) if k.state is model.State.ACTIVE]
    if not found:
        text = f"the key ring has no active key named {name}: add it or correct the name"
        raise ConfigError(loaded.path, f"keys.{option}", text)
    return found[0]


def _require_name(loaded: Loaded, key: model.Key) -> None:
    """Refuse a name that the contract cannot say or the audit record cannot hold."""
    used = KeyUse(key=key.id, check_value=key.check_value)
    try:
        encode(AuditRecord(event="call", time=rfc3339(utc_now()), keys=(used,)))
        sayable = re.fullmatch("[a-z][a-z0-9-]{0,30}", key.name) is not None
    except RecordRefused:
        sayable = False
    if not sayable:
        text = (
            f"the key name {key.name} cannot be used: 1 to 31 of a-z, 0-9 and -, beginning with "
            "a letter, without 12 digits or 16 hex digits in a row"
        )
        raise ConfigError(loaded.file(loaded.config.hsm.keyring_file), "name", text)


def _require_own_key(
    loaded: Loaded, directory: model.KeyDirectory, option: str, usage: model.Usage
) -> None:
    key = active_key(loaded, directory, option)
    if key.usage is not usage:
        text = f"{key.name} has usage {key.usage}, not {usage}: name a key of that usage"
        raise ConfigError(loaded.path, f"keys.{option}", text)


def _require_profile_key(
    loaded: Loaded, directory: model.KeyDirectory, name: str, profile: Profile
) -> None:
    modes = ENCIPHERING if isinstance(profile, RsaFieldProfile) else DECIPHERING
    versions = directory.versions(profile.key)
    if not any(k.usage is model.Usage.D1 and k.mode in modes for k in versions):
        text = (
            f"the key ring has no key {profile.key} of usage D1 and mode "
            f"{' or '.join(sorted(modes))}: add it or correct the name"
        )
        raise ConfigError(loaded.path, f"profiles.{name}.key", text)


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
            "config": f"sha256:{hashlib.sha256(loaded.path.read_bytes()).hexdigest()}",
        },
    )


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

    ring = read_keyring(loaded)
    directory = key_directory(ring)
    device = open_device(loaded, ring)
    for finding in device.warnings:
        log.warning("token", finding=finding.summary, remedy=finding.remedy)
    secrets = Secrets.derive(device, active_key(loaded, directory, "index").id)
    audit = open_audit_log(loaded, device, directory, secrets, index)
    table = open_table(loaded, secrets)

    def condition() -> Pulse:
        return _condition(device, audit, loaded.config.hsm.hang_after_s)

    def close() -> None:
        audit.close()
        device.close()
        table.close()

    watch = _watch_handshakes(audit, metrics, log, keep)  # from here on gRPC is at work
    try:
        return Worker(
            listening=_listening(loaded, log, port),
            gate=_build_gate(loaded, device, directory, secrets, table, audit, metrics, log),
            services=("PinBlockService", "KeyService"),
            condition=condition,
            close=close,
            pulse_fd=pulse_fd,
            metrics=metrics,
            log=log,
        )
    except BaseException:
        watch.stop()
        raise


def open_table(loaded: Loaded, secrets: Secrets) -> SharedTable:
    """Open the host's table of limits and spent envelopes."""
    path = loaded.file(loaded.config.state.directory) / "limits.table"
    return SharedTable.open(path, secret=secrets.table, slots=loaded.config.state.slots)


def _build_gate(
    loaded: Loaded,
    device: Device,
    directory: model.KeyDirectory,
    secrets: Secrets,
    table: SharedTable,
    audit: AuditLog,
    metrics: Metrics,
    log: Log,
) -> Gate:
    config = loaded.config
    grants = Grants(loaded.grants())
    admission = Admission(
        grants=grants, limits=Limits(table), pans=PanIndex(secrets.pan_index), now=time.time
    )
    router = Router(
        keys=directory, profiles=loaded.profiles(), admission=admission, today=utc_today
    )
    zone = ClearZone(
        device,
        spend=Nonces(table).spend,
        now=time.time,
        quantum_s=config.protection.refusal_quantum_ms / 1000,
    )
    pin_blocks = PinBlockService(
        encrypt_pin=EncryptPin(router, zone),
        encrypt_pin_change=EncryptPinChange(router, zone),
    )
    keys = KeyService(
        keys=Keys(
            directory=directory,
            admission=admission,
            public_half=device.public_key,
            today=utc_today,
        )
    )
    return Gate(
        (*pin_blocks.methods(), *keys.methods()),
        identity=config.server.identity,
        grants=grants,
        deadlines=DeadlineRule(
            ceiling_s=config.server.deadline.ceiling_s, default_s=config.server.deadline.default_s
        ),
        arrivals=Arrivals(
            within_s=config.server.message_within_s, room=max(1, config.server.threads // 2)
        ),
        contract=Contract(max_bytes=config.server.max_request_bytes),
        audit=audit,
        metrics=metrics,
        log=log,
        now=utc_now,
    )


def require_tls_files(loaded: Loaded) -> None:
    """Read the PEM files; the certificate must be in its time and fit the key."""

    def refuse(option: str, text: str) -> ConfigError:
        return ConfigError(loaded.path, f"server.tls.{option}", text)

    found: dict[str, bytes] = {}
    for option in ("certificate_file", "private_key_file", "client_ca_file"):
        path = loaded.file(getattr(loaded.config.server.tls, option))
        try:
            found[option] = path.read_bytes()
        except OSError:
            text = f"{path} cannot be read: correct the path or its mode"
            raise refuse(option, text) from None
    try:
        leaf = x509.load_pem_x509_certificates(found["certificate_file"])[0]
        key = load_pem_private_key(found["private_key_file"], password=None)
        x509.load_pem_x509_certificates(found["client_ca_file"])
    except (ValueError, TypeError):
        text = "certificate, key and CA are PEM files, the key without a passphrase: correct them"
        raise refuse("certificate_file", text) from None
    if leaf.public_key() != key.public_key():
        raise refuse("private_key_file", "the key is not the certificate's: correct either")
    if not leaf.not_valid_before_utc <= utc_now() < leaf.not_valid_after_utc:
        raise refuse("certificate_file", "the certificate is not in its time: renew it")


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


def _condition(device: Device, audit: AuditLog, hang_after_s: float) -> Pulse:
    since = device.busy_since
    if since is not None and time.monotonic() - since > hang_after_s:
        return Pulse.HUNG
    device.probe()
    serves = device.status is DeviceStatus.SERVING and audit.healthy
    return Pulse.SERVING if serves else Pulse.AILING


def utc_now() -> datetime:
    """Give the time, aware, in UTC."""
    return datetime.now(UTC)


def utc_today() -> date:
    """Give the UTC day."""
    return utc_now().date()

"""The audit log of a process, and what the command line writes there of changes of keys.

Rules:
- The command line writes under a number that no worker has, one process at a time.
- An act is on record, signed, before the command tells that it is done.
"""

import os
import pwd
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hsm.device import Device
from hsm.keyring import KeyEntry
from pinvault import __version__
from pinvault.audit.log import AuditLog
from pinvault.audit.record import AuditRecord, KeyUse, rfc3339
from pinvault.bootstrap.inputs import active_key, key_directory, utc_now
from pinvault.bootstrap.ring_versions import RingVersion
from pinvault.bootstrap.token import DERIVATION_TIMEOUT_S, Secrets
from pinvault.config import Loaded
from pinvault.model.keys import Key
from pinvault.server.identity import is_name

OPERATORS_LOG: Final = 9999
"""The number of the command line's audit log, above that of any worker."""
RECORD_TIMEOUT_S: Final = 5.0
NO_LOGIN: Final = 2**32 - 1


def open_audit_log(
    loaded: Loaded, device: Device, version: RingVersion, secrets: Secrets, worker: int
) -> AuditLog:
    """Open the audit log of a process; its checkpoints are signed in the HSM."""
    signer = active_key(loaded, key_directory(version.ring), "audit_signing")

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
            "keyring": f"sha256:{version.sha256}",
            "config": f"sha256:{loaded.sha256}",
        },
    )


def beginning(entry: KeyEntry, *, caller: str = "") -> AuditRecord:
    """Give the record of a change of the key ring that is about to be written.

    Whatever becomes of who made it, it shows who began what.
    """
    return AuditRecord(
        event="custody",
        time=rfc3339(utc_now()),
        caller=caller,
        outcome="BEGUN",
        keys=(KeyUse(key=entry.id, check_value=entry.check_value),),
    )


class CustodyLog:
    """What operators did with keys, on record; and signatures over what a ceremony wrote down."""

    def __init__(self, log: AuditLog, device: Device, signer: Key) -> None:
        self._log = log
        self._device = device
        self._signer = signer
        self.operator = operator()

    def record(
        self,
        method: str,
        outcome: str,
        *,
        keys: Sequence[Key] = (),
        cause: str = "",
        transcript: str = "",
    ) -> None:
        """Return when the act is on record; AuditError when it cannot be.

        `method` is like "Key.Rotate", `outcome` like "OK" or a reason, `transcript` the SHA-256
        of a ceremony's transcript in hex.
        """
        used = tuple(KeyUse(key=key.id, check_value=key.check_value) for key in keys)
        record = AuditRecord(
            event="custody",
            time=rfc3339(utc_now()),
            caller=self.operator,
            method=method,
            outcome=outcome,
            cause=cause,
            keys=used,
            transcript=transcript,
        )
        self._log.append(record, RECORD_TIMEOUT_S)

    def begun(self, entry: KeyEntry) -> None:
        """Return when it is on record that a change of the key ring begins."""
        self._log.append(beginning(entry, caller=self.operator), RECORD_TIMEOUT_S)

    def sign(self, digest: bytes) -> tuple[str, bytes, bytes]:
        """Sign a SHA-256 digest: the signing key's id, its SPKI in DER, and r and s, 64 bytes."""
        signature = self._device.sign(self._signer.id, digest, timeout=DERIVATION_TIMEOUT_S)
        return self._signer.id, self._device.public_key(self._signer.id), signature


def operator() -> str:
    """Name who runs this process: `operator:` and the login, which outlives a change of user.

    A login that the record would not take gives way to the user's number.
    """
    user = _login_user()
    try:
        name = f"operator:{pwd.getpwuid(user).pw_name}"
    except KeyError:
        name = ""
    return name if is_name(name) else f"operator:user-{user}"


def _login_user() -> int:
    """Give the user that logged in, as the kernel noted it; without a login, the process's."""
    try:
        noted = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        noted = NO_LOGIN
    return noted if noted != NO_LOGIN else os.getuid()

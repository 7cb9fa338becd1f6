"""Custody of keys, for a worker and for the command line in a process of its own.

Rules:
- The command line needs the service's own keys and no more: what the configuration names besides
  may still be to come. A key ring that has all of it does not lose any of it here.
- Beside a running server it changes the token and the key ring file; the workers take the new
  key ring by themselves.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from hsm.device import Device
from hsm.errors import Finding
from hsm.keyring import KeyEntry, Keyring
from pinvault.bootstrap import turns
from pinvault.bootstrap.inputs import active_key, require_own_keys, require_ring, utc_today
from pinvault.bootstrap.records import OPERATORS_LOG, CustodyLog, open_audit_log
from pinvault.bootstrap.ring import LiveRing
from pinvault.bootstrap.ring_versions import RingVersion
from pinvault.bootstrap.token import Secrets, StartRefused, open_token
from pinvault.clearzone.key_zone import KeyZone
from pinvault.config import ConfigError, Loaded
from pinvault.operations.custody import Custody, KeyBook
from pinvault.server.hardening import harden

OPERATOR_WAIT_S = 2.0


@contextmanager
def open_custody(
    loaded: Loaded, *, makes: str | None = None
) -> Iterator[tuple[Custody, CustodyLog]]:
    """Open the token, the key ring and the record for the command line.

    `makes` names the key that is to get a version, for which an interrupted change may have left
    something in the token. StartRefused while another command has them; whatever stops a start of
    the server otherwise.
    """
    harden()
    with ExitStack() as held:
        _take_turn(loaded, held)
        version, device = open_token(loaded, require=require_own_keys, makes=makes)
        held.callback(device.close)
        witness = _OperatorsWitness()
        ring = LiveRing(
            loaded,
            device,
            version,
            build=lambda *_: None,
            witness=witness,
            require=require_ring if _is_complete(loaded, version.ring) else require_own_keys,
        )
        directory = ring.directory()
        secrets = Secrets.derive(device, active_key(loaded, directory, "index").id)
        audit = open_audit_log(loaded, device, version, secrets, OPERATORS_LOG)
        held.callback(audit.close)
        log = CustodyLog(audit, device, active_key(loaded, directory, "audit_signing"))
        witness.log = log
        yield build_custody(loaded, device, ring), log


def build_custody(loaded: Loaded, device: Device, book: KeyBook) -> Custody:
    """Build what changes keys over a device and a key ring."""
    config = loaded.config
    zone = KeyZone(
        device,
        clear_keys=config.key_blocks.clear_keys,
        algorithm_of=lambda key_id: book.directory().find(key_id, field="key").algorithm,
    )
    return Custody(
        zone=zone,
        book=book,
        today=utc_today,
        storage=config.key_blocks.storage_key,
        variants=loaded.variants(),
        awaited=loaded.awaited(),
        own={config.keys.index, config.keys.audit_signing},
    )


def _take_turn(loaded: Loaded, held: ExitStack) -> None:
    path = turns.of_operators(loaded)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_ours = held.enter_context(turns.taken(path, shared=False, wait_s=OPERATOR_WAIT_S))
    if not is_ours:
        raise StartRefused("another command is at the keys: wait until it has ended")


def _is_complete(loaded: Loaded, ring: Keyring) -> bool:
    """Whether a server could start with this key ring."""
    try:
        require_ring(loaded, ring)
    except ConfigError:
        return False
    return True


class _OperatorsWitness:
    """Has it on record that a command begins a change; what it did, it tells by itself."""

    log: CustodyLog

    def begun(self, entry: KeyEntry) -> None:
        self.log.begun(entry)

    def taken(self, version: RingVersion, findings: tuple[Finding, ...]) -> None: ...

    def refused(self, error: Exception, *, sha256: str) -> None: ...

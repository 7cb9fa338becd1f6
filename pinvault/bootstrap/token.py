"""Opens the token under its key ring, and derives from it what the service needs in memory.

Rules:
- The token is inspected before it is used; processes of one host open it one after another.
- It is not opened while keys are being changed: it may then hold a key that no key ring names.
- Five secrets are derived from the index key, inside the HSM, at start: they stand in no file.
"""

import fcntl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hsm import keyring
from hsm.device import Device
from pinvault.bootstrap import turns
from pinvault.bootstrap.inputs import location, require_ring, ring_path
from pinvault.bootstrap.ring_versions import RingVersion
from pinvault.config import Loaded

DERIVATION_TIMEOUT_S = 5.0
START_WAIT_S: Final = 20.0
"""How long a start waits for a change of keys to end, in seconds."""


class StartRefused(Exception):
    """The service does not start: what is missing, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """32-byte secrets that the HSM derives from the index key by HMAC over a fixed label."""

    pan_index: bytes
    audit_chain: bytes
    table: bytes
    store_pan_index: bytes
    store_seal: bytes

    @classmethod
    def derive(cls, device: Device, index_key_id: str) -> "Secrets":
        """Derive all five."""

        def of(label: bytes) -> bytes:
            return device.mac(index_key_id, label, timeout=DERIVATION_TIMEOUT_S)

        return cls(
            pan_index=of(b"pinvault PAN index v1"),
            audit_chain=of(b"pinvault audit chain v1"),
            table=of(b"pinvault shared table v1"),
            store_pan_index=of(b"pinvault store PAN index v1"),
            store_seal=of(b"pinvault store seal v1"),
        )

    def __repr__(self) -> str:
        return "<secrets>"


def open_token(
    loaded: Loaded,
    *,
    require: Callable[[Loaded, keyring.Keyring], None] = require_ring,
    makes: str | None = None,
) -> tuple[RingVersion, Device]:
    """Read the key ring as it is now, and open the token under it.

    `require` raises for a key ring that does not fit the configuration. `makes` names the key that
    is to get a version: what an interrupted change left of that version is no stranger.
    """
    path = turns.of_keys(loaded)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with turns.taken(path, shared=True, wait_s=START_WAIT_S) as is_clear:
        if not is_clear:
            raise StartRefused(
                f"keys are being changed for too long: find the process that holds {path}"
            )
        version = RingVersion.read(ring_path(loaded))
        require(loaded, version.ring)
        unfinished = None if makes is None else _next_id(version.ring, makes)
        return version, open_device(loaded, version.ring, unfinished=unfinished)


def _next_id(ring: keyring.Keyring, name: str) -> str:
    return f"{name}/{1 + max((entry.version for entry in ring.versions(name)), default=0)}"


def open_device(loaded: Loaded, ring: keyring.Keyring, *, unfinished: str | None = None) -> Device:
    """Open and inspect the token, one process of the host at a time.

    A login writes to the token. SoftHSM's files are read wrongly by whoever opens them in
    that moment, and other tokens too like their logins one after another.
    """
    state = loaded.file(loaded.config.state.directory)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "hsm-opening.lock").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return Device.open(
            location(loaded),
            ring,
            unfinished=unfinished,
            hang_after=loaded.config.hsm.hang_after_s,
        )

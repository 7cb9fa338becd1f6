"""Opens the token, and derives from it what the service needs in memory.

Rules:
- The token is inspected before it is used; processes of one host open it one after another.
- Three secrets are derived from the index key, inside the HSM, at start: they stand in no file.
"""

import fcntl
from dataclasses import dataclass

from hsm import keyring
from hsm.device import Device
from pinvault.bootstrap.inputs import location
from pinvault.config import Loaded

DERIVATION_TIMEOUT_S = 5.0


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

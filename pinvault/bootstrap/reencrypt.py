"""Re-encryption in a process of its own, beside running servers and, on PostgreSQL, others like it.

Rules:
- It opens the token as every command does, and keeps the key ring that stood when it began: rows
  under a version that came later are left.
- That it begins and how it ends is on record. The record is held for these two moments alone, so
  that other commands, and other processes of this one, go on.
- On SQLite one process works at a time.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hsm.device import Device
from pinvault.bootstrap import turns
from pinvault.bootstrap.inputs import active_key, key_directory, utc_today
from pinvault.bootstrap.records import OPERATORS_LOG, CustodyLog, open_audit_log
from pinvault.bootstrap.ring_versions import RingVersion
from pinvault.bootstrap.token import Secrets, StartRefused, open_token
from pinvault.clearzone.restore import RestoreZone
from pinvault.config import ConfigError, Loaded
from pinvault.config.sections import StoreSection
from pinvault.model.keys import Key, KeyDirectory
from pinvault.operations.reencrypt import PANS, Reencrypt
from pinvault.policy.pan_index import PanIndex
from pinvault.server.hardening import harden
from pinvault.store import Store, pins, reencrypt
from pinvault.store.place import SQLITE, read_address

METHOD: Final = "Store.Reencrypt"
COLUMNS: Final = {"pan_key": PANS, "reference_key": "pin.reference", "reveal_key": "pin.reveal"}
"""The column of the store that is under the key of each option."""
VALUES: Final = "pin.value"
"""The column of what verifies PINs, which nobody but who enters a PIN can make anew."""
STORE_WAIT_S: Final = 60.0
"""What a statement that looks at all rows may take, in seconds; no caller waits for it."""
LEASE_S: Final = 30.0
"""How long the chunk of a process that was killed is waited for, in seconds."""
RECORD_WAIT_S: Final = 30.0
"""How long other commands are waited for, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reencryption:
    """What a command works with: the use case, the columns with their present keys, the record.

    `record` puts an outcome such as "BEGUN" on record, and a cause, which may be "".
    """

    work: Reencrypt
    columns: Mapping[str, Key]
    record: Callable[[str, str], None]


@contextmanager
def open_reencryption(
    loaded: Loaded, *, size: int, rest_s: float, pause: Callable[[float], object]
) -> Iterator[Reencryption]:
    """Open the token and the store; `size` rows make a chunk, and `pause` rests after it.

    ConfigError without a store or an active key that may encipher, StartRefused while another
    process is at a store in SQLite; whatever stops a start of the server otherwise.
    """
    harden()
    section = _section(loaded)
    is_alone = read_address(section.address).drivername == SQLITE
    with ExitStack() as held:
        if is_alone:
            problem = "another process is at the store, and SQLite has room for one: let it end"
            _take(held, _turn(loaded), wait_s=0.0, problem=problem)
        version, device = open_token(loaded)
        held.callback(device.close)
        directory = key_directory(version.ring)
        columns = _columns(loaded, section, directory)
        secrets = Secrets.derive(device, active_key(loaded, directory, "index").id)
        store = Store.open(section.address, connections=2, wait_s=STORE_WAIT_S)
        held.callback(store.close)
        work = Reencrypt(
            store=store,
            zone=RestoreZone(device, index=PanIndex(secrets.store_pan_index).of),
            keys=directory,
            pans=section.pan_key,
            worker=f"{socket.gethostname()[:200]}:{os.getpid()}",
            size=size,
            lease_s=0.0 if is_alone else LEASE_S,  # alone, what is claimed was left behind
            now=time.time,
            pause=pause,
            rest_s=rest_s,
        )

        def record(outcome: str, cause: str) -> None:
            keys = tuple(columns.values())
            with _operators_log(loaded, device, version, secrets) as log:
                log.record(METHOD, outcome, cause=cause, keys=keys)

        yield Reencryption(work=work, columns=columns, record=record)


def rows_under(loaded: Loaded, key: Key) -> dict[str, int]:
    """Count the rows of the store, by column, that open or verify under a key version alone."""
    section = _section(loaded)
    columns = [COLUMNS[option] for option, name in section.keys().items() if name == key.name]
    store = Store.open(section.address, connections=1, wait_s=STORE_WAIT_S)
    try:
        with store.read() as db:
            found = {
                column: reencrypt.rows_by_key(db, reencrypt.CIPHERTEXTS[column]).get(key.id, 0)
                for column in columns
            } | {VALUES: pins.count_verified_by(db, key.id)}
    finally:
        store.close()
    return {column: rows for column, rows in found.items() if rows}


def _section(loaded: Loaded) -> StoreSection:
    if loaded.config.store is None:
        text = "there is no store, and so nothing to encipher again"
        raise ConfigError(loaded.path, "store.address", text)
    return loaded.config.store


def _columns(loaded: Loaded, section: StoreSection, directory: KeyDirectory) -> dict[str, Key]:
    """Give the present version of each column's key, which must be in its time."""
    columns = {}
    for option, name in section.keys().items():
        present = directory.get(name)
        if present is None or not present.within_cryptoperiod(utc_today()):
            text = f"no version of {name} may encipher today: rotate it"
            raise ConfigError(loaded.path, f"store.{option}", text)
        columns[COLUMNS[option]] = present
    return columns


@contextmanager
def _operators_log(
    loaded: Loaded, device: Device, version: RingVersion, secrets: Secrets
) -> Iterator[CustodyLog]:
    signer = active_key(loaded, key_directory(version.ring), "audit_signing")
    with ExitStack() as held:
        problem = "another command is at the record for too long: let it end"
        _take(held, turns.of_operators(loaded), wait_s=RECORD_WAIT_S, problem=problem)
        log = open_audit_log(loaded, device, version, secrets, OPERATORS_LOG)
        held.callback(log.close)
        yield CustodyLog(log, device, signer)


def _turn(loaded: Loaded) -> Path:
    """Give the file whose lock is the turn of the one process at a store in SQLite."""
    return loaded.file(loaded.config.state.directory) / "reencrypt.turn"


def _take(held: ExitStack, path: Path, *, wait_s: float, problem: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not held.enter_context(turns.taken(path, shared=False, wait_s=wait_s)):
        raise StartRefused(problem)

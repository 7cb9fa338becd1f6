"""The key ring under a running process: watched, taken over without a lost call, and changed.

Rules:
- What stands is one object, put in place in one move: whoever holds it sees one key ring to the
  end. It is asked for at the beginning of a call, and with it whether the file is another now.
- A key ring is taken only when all holds that a start demands: it fits the configuration, the
  token agrees with it, and its taking is recorded. Else the one before goes on serving.
- The HSM holds the old and the new together until the calls that began under the old have ended.
- The service's own keys stay (see `own_keys`), and so does what a key version is for (`purposes`).
- A change is accepted by the token and the configuration, and on record as begun, before it is
  written: there is none that nobody knows of, whatever stops it then. One process of the
  host changes keys at a time; whoever takes a key ring waits until a change is done, since the
  token may by then hold a key that no key ring names yet.
- A file that is written in place is let alone until it has been still for a moment.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import Final, Generic, Protocol, TypeVar

from hsm import ring_file
from hsm.errors import Finding, HsmError, HsmUnavailable, InspectionFailed
from hsm.keyring import KeyEntry, Keyring
from hsm.vocabulary import Algorithm, Mode, Origin, State, Usage
from pinvault.audit.errors import AuditError
from pinvault.bootstrap import own_keys, turns
from pinvault.bootstrap.inputs import key_directory, require_ring, ring_path
from pinvault.bootstrap.own_keys import OwnKeyChanged
from pinvault.bootstrap.purposes import Purposes
from pinvault.bootstrap.ring_versions import Place, RingVersion, is_whole, look, union
from pinvault.bootstrap.stored_blocks import StoredBlocks
from pinvault.config import ConfigError, Loaded
from pinvault.model.custody import MadeKey
from pinvault.model.errors import Reason, Refusal, Violation
from pinvault.model.keys import Key, KeyDirectory
from pinvault.operations.custody import KeyBook

ADOPT_TIMEOUT_S: Final = 5.0
"""How long the HSM may take over one key ring, in seconds."""
TURN_S: Final = 5.0
"""How long a change of keys waits for another, in seconds."""
PATIENCE_S: Final = 1.0
"""How long a call waits for a key ring that is being taken, in seconds."""
RETRY_S: Final = 5.0
"""After how long a key ring that was refused is looked at again, in seconds."""
STILL_S: Final = 1.0
"""How long a file that is written in place must have been still, in seconds."""
MARGIN_S: Final = 1.0
"""How much longer than the longest call the old key ring is held, in seconds."""
KEY_RETRY_AFTER_S: Final = 1.0

FAULTS: Final = (ConfigError, HsmError, AuditError, OSError)
"""What can be wrong with a key ring or stand in its way."""

ServingT = TypeVar("ServingT")


class Adopter(Protocol):
    """What a key ring needs of the HSM."""

    def adopt(self, keyring: Keyring, *, timeout: float) -> tuple[Finding, ...]:
        """Serve under another key ring, or raise and go on under the one before."""


class Witness(Protocol):
    """Who is told what becomes of a key ring. What it raises before stops that."""

    def begun(self, entry: KeyEntry) -> None: ...

    def taken(self, version: RingVersion, findings: tuple[Finding, ...]) -> None: ...

    def refused(self, error: Exception, *, sha256: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing(Generic[ServingT]):
    """A key ring that serves, and what was built over it."""

    version: RingVersion
    directory: KeyDirectory
    serving: ServingT


class LiveRing(Generic[ServingT]):
    """The key ring of one process; a `KeyBook`.

    `build` makes what serves over this book and one directory; `require` raises for a key ring
    that does not fit the configuration.
    """

    def __init__(
        self,
        loaded: Loaded,
        device: Adopter,
        version: RingVersion,
        *,
        build: Callable[[KeyBook, KeyDirectory], ServingT],
        witness: Witness,
        purposes: Purposes | None = None,
        require: Callable[[Loaded, Keyring], None] = require_ring,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loaded = loaded
        self._device = device
        self._build = build
        self._require = require
        self._witness = witness
        self._clock = clock
        self._path = ring_path(loaded)
        self._name = str(self._path)
        self._blocks = StoredBlocks(loaded.file(loaded.config.key_blocks.directory))
        self._held = version.ring
        self._purposes = purposes or Purposes(self._path)
        self._purposes.hold(version.ring)
        self._standing = self._stand(version)
        self._seen: Place | None = version.place
        self._retry_at: float | None = None
        self._settle_at: float | None = None
        self._taking = threading.Lock()
        self._in_turn: int | None = None

    def current(self) -> Standing[ServingT]:
        """Give what stands now; a file that is another is taken first."""
        if look(self._name) != self._seen:
            self._look_again(wait_s=0.0)
        return self._standing

    def after_a_miss(self) -> Standing[ServingT]:
        """Give what stands now, waiting a little for a change that is under way."""
        if look(self._name) != self._seen:
            self._look_again(wait_s=PATIENCE_S)
        return self._standing

    def directory(self) -> KeyDirectory:
        """Give the keys as they are now."""
        return self.current().directory

    def tend(self) -> None:
        """Do what time brings: take a new file, try a refused one again, let go of the old."""
        due = self._retry_at is not None and self._clock() >= self._retry_at
        if due or look(self._name) != self._seen:
            self._look_again(wait_s=0.0, once_more=due)
        if self._settle_at is not None and self._clock() >= self._settle_at:
            with self._taking:
                self._settle()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Take the turn to change keys, or refuse: KEY_BUSY."""
        with turns.taken(turns.of_keys(self._loaded), shared=False, wait_s=TURN_S) as is_ours:
            if not is_ours:
                raise Refusal(Reason.KEY_BUSY, retry_after_s=KEY_RETRY_AFTER_S)
            self._in_turn = threading.get_ident()
            try:
                yield
            finally:
                self._in_turn = None

    def keep(self, key_id: str, block: str) -> None:
        """Keep the key block of a key version that is still to be entered."""
        with _told():
            self._blocks.keep(key_id, block)

    def add(self, made: MadeKey, *, previous_until: date | None) -> Key:
        """Enter a made key as the active version."""
        entry = entry_of(made)
        with _told():
            self._amend(
                entry.id,
                lambda ring: ring_file.with_key(ring, entry, previous_until=previous_until),
            )
        return self._standing.directory.find(entry.id, field="key")

    def retire(self, key_id: str) -> Key:
        """Retire a key version and forget its stored block, or refuse what is needed."""
        with _told():
            self._amend(key_id, lambda ring: ring_file.retired(ring, key_id))
            self._blocks.remove(key_id)
        return self._standing.directory.find(key_id, field="key")

    def block_of(self, key_id: str) -> str | None:
        """Give the stored key block of an exportable key version."""
        with _told():
            return self._blocks.get(key_id)

    def _look_again(self, *, wait_s: float, once_more: bool = False) -> None:
        """Take the file if it is another now, is whole, and nobody is changing keys.

        With `once_more` the same file is tried again.
        """
        if not self._taking.acquire(timeout=PATIENCE_S):
            return
        place, sha256 = look(self._name), ""
        try:
            if place == self._seen and not once_more:
                return
            stands = self._standing.version
            if not is_whole(place, inode=stands.inode, still_s=STILL_S):
                return
            with self._beside_changes(wait_s) as is_clear:
                if is_clear:
                    version = RingVersion.read(self._path)
                    sha256 = version.sha256
                    self._take(version)
        except Exception as error:  # noqa: BLE001 - whatever it is, the key ring that stands serves
            self._seen, self._retry_at = place, self._clock() + RETRY_S
            self._witness.refused(error, sha256=sha256)
        finally:
            self._taking.release()

    @contextmanager
    def _beside_changes(self, wait_s: float) -> Iterator[bool]:
        if self._in_turn == threading.get_ident():
            yield True
            return
        path = turns.of_keys(self._loaded)
        with turns.taken(path, shared=True, wait_s=wait_s) as is_clear:
            yield is_clear

    def _take(self, version: RingVersion) -> None:
        """Serve by a key ring that has just been read, or raise."""
        if version.sha256 == self._standing.version.sha256 and self._retry_at is None:
            self._seen = version.place
            return
        self._require(self._loaded, version.ring)
        findings = self._accept(version.ring)
        self._purposes.hold(version.ring)
        standing = self._stand(version)
        self._witness.taken(version, findings)
        self._standing, self._seen, self._retry_at = standing, version.place, None

    def _stand(self, version: RingVersion) -> Standing[ServingT]:
        directory = key_directory(version.ring)
        return Standing(version=version, directory=directory, serving=self._build(self, directory))

    def _longest_call_s(self) -> float:
        return self._loaded.config.server.deadline.ceiling_s

    def _accept(self, ring: Keyring) -> tuple[Finding, ...]:
        """Have the HSM hold this key ring beside what it holds, or raise."""
        own_keys.require_same(self._loaded, self._held, ring)
        self._purposes.require_same(ring)
        both = union(self._held, ring)
        if both == self._held:
            return ()
        findings = self._device.adopt(both, timeout=ADOPT_TIMEOUT_S)
        self._held = both
        self._settle_at = self._clock() + self._longest_call_s() + MARGIN_S
        return findings

    def _settle(self) -> None:
        """Have the HSM forget what no call that is left needs, or raise and try again later."""
        ring = self._standing.version.ring
        if ring != self._held:
            self._settle_at = self._clock() + RETRY_S
            self._device.adopt(ring, timeout=ADOPT_TIMEOUT_S)
            self._held = ring
        self._settle_at = None

    def _amend(self, key_id: str, change: Callable[[Keyring], Keyring]) -> None:
        """Write a change that the configuration and the token accept, and take it."""

        def accepted(ring: Keyring) -> Keyring:
            wanted = change(ring)
            self._require(self._loaded, wanted)
            self._accept(wanted)
            self._witness.begun(wanted.entry(key_id))
            return wanted

        with self._taking:
            held = self._held
            try:
                ring_file.amend(self._path, accepted)
            except BaseException:
                self._go_back(held)
                raise
            self._take(RingVersion.read(self._path))

    def _go_back(self, held: Keyring) -> None:
        """Have the HSM forget a key that was not entered, so that the change can be asked again."""
        if self._held != held:
            with suppress(HsmError):  # then it is forgotten when the longest call has ended
                self._device.adopt(held, timeout=ADOPT_TIMEOUT_S)
                self._held = held


def entry_of(made: MadeKey) -> KeyEntry:
    """Give the entry of a made key in the key ring: an active version."""
    new = made.key
    return KeyEntry(
        name=new.name,
        version=new.version,
        usage=Usage(new.usage.value),
        algorithm=Algorithm(new.algorithm.value),
        mode=Mode(new.mode.value),
        check_value=made.check_value,
        origin=Origin(made.origin.value),
        state=State.ACTIVE,
        valid_from=new.valid_from,
        valid_until=new.valid_until,
        decipher_check_value=made.decipher_check_value,
        derivation_check_value=made.derivation_check_value,
        destroyable=new.destroyable,
        jwa=new.jwa,
    )


@contextmanager
def _told() -> Iterator[None]:
    """Turn what stops a change into a refusal that tells no paths; its cause has the whole text."""
    try:
        yield
    except HsmUnavailable as error:
        raise Refusal(Reason.HSM_UNAVAILABLE, retry_after_s=KEY_RETRY_AFTER_S) from error
    except AuditError as error:
        raise Refusal(Reason.AUDIT_UNAVAILABLE, retry_after_s=KEY_RETRY_AFTER_S) from error
    except FAULTS as error:
        told = (Violation("key", _what_to_do(error)),)
        raise Refusal(Reason.KEY_CHANGE_REFUSED, violations=told) from error


def _what_to_do(error: Exception) -> str:
    match error:
        case OwnKeyChanged():
            return "the server keeps its own keys while it runs: have the operator change them"
        case ConfigError():
            return "the configuration needs the key as it is: have it changed there first"
        case InspectionFailed():
            return "the token holds something else than the key ring says: have the log looked at"
        case _:
            return "the key ring cannot be written so: have its file and the log looked at"

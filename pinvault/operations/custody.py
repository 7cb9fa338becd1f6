"""Every change of keys: made in the HSM, entered in the key ring, and in use when it returns.

Rules:
- One change at a time: everything is read and decided inside the book's turn.
- What can be told before the HSM is touched is told then, precisely. What is in the HSM stays
  there, so a key that the ring must not have is refused before it is loaded.
- A version is one more than the highest of its name, and is what the versions before are. What
  a first version may be stands in the configuration.
- A key serves one purpose: none comes twice, told by its check value.
- A change that was interrupted can be asked for again: the object that it left is taken over.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Protocol, TypeVar

from pinvault.clearzone.key_zone import KeyZone, Variants
from pinvault.model.call import Deadline
from pinvault.model.custody import Exportability, KeyComponent, MadeKey, NewKey, WantedKey
from pinvault.model.errors import Reason, Refusal, Violation
from pinvault.model.keys import Algorithm, Key, KeyDirectory, Mode, Origin, State, Usage, require

T = TypeVar("T")

WRAPS = frozenset({Mode.B, Mode.E})
UNWRAPS = frozenset({Mode.B, Mode.D})
NOT_STORED = frozenset({Reason.KEY_BLOCK_REFUSED, Reason.KEY_BLOCK_MALFORMED})


class KeyBook(Protocol):
    """The key ring and the stored key blocks, as all processes of the host see them."""

    def directory(self) -> KeyDirectory:
        """Give the keys as they are now."""

    def turn(self) -> AbstractContextManager[None]:
        """Take the turn to change keys, or refuse: KEY_BUSY."""

    def keep(self, key_id: str, block: str) -> None:
        """Keep the key block of a key version that is still to be entered."""

    def add(self, made: MadeKey, *, previous_until: date | None) -> Key:
        """Enter a made key as the active version."""

    def retire(self, key_id: str) -> Key:
        """Retire a key version, or refuse what the configuration needs."""

    def block_of(self, key_id: str) -> str | None:
        """Give the stored key block of an exportable key version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The new version, and the one that it took over from."""

    key: Key
    previous: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A key, and the key block that holds it."""

    key: Key
    block: str = field(repr=False)


class Custody:
    """The changes of keys, for the use cases of KeyService and for the command line.

    `storage` names the key that keeps exportable keys, `variants` the two keys of each legacy
    KBPK, `awaited` the keys that may come; `own` are the keys that only an operator changes.
    Every `timeout` is in seconds; what has waited that long for its turn changes nothing.
    """

    def __init__(
        self,
        *,
        zone: KeyZone,
        book: KeyBook,
        today: Callable[[], date],
        storage: str | None = None,
        variants: Mapping[str, tuple[str, str]] | None = None,
        awaited: Mapping[str, WantedKey] | None = None,
        own: Collection[str] = (),
    ) -> None:
        self._zone = zone
        self._book = book
        self._today = today
        self._storage = storage
        self._variants = variants or {}
        self._awaited = awaited or {}
        self._own = frozenset(own)

    def directory(self) -> KeyDirectory:
        """Give the keys as they are now."""
        return self._book.directory()

    def wanted(self, name: str, *, valid_until: date | None = None) -> WantedKey:
        """Say what the next version of a name is to be, or refuse a name that none may come for."""
        newest = self.directory().newest(name)
        if newest is not None:
            return WantedKey.like(newest, valid_until=valid_until)
        if name not in self._awaited:
            raise Refusal(Reason.KEY_UNKNOWN, field="name")
        return replace(self._awaited[name], valid_until=valid_until)

    def kbpk_names(self, reference: str) -> tuple[str, ...]:
        """Give the names of the keys that a key block protection key is made of."""
        return self._variants.get(reference, (_name_of(reference),))

    def generate(
        self,
        wanted: WantedKey,
        *,
        exportability: Exportability = Exportability.N,
        previous_until: date | None = None,
        timeout: float,
    ) -> Key:
        """Generate a key inside the token; one that shall be exportable is drawn and stored."""
        deadline = Deadline.after(timeout)
        with self._book.turn():
            new = self._next(wanted, previous_until)
            made = self._make(new, exportability, timeout=deadline.remaining())
            return self._book.add(made, previous_until=previous_until)

    def rotate(
        self,
        reference: str,
        *,
        exportable: bool | None = None,
        valid_until: date | None = None,
        previous_until: date | None = None,
        timeout: float,
    ) -> Rotated:
        """Make the next version of a key whose value is the service's own to choose.

        `name/version` rotates only while that version is active, so it can be said twice. What
        was not exportable does not become so.
        """
        deadline = Deadline.after(timeout)
        with self._book.turn():
            directory = self.directory()
            active = directory.find(reference, field="key")
            if active.state is not State.ACTIVE:
                raise Refusal(Reason.KEY_STATE, field="key")
            stored = self._is_stored(active, deadline, proved=exportable is not False)
            if active.origin is Origin.IMPORTED and not stored:
                raise _refused("key", "its value comes from a partner: import the next one")
            if exportable and not stored:
                raise Refusal(Reason.KEY_NOT_EXPORTABLE, field="exportable")
            goes_out = stored if exportable is None else exportable
            new = self._next(WantedKey.like(active, valid_until=valid_until), previous_until)
            exportability = Exportability.E if goes_out else Exportability.N
            made = self._make(new, exportability, timeout=deadline.remaining())
            key = self._book.add(made, previous_until=previous_until)
            return Rotated(key=key, previous=self.directory().find(active.id, field="key"))

    def retire(self, reference: str, *, check_value: str) -> Key:
        """Retire the version `name/version`, whose check value is said back to tell it apart."""
        with self._book.turn():
            key = self.directory().find(reference, field="key")
            if key.check_value != check_value.upper():
                raise Refusal(Reason.KEY_CHECK_VALUE_MISMATCH, field="check_value")
            if key.state is State.RETIRED:
                raise Refusal(Reason.KEY_STATE, field="key")
            self._require_not_own(key.name)
            if key.name == self._storage:
                raise _refused("key", "stored key blocks open under it: export their keys first")
            return self._book.retire(key.id)

    def import_block(
        self,
        wanted: WantedKey,
        block: str,
        *,
        kbpk: str,
        previous_until: date | None = None,
        timeout: float,
    ) -> Key:
        """Import a key from a key block, and store it again where its header lets it go out."""
        deadline = Deadline.after(timeout)
        with self._book.turn():
            under = self._opening(kbpk)
            self._require_not_storage(wanted.name)
            new = self._next(wanted, previous_until)
            made, stored = self._zone.import_block(
                new,
                block,
                kbpk=under,
                storage=self._storage_id() if self._storage is not None else None,
                known=self._known(new.algorithm),
                timeout=deadline.remaining(),
            )
            if stored is not None:
                self._book.keep(new.id, stored)
            return self._book.add(made, previous_until=previous_until)

    def export_block(self, reference: str, *, kbpk: str, version: str, timeout: float) -> Exported:
        """Give an exportable key as a key block of a version under another key."""
        deadline = Deadline.after(timeout)
        with self._book.turn():
            directory = self.directory()
            key = directory.find(reference, field="key")
            under = self._find(kbpk, Usage.K1, WRAPS, enciphers=True, field="kbpk")
            if key.state is State.RETIRED:
                raise Refusal(Reason.KEY_STATE, field="key")
            stored = self._book.block_of(key.id)
            if stored is None or self._storage is None:
                raise Refusal(Reason.KEY_NOT_EXPORTABLE, field="key")
            block = self._under_storage(
                lambda storage: self._zone.export_block(
                    stored,
                    storage=storage,
                    kbpk=under.id,
                    version=version,
                    check_value=key.check_value,
                    timeout=deadline.remaining(),
                )
            )
            return Exported(key=key, block=block)

    def import_cryptogram(
        self,
        wanted: WantedKey,
        wrapped: bytes,
        *,
        wrapping: str,
        check_value: str,
        previous_until: date | None = None,
        timeout: float,
    ) -> Key:
        """Unwrap a key inside the token; its check value is what its sender told."""
        deadline = Deadline.after(timeout)
        with self._book.turn():
            under = self._find(wrapping, Usage.K2, UNWRAPS, enciphers=False, field="wrapping_key")
            self._require_not_storage(wanted.name)
            new = self._next(wanted, previous_until)
            self._require_unknown(new.algorithm, check_value)
            made = self._zone.import_cryptogram(
                new,
                wrapped,
                wrapping=under.id,
                check_value=check_value,
                timeout=deadline.remaining(),
            )
            return self._book.add(made, previous_until=previous_until)

    def load_components(
        self,
        wanted: WantedKey,
        components: Sequence[KeyComponent],
        *,
        variant: bytes | None = None,
        check_value: str | None = None,
        previous_until: date | None = None,
        timeout: float,
    ) -> Key:
        """Load the key that the components of a ceremony make; `variant` is added to it."""
        deadline = Deadline.after(timeout)
        with self._book.turn():
            new = self._next(wanted, previous_until)
            combined = self.combined_check_value(components, new.algorithm, variant=variant)
            self._require_unknown(new.algorithm, combined)
            made = self._zone.combine(
                new,
                components,
                variant=variant,
                check_value=check_value,
                timeout=deadline.remaining(),
            )
            return self._book.add(made, previous_until=previous_until)

    def load_public(
        self,
        wanted: WantedKey,
        spki: bytes,
        *,
        previous_until: date | None = None,
        timeout: float,
    ) -> Key:
        """Load a partner's public key, given as DER SubjectPublicKeyInfo."""
        deadline = Deadline.after(timeout)
        with self._book.turn():
            new = self._next(wanted, previous_until)
            self._require_unknown(new.algorithm, hashlib.sha256(spki).hexdigest().upper())
            made = self._zone.load_public(new, spki, timeout=deadline.remaining())
            return self._book.add(made, previous_until=previous_until)

    def component_check_value(self, component: KeyComponent, algorithm: Algorithm) -> str:
        """Give the check value of one component, which its custodian compares."""
        return self._zone.component_check_value(component, algorithm)

    def combined_check_value(
        self, components: Sequence[KeyComponent], algorithm: Algorithm, *, variant: bytes | None
    ) -> str:
        """Give the check value of the key that components make."""
        return self._zone.combined_check_value(components, algorithm, variant=variant)

    def _make(self, new: NewKey, exportability: Exportability, *, timeout: float) -> MadeKey:
        """Make a key of the service's own choosing; if it may go out, its key block is stored."""
        if exportability is Exportability.N:
            return self._zone.generate(new, timeout=timeout)
        return self._zone.draw(
            new,
            exportability=exportability,
            storage=self._storage_id(),
            keep=lambda block: self._book.keep(new.id, block),
            left=self._book.block_of(new.id),
            known=self._known(new.algorithm),
            timeout=timeout,
        )

    def _is_stored(self, key: Key, deadline: Deadline, *, proved: bool) -> bool:
        """Whether a key may go out. That a file is there proves nothing: it must be the key's."""
        stored = self._book.block_of(key.id)
        if stored is None or not proved:
            return stored is not None
        self._under_storage(
            lambda storage: self._zone.require_kept(
                stored,
                storage=storage,
                check_value=key.check_value,
                timeout=deadline.remaining(),
            )
        )
        return True

    def _under_storage(self, work: Callable[[str], T]) -> T:
        """Give what comes of a stored key block under that version of the storage key it is of."""
        for storage in self.directory().versions(self._storage or ""):
            try:
                return work(storage.id)
            except Refusal as refusal:
                if refusal.reason not in NOT_STORED:
                    raise
        raise _refused("key", "its stored key block opens under no version of the storage key")

    def _next(self, wanted: WantedKey, previous_until: date | None) -> NewKey:
        """Give the next version of a name, which is what the versions before are, or refuse."""
        self._require_not_own(wanted.name)
        directory, today = self.directory(), self._today()
        newest = directory.newest(wanted.name)
        if newest is not None and _kind(newest) != _kind(wanted):
            raise Refusal(Reason.KEY_USAGE_MISMATCH, field="name")
        if wanted.valid_until is not None and wanted.valid_until < today:
            raise _invalid("valid_until", "the cryptoperiod would be over before it begins")
        active = directory.get(wanted.name)
        if previous_until is not None and (active is None or previous_until < today):
            raise _invalid("previous_until", "no active version could end on this day")
        if previous_until is None and active is not None and _is_over(active, today):
            raise _invalid(
                "previous_until",
                "the version before is past its last day: say until when"
                " it may decipher, today if it is not to",
            )
        version = newest.version + 1 if newest is not None else 1
        return wanted.as_version(version, valid_from=today)

    def _opening(self, reference: str) -> str | Variants:
        """Find what opens a key block: a KBPK, or the two variants of a legacy one."""
        if reference not in self._variants:
            return self._find(reference, Usage.K1, UNWRAPS, enciphers=False, field="kbpk").id
        encryption, mac = self._variants[reference]
        return Variants(
            encryption=self._find(encryption, Usage.K0, UNWRAPS, enciphers=False, field="kbpk").id,
            mac=self._find(mac, Usage.M1, frozenset({Mode.V}), enciphers=False, field="kbpk").id,
        )

    def _find(
        self, reference: str, usage: Usage, modes: frozenset[Mode], *, enciphers: bool, field: str
    ) -> Key:
        """Find a key for keys. The storage key is for the stored ones alone."""
        key = self.directory().find(reference, field=field)
        if key.name == self._storage:
            raise Refusal(Reason.KEY_USAGE_MISMATCH, field=field)
        today = self._today()
        require(key, usage=usage, modes=modes, enciphers=enciphers, today=today, field=field)
        return key

    def _storage_id(self) -> str:
        found = self.directory().get(self._storage) if self._storage is not None else None
        if found is None or not found.within_cryptoperiod(self._today()):
            raise _refused("key", "no storage key stands ready: see key_blocks.storage_key")
        return found.id

    def _known(self, algorithm: Algorithm) -> frozenset[str]:
        """Give the check values of all keys of a family, retired ones too."""
        family = algorithm.family
        return frozenset(k.check_value for k in self.directory() if k.algorithm.family == family)

    def _require_unknown(self, algorithm: Algorithm, check_value: str) -> None:
        # The check value of an AES key is told with three bytes or with five.
        if any(
            known.startswith(check_value) or check_value.startswith(known)
            for known in self._known(algorithm)
        ):
            raise Refusal(Reason.KEY_ALREADY_EXISTS, field="name")

    def _require_not_storage(self, name: str) -> None:
        # A sender knows what they send, and the stored key blocks are files.
        if name == self._storage:
            raise _refused("name", "the storage key is nobody else's: have it made in the token")

    def _require_not_own(self, name: str) -> None:
        if name in self._own:
            raise _refused("key", "the service stands on it: see docs/operations.md")


def _kind(key: Key | WantedKey) -> tuple[Usage, Algorithm, Mode, str | None]:
    """Give what all versions of a name have in common."""
    return key.usage, key.algorithm, key.mode, key.jwa


def _is_over(key: Key, today: date) -> bool:
    """Whether the last day of a key has passed; only while it is active does it still decipher."""
    return key.valid_until is not None and key.valid_until < today


def _name_of(reference: str) -> str:
    return reference.partition("/")[0]


def _refused(field: str, text: str) -> Refusal:
    return Refusal(Reason.KEY_CHANGE_REFUSED, violations=(Violation(field, text),))


def _invalid(field: str, text: str) -> Refusal:
    return Refusal(Reason.REQUEST_INVALID, violations=(Violation(field, text),))

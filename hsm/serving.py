"""What a device serves at one moment: the keys of its ring, and what may be done with each.

Rules:
- It never changes. Another key ring is another `Serving`, put in the place of this one at once.
- A group is what callers of the lane queue by. The groups of a key whose entry stays the same are
  the same in both, so that a change of ring parts no callers who could be answered together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hsm.errors import OperationNotPermitted, UnknownKey
from hsm.keyring import KeyEntry, Keyring
from hsm.mechanisms import JWA_PADDING, Operation, RsaPadding, permits

Run = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Calls that may be answered together, by one `run`. Each group is only itself."""

    run: Run


@dataclass(frozen=True, slots=True, eq=False)
class KeyGroup(Group):
    """Calls of one operation with one key that permits it."""

    entry: KeyEntry
    block_size: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Serving:
    """A key ring, its keys in use by id, their groups, and their public keys in DER."""

    keyring: Keyring
    entries: Mapping[str, KeyEntry]
    groups: Mapping[Operation, Mapping[str, KeyGroup]]
    public_keys: Mapping[str, bytes]

    def permitted(self, operation: Operation, key_id: str) -> KeyGroup:
        """The group of a key that may do this. UnknownKey or OperationNotPermitted otherwise."""
        group = self.groups[operation].get(key_id)
        if group is not None:
            return group
        if key_id not in self.entries:
            raise UnknownKey
        raise OperationNotPermitted(key=key_id, operation=operation.value[1])

    def permitted_padding(self, operation: Operation, key_id: str, padding: RsaPadding) -> KeyGroup:
        """As `permitted`; OperationNotPermitted too for another padding than the key ring's."""
        group = self.permitted(operation, key_id)
        if JWA_PADDING.get(group.entry.jwa or "") is not padding:
            raise OperationNotPermitted(key=key_id, padding=padding.value)
        return group

    def public_key(self, key_id: str) -> bytes:
        """That of a pair or a partner. UnknownKey, or OperationNotPermitted when it has none."""
        if key_id not in self.entries:
            raise UnknownKey
        try:
            return self.public_keys[key_id]
        except KeyError:
            raise OperationNotPermitted("the key has no public key", key=key_id) from None


def under(
    keyring: Keyring,
    public_keys: Mapping[str, bytes],
    run: Callable[[Operation, KeyEntry], Run],
    *,
    former: Serving | None = None,
) -> Serving:
    """What is served under a key ring; `run` tells how a group of a key is answered."""
    entries = {entry.id: _kept(entry, former) for entry in keyring.in_use}

    def group(operation: Operation, entry: KeyEntry) -> KeyGroup:
        known = former.groups[operation].get(entry.id) if former else None
        if known is not None and known.entry is entry:
            return known
        return KeyGroup(run(operation, entry), entry, entry.algorithm.block_size)

    groups = {
        operation: {
            entry.id: group(operation, entry)
            for entry in entries.values()
            if permits(entry, operation)
        }
        for operation in Operation
    }
    return Serving(keyring=keyring, entries=entries, groups=groups, public_keys=public_keys)


def _kept(entry: KeyEntry, former: Serving | None) -> KeyEntry:
    """The former entry where it is equal: what is known of it is known by identity."""
    known = former.entries.get(entry.id) if former else None
    return known if known == entry else entry

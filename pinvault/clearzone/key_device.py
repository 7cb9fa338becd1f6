"""The HSM as the key zone sees it: what it asks of a device, and the same words on both sides."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from hsm.device import KeyBlockKeys, KeyBlockVersion, KeySpec
from hsm.keyring import KeyEntry
from hsm.vocabulary import Algorithm, Mode, Usage
from pinvault.model import keys as model
from pinvault.model.custody import MadeKey, NewKey

T = TypeVar("T")


class KeyDevice(Protocol):
    """What of `hsm.device.Device` the key zone stands on."""

    def encipher(self, key_id: str, blocks: bytes, *, timeout: float) -> bytes:
        """See `Device`, here and below."""

    def decipher(self, key_id: str, blocks: bytes, *, timeout: float) -> bytes: ...

    def random(self, length: int, *, timeout: float) -> bytes: ...

    def with_key_block_keys(
        self,
        key_id: str,
        version: KeyBlockVersion,
        work: Callable[[KeyBlockKeys], T],
        *,
        opens: bool,
        timeout: float,
    ) -> T: ...

    def generate(self, spec: KeySpec, *, timeout: float) -> KeyEntry: ...

    def load_secret(
        self, spec: KeySpec, value: bytes, *, check_value: str | None, timeout: float
    ) -> KeyEntry: ...

    def load_public(self, spec: KeySpec, spki: bytes, *, timeout: float) -> KeyEntry: ...

    def unwrap_secret(
        self, key_id: str, wrapped: bytes, spec: KeySpec, *, check_value: str | None, timeout: float
    ) -> KeyEntry: ...


def algorithm_for(new: NewKey) -> Algorithm:
    """Give a new key's algorithm in the HSM's words."""
    return Algorithm(new.algorithm.value)


def spec_of(new: NewKey) -> KeySpec:
    """Give what the HSM is told of a new key."""
    return KeySpec(
        name=new.name,
        version=new.version,
        usage=Usage(new.usage.value),
        algorithm=algorithm_for(new),
        mode=Mode(new.mode.value),
        valid_from=new.valid_from,
        valid_until=new.valid_until,
        destroyable=new.destroyable,
        jwa=new.jwa,
    )


def made_of(new: NewKey, entry: KeyEntry) -> MadeKey:
    """Give what the HSM tells of a key that it has made or loaded."""
    return MadeKey(
        key=new,
        origin=model.Origin(entry.origin.value),
        check_value=entry.check_value,
        decipher_check_value=entry.decipher_check_value,
        derivation_check_value=entry.derivation_check_value,
    )

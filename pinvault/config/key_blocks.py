"""The section that lets keys come and go: clear keys, the storage key, and what may be awaited.

Rules:
- What a key that comes may be stands here, where a reviewer sees it; a call names it and no more.
- Clear keys are off unless they are switched on.
"""

from msgspec import field

from pinvault.config.section import Name, Section
from pinvault.model.custody import WantedKey
from pinvault.model.keys import Algorithm, Mode, Usage


class Variants(Section, frozen=True):
    """The two TDES keys of a legacy key block protection key: usages K0 and M1, by name."""

    encryption: Name
    mac: Name


class AwaitedKey(Section, frozen=True):
    """A key that the key ring does not have yet, and that may be imported."""

    usage: Usage
    algorithm: Algorithm
    mode: Mode
    jwa: str | None = None
    destroyable: bool = False

    def to_model(self, name: str) -> WantedKey:
        """Give the model's form."""
        return WantedKey(
            name=name,
            usage=self.usage,
            algorithm=self.algorithm,
            mode=self.mode,
            jwa=self.jwa,
            destroyable=self.destroyable,
        )


class KeyBlocks(Section, frozen=True):
    """Whether key blocks and ceremonies are on, and what stands ready for them.

    `storage_key` (K1, AES, mode B) keeps exportable keys as key blocks in `directory`.
    """

    clear_keys: bool = False
    storage_key: Name | None = None
    directory: str = "key-blocks"
    variants: dict[Name, Variants] = field(default_factory=dict)
    awaited: dict[Name, AwaitedKey] = field(default_factory=dict)

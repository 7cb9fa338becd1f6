"""ListKeys, GetKey and GetPublicKey: what a caller may know of the keys that it may use."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from pinvault.model.call import Call
from pinvault.model.keys import Key, KeyDirectory, Mode, Usage, require
from pinvault.operations.admission import Admission
from pinvault.policy.grants import Ask

DEFAULT_PAGE_SIZE = 100
# The keys of the HSM that clients seal PINs or wrap keys under: usage and mode of use.
SEALING = {Usage.D1: Mode.D, Usage.K0: Mode.D, Usage.K2: Mode.D, Usage.K3: Mode.X}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPage:
    """Some keys by name and version, and the `name/version` after which the next page begins."""

    keys: tuple[Key, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A sealing key version with its public half as DER SubjectPublicKeyInfo."""

    key: Key
    spki: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What KeyService tells. `public_half` gives the SPKI of a `name/version`."""

    directory: KeyDirectory
    admission: Admission
    public_half: Callable[[str], bytes]
    today: Callable[[], date]

    def list(self, call: Call, *, usage: Usage | None, page_size: int, after: str) -> KeyPage:
        """Give one page of the keys that the caller's rows for this method name."""
        self.admission.admit(call, Ask())
        rows = self.admission.grants.rows(caller=call.caller, method=call.method)
        granted = frozenset[str]().union(*(row.keys for row in rows))
        seen = [
            key
            for key in self.directory
            if key.name in granted and usage in (None, key.usage) and _place(key.id) > _place(after)
        ]
        page = seen[: page_size or DEFAULT_PAGE_SIZE]
        more = len(seen) > len(page)
        return KeyPage(keys=tuple(page), next_page_token=page[-1].id if more else "")

    def get(self, call: Call, *, reference: str) -> Key:
        """Give one key version."""
        key = self.directory.find(reference, field="key")
        self._permit(call, key)
        return key

    def public_key(self, call: Call, *, name: str) -> tuple[PublicKey, ...]:
        """Give the public halves of a sealing key, the active version first."""
        active = self.directory.find(name, field="key")
        require(
            active,
            usage=active.usage if active.usage in SEALING else Usage.D1,
            modes=frozenset({SEALING.get(active.usage, Mode.D)}),
            enciphers=True,  # the client does, under the public half
            today=self.today(),
            field="key",
        )
        self._permit(call, active)
        others = [key for key in self.directory.versions(name) if key is not active]
        return tuple(PublicKey(key=key, spki=self.public_half(key.id)) for key in (active, *others))

    def _permit(self, call: Call, key: Key) -> None:
        call.notes.keys.append(key)
        self.admission.admit(call, Ask(keys=frozenset({key.name})))


def _place(key_id: str) -> tuple[str, int]:
    """Order `name/version` by name, then by version as a number; the empty text comes first."""
    name, _, version = key_id.partition("/")
    return name, int(version or 0)

"""Finds what a call names: keys and profiles that exist, fit their place, and are granted.

Rules:
- Existence, usage, mode, state, cryptoperiod, algorithm and format are checked here, in
  that order, with precise refusals; then the grants; then the limits. The HSM has not
  been touched by then.
- All PANs that a call names are the same, compared as text: a format 0 block would not
  notice a change in two of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from pinvault.clearzone.zone import (
    BlockToMake,
    FieldToMake,
    Sealed,
    SealedBlock,
    SealedEnvelope,
)
from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key, KeyDirectory, Mode, Usage, require
from pinvault.model.pan import Pan
from pinvault.model.pins import (
    EnvelopeSource,
    Format,
    PinBlockSource,
    PinBlockTarget,
    PinSource,
)
from pinvault.model.profiles import Profile, RsaFieldProfile, SealedJweProfile
from pinvault.operations.admission import Admission
from pinvault.policy.grants import Ask
from pinvault.policy.translation import Permission, permission_for

ENCIPHERING = frozenset({Mode.E, Mode.B})
DECIPHERING = frozenset({Mode.D, Mode.B})

Target = BlockToMake | FieldToMake


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """What the operations resolve names with. `today` gives the UTC day."""

    keys: KeyDirectory
    profiles: Mapping[str, Profile]
    admission: Admission
    today: Callable[[], date]

    def source(self, source: PinSource, *, at: str) -> Sealed:
        """Resolve a source; `at` is its field in the request."""
        if isinstance(source, PinBlockSource):
            key = self._block_key(source.key, source.format, DECIPHERING, at=f"{at}.pin_block")
            if len(source.ciphertext) != source.format.block_bytes:
                raise Refusal(Reason.FORMAT_KEY_MISMATCH, field=f"{at}.pin_block.ciphertext")
            return SealedBlock(
                key=key, format=source.format, pan=source.pan, ciphertext=source.ciphertext
            )
        return self._sealed_envelope(source, at=f"{at}.envelope")

    def block(self, target: PinBlockTarget, *, at: str) -> BlockToMake:
        """Resolve a PIN block target."""
        key = self._block_key(target.key, target.format, ENCIPHERING, at=at)
        return BlockToMake(key=key, format=target.format, pan=target.pan)

    def partner_field(self, profile_name: str, *, at: str) -> FieldToMake:
        """Resolve an outgoing profile."""
        profile = self._profile(profile_name, at=at)
        if not isinstance(profile, RsaFieldProfile):
            raise Refusal(Reason.PROFILE_MISMATCH, field=at)
        key = self.keys.find(profile.key, field=at)
        self._require(key, Usage.D1, ENCIPHERING, at=at)
        return FieldToMake(key=key, profile=profile)

    def admit(
        self, call: Call, sources: tuple[Sealed, ...], target: Target, pan: Pan | None
    ) -> None:
        """Note what the call is about, then let it pass the grants and the limits."""
        call.notes.keys.extend(source.key for source in sources if isinstance(source, SealedBlock))
        call.notes.keys.append(target.key)
        call.notes.sources.extend(_word(source) for source in sources)
        call.notes.target = _word(target)
        self.admission.admit(call, _ask(sources, target), pan)

    def _block_key(
        self, reference: str, block_format: Format, modes: frozenset[Mode], *, at: str
    ) -> Key:
        key = self.keys.find(reference, field=f"{at}.key")
        self._require(key, Usage.P0, modes, at=f"{at}.key")
        if key.algorithm.block_bytes != block_format.block_bytes:
            raise Refusal(Reason.FORMAT_KEY_MISMATCH, field=f"{at}.format")
        return key

    def _sealed_envelope(self, source: EnvelopeSource, *, at: str) -> SealedEnvelope:
        profile = self._profile(source.profile, at=f"{at}.profile")
        if not isinstance(profile, SealedJweProfile):
            raise Refusal(Reason.PROFILE_MISMATCH, field=f"{at}.profile")
        today = self.today()
        begun = {k.id: k for k in self.keys.versions(profile.key) if k.valid_from <= today}
        if not begun:
            raise Refusal(Reason.KEY_STATE, field=f"{at}.profile")
        for key in begun.values():
            self._require(key, Usage.D1, DECIPHERING, at=f"{at}.profile")
        return SealedEnvelope(
            profile=profile, keys=begun, pan=source.pan, ciphertext=source.ciphertext
        )

    def _profile(self, name: str, *, at: str) -> Profile:
        profile = self.profiles.get(name)
        if profile is None:
            raise Refusal(Reason.PROFILE_UNKNOWN, field=at)
        return profile

    def _require(self, key: Key, usage: Usage, modes: frozenset[Mode], *, at: str) -> None:
        require(
            key,
            usage=usage,
            modes=modes,
            enciphers=modes is ENCIPHERING,
            today=self.today(),
            field=at,
        )


def one_pan(*pans: Pan | None) -> Pan | None:
    """Give the one PAN that all given ones are, None when there is none, or refuse."""
    named = [pan for pan in pans if pan is not None]
    for pan in named[1:]:
        if not pan.same_as(named[0]):
            raise Refusal(Reason.PAN_MISMATCH)
    return named[0] if named else None


def _ask(sources: tuple[Sealed, ...], target: Target) -> Ask:
    """Collect what a grant must name: keys of PIN blocks, formats, profiles, translations."""
    parts = (*sources, target)
    blocks = [part for part in parts if isinstance(part, SealedBlock | BlockToMake)]
    return Ask(
        keys=frozenset(block.key.name for block in blocks),
        formats=frozenset(block.format for block in blocks),
        profiles=frozenset(
            part.profile.name for part in parts if isinstance(part, SealedEnvelope | FieldToMake)
        ),
        translations=_translations(sources, target),
    )


def _translations(sources: tuple[Sealed, ...], target: Target) -> frozenset[Permission]:
    """Give the permissions that the step to a PIN block needs, or refuse one that is forbidden."""
    if not isinstance(target, BlockToMake):
        return frozenset()
    needed = set()
    for source in sources:
        if isinstance(source, SealedBlock):
            needed.add(permission_for(source.format, target.format))
        elif source.profile.bind_pan and not target.format.carries_pan:
            raise Refusal(Reason.TRANSLATION_FORBIDDEN, field="target.pin_block.format")
    return frozenset(needed - {Permission.NONE})


def _word(part: Sealed | Target) -> str:
    """Name a source or target in the record: a format, or a profile."""
    if isinstance(part, SealedBlock | BlockToMake):
        return part.format.value
    return part.profile.name

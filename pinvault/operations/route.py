"""Finds what a call names: keys, profiles and schemes that exist, fit their place, and are granted.

Rules:
- Existence, usage, mode, state, cryptoperiod, algorithm and format are checked here, in
  that order, with precise refusals; then the grants; then the limits. The HSM has not
  been touched by then.
- All PANs that a call names are the same, compared as text: a format 0 block would not
  notice a change in two of them.
- A PIN comes in and goes out only in formats that PCI PIN 3-3 knows for it.
- A stored PIN is no source here: what a PIN is checked with comes by here, and a stored one would
  always match. Who may take one has resolved it before (`Desk.source`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

from pinvault.clearzone.parcels import (
    BlockToMake,
    EnvelopeToMake,
    Sealed,
    SealedBlock,
    SealedEnvelope,
    ToMake,
    Transaction,
)
from pinvault.model import dukpt
from pinvault.model.errors import Reason, Refusal, Violation
from pinvault.model.keys import Key, KeyDirectory, Mode, Usage, require
from pinvault.model.pan import Pan
from pinvault.model.pins import (
    CardSource,
    EnvelopeSource,
    EnvelopeTarget,
    Format,
    PinBlockSource,
    PinBlockTarget,
    PinSource,
    PinTarget,
)
from pinvault.model.profiles import IncomingProfile, OutgoingProfile, Profile
from pinvault.policy.translation import SOURCES, TARGETS

ENCIPHERING = frozenset({Mode.E, Mode.B})
DECIPHERING = frozenset({Mode.D, Mode.B})
DERIVING = frozenset({Mode.X})


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """What the operations resolve names with.

    `variants` gives, by the name of a TDES base derivation key, that of its variant,
    `legacy_formats` the one format of each key that is kept for one; `today` the UTC day.
    `kept_for_store` names the keys of what is stored, which no call may name.
    """

    keys: KeyDirectory
    profiles: Mapping[str, Profile]
    today: Callable[[], date]
    variants: Mapping[str, str] = field(default_factory=dict)
    legacy_formats: Mapping[str, Format] = field(default_factory=dict)
    kept_for_store: frozenset[str] = frozenset()
    _deciphering: frozenset[str] = field(init=False, repr=False)
    _enciphering: frozenset[str] = field(init=False, repr=False)
    _kept: Mapping[str, Format] = field(init=False, repr=False)
    _stored: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Tell keys by their check values: one value may have two names."""
        zone = [key for key in self.keys if key.usage is Usage.P0]
        for name, modes in (("_deciphering", DECIPHERING), ("_enciphering", ENCIPHERING)):
            found = frozenset(key.check_value for key in zone if key.mode in modes)
            object.__setattr__(self, name, found)
        kept = {
            key.check_value: self.legacy_formats[key.name]
            for key in zone
            if key.name in self.legacy_formats
        }
        object.__setattr__(self, "_kept", kept)
        stored = frozenset(k.check_value for k in zone if k.name in self.kept_for_store)
        object.__setattr__(self, "_stored", stored)

    def source(self, source: PinSource, *, caller: str, at: str, card_id: str = "") -> Sealed:
        """Resolve a source; `at` is its field in the request, `card_id` the call's card, if any."""
        if isinstance(source, PinBlockSource):
            return self.sealed_block(source, at=f"{at}.pin_block")
        if isinstance(source, CardSource):
            raise Refusal(Reason.NOT_SUPPORTED, field=f"{at}.card")
        return self._sealed_envelope(source, caller=caller, card_id=card_id, at=f"{at}.envelope")

    def sealed_block(self, source: PinBlockSource, *, at: str) -> SealedBlock:
        """Resolve a PIN block source."""
        if source.format not in SOURCES:
            raise Refusal(Reason.TRANSLATION_FORBIDDEN, field=f"{at}.format")
        key, transaction = self._block_key(source, DECIPHERING, at=at)
        self._require_kept(key, source.format, at=at)
        if len(source.ciphertext) != source.format.block_bytes:
            raise Refusal(Reason.FORMAT_KEY_MISMATCH, field=f"{at}.ciphertext")
        return SealedBlock(
            key=key,
            format=source.format,
            pan=source.pan,
            ciphertext=source.ciphertext,
            transaction=transaction,
            choosable=transaction is not None or key.check_value in self._enciphering,
        )

    def target(self, target: PinTarget, *, at: str) -> ToMake:
        """Resolve a target; `at` is its field in the request."""
        if isinstance(target, PinBlockTarget):
            return self.block(target, at=f"{at}.pin_block")
        return self.envelope(target, at=f"{at}.envelope.profile")

    def block(self, target: PinBlockTarget, *, at: str) -> BlockToMake:
        """Resolve a PIN block target."""
        if target.format not in TARGETS:
            raise Refusal(Reason.TRANSLATION_FORBIDDEN, field=f"{at}.format")
        key, transaction = self._block_key(target, ENCIPHERING, at=at)
        self._require_kept(key, target.format, at=at)
        return BlockToMake(
            key=key,
            format=target.format,
            pan=target.pan,
            transaction=transaction,
            reopens=transaction is not None or key.check_value in self._deciphering,
        )

    def envelope(self, target: EnvelopeTarget, *, at: str) -> EnvelopeToMake:
        """Resolve an outgoing profile."""
        profile = self._profile(target.profile, at=at)
        if not isinstance(profile, OutgoingProfile):
            raise Refusal(Reason.PROFILE_MISMATCH, field=at)
        key = self.keys.find(profile.key, field=at)
        self.require(key, profile.usage, frozenset({profile.mode}), enciphers=True, at=at)
        return EnvelopeToMake(key=key, profile=profile, pan=target.pan)

    def require(
        self, key: Key, usage: Usage, modes: frozenset[Mode], *, enciphers: bool, at: str
    ) -> None:
        """Refuse a key that does not fit the place it is named in, today."""
        require(key, usage=usage, modes=modes, enciphers=enciphers, today=self.today(), field=at)

    def _block_key(
        self, block: PinBlockSource | PinBlockTarget, modes: frozenset[Mode], *, at: str
    ) -> tuple[Key, Transaction | None]:
        key, enciphers = self.keys.find(block.key, field=f"{at}.key"), modes is ENCIPHERING
        if block.dukpt is None:
            self._require_not_stored(key, at=f"{at}.key")
            self.require(key, Usage.P0, modes, enciphers=enciphers, at=f"{at}.key")
            _require_fit(key.algorithm.block_bytes, block.format, at=at)
            return key, None
        self.require(key, Usage.B0, DERIVING, enciphers=enciphers, at=f"{at}.key")
        dukpt.require(block.dukpt, base=key.algorithm, at=f"{at}.dukpt")
        _require_fit(block.dukpt.working_key.block_bytes, block.format, at=at)
        variant = None
        if key.algorithm.startswith("TDES"):
            variant = self._variant(key, enciphers=enciphers, at=at)
        return key, Transaction(dukpt=block.dukpt, variant=variant)

    def _require_not_stored(self, key: Key, *, at: str) -> None:
        """A stored block is its card's alone: named here, it could be guessed at without end."""
        if key.usage is Usage.P0 and key.check_value in self._stored:
            raise Refusal(Reason.KEY_USAGE_MISMATCH, field=at)

    def _require_kept(self, key: Key, block_format: Format, *, at: str) -> None:
        """A key has one legacy format and nothing else, or none: another's blocks pass as it."""
        kept = self._kept.get(key.check_value)
        if (kept is not None or block_format.is_legacy) and kept is not block_format:
            raise Refusal(Reason.FORMAT_KEY_MISMATCH, field=f"{at}.format")

    def _variant(self, key: Key, *, enciphers: bool, at: str) -> Key:
        """Give the variant of a TDES base key, where the configuration lets it be used at all."""
        name = self.variants.get(key.name)
        if name is None:
            raise Refusal(Reason.NOT_SUPPORTED, field=f"{at}.dukpt")
        variant = self.keys.find(f"{name}/{key.version}", field=f"{at}.key")
        self.require(variant, Usage.B0, DERIVING, enciphers=enciphers, at=f"{at}.key")
        return variant

    def _sealed_envelope(
        self, source: EnvelopeSource, *, caller: str, card_id: str, at: str
    ) -> SealedEnvelope:
        profile = self._profile(source.profile, at=f"{at}.profile")
        if not isinstance(profile, IncomingProfile) or (profile.bind_card and not card_id):
            raise Refusal(Reason.PROFILE_MISMATCH, field=f"{at}.profile")
        # A call's card has a PAN of its own, which is put in when it has been opened.
        if profile.bound and source.pan is None and not card_id:
            unbound = Violation(f"{at}.pan", "the profile is bound to a PAN, and none is given")
            raise Refusal(Reason.REQUEST_INVALID, violations=(unbound,))
        today = self.today()
        usable = {k.id: k for k in self.keys.versions(profile.key) if k.deciphers(today)}
        if not usable:
            raise Refusal(Reason.KEY_STATE, field=f"{at}.profile")
        for key in usable.values():
            self.require(
                key,
                profile.usage,
                frozenset({profile.mode}),
                enciphers=False,
                at=f"{at}.profile",
            )
        return SealedEnvelope(
            profile=profile,
            keys=usable,
            pan=source.pan,
            caller=caller,
            ciphertext=source.ciphertext,
            card_id=card_id,
        )

    def _profile(self, name: str, *, at: str) -> Profile:
        profile = self.profiles.get(name)
        if profile is None:
            raise Refusal(Reason.PROFILE_UNKNOWN, field=at)
        return profile


def one_pan(*pans: Pan | None) -> Pan | None:
    """Give the one PAN that all given ones are, None when there is none, or refuse."""
    named = [pan for pan in pans if pan is not None]
    for pan in named[1:]:
        if not pan.same_as(named[0]):
            raise Refusal(Reason.PAN_MISMATCH)
    return named[0] if named else None


def _require_fit(block_bytes: int, block_format: Format, *, at: str) -> None:
    if block_bytes != block_format.block_bytes:
        raise Refusal(Reason.FORMAT_KEY_MISMATCH, field=f"{at}.format")

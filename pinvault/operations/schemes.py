"""Finds the verification schemes and script profiles that a call names.

Rules:
- A scheme is of the kind that the call takes it for, and its key fits; else a precise refusal,
  before the HSM is touched.
- To verify takes a key that may verify, to generate one that may generate (X9.143 modes V, G, C).
- The active version of a key makes. What is known to be made by another version is verified by
  that one, as long as its state lets it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pinvault.clearzone.emv import ScriptToMake
from pinvault.clearzone.parcels import (
    Method,
    OffsetMethod,
    OffsetReference,
    PvvMethod,
    PvvReference,
    ValueReference,
)
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key, Mode, Usage
from pinvault.model.pan import Pan
from pinvault.model.references import SchemeRef, ValueRef
from pinvault.model.scripts import ScriptProfile
from pinvault.model.verification import (
    Ibm3624Scheme,
    PinOffset,
    Pvv,
    VisaPvvScheme,
)
from pinvault.operations.route import DERIVING, Router

VERIFYING = frozenset({Mode.V, Mode.C})
GENERATING = frozenset({Mode.G, Mode.C})

Scheme = VisaPvvScheme | Ibm3624Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Schemes:
    """The schemes and script profiles of the configuration, by name."""

    router: Router
    verification: Mapping[str, Scheme] = field(default_factory=dict)
    scripts: Mapping[str, ScriptProfile] = field(default_factory=dict)

    def method(
        self, ref: SchemeRef, modes: frozenset[Mode], *, at: str, version: str = ""
    ) -> Method:
        """Resolve a scheme to compute with, under its key's active version or `name/version`."""
        scheme = self.verification.get(ref.name)
        if scheme is None:
            raise Refusal(Reason.SCHEME_UNKNOWN, field=f"{at}.name")
        if isinstance(scheme, Ibm3624Scheme):
            if ref.key_index is not None:
                raise Refusal(Reason.SCHEME_MISMATCH, field=f"{at}.name")
            key = self._key(scheme.key, version, Usage.V1, modes, at=at)
            return OffsetMethod(scheme=scheme, key=key)
        if ref.key_index is None:
            raise Refusal(Reason.SCHEME_MISMATCH, field=f"{at}.name")
        name = scheme.keys.get(ref.key_index)
        if name is None:
            raise Refusal(Reason.SCHEME_UNKNOWN, field=f"{at}.key_index")
        key = self._key(name, version, Usage.V2, modes, at=at)
        return PvvMethod(scheme=scheme, key=key, key_index=ref.key_index)

    def reference(
        self, value: ValueRef, modes: frozenset[Mode], *, at: str, version: str = ""
    ) -> ValueReference:
        """Resolve a verification value to compare with; `version` is what made it, if known."""
        method = self.method(value.scheme, modes, at=f"{at}.scheme", version=version)
        if isinstance(method, PvvMethod):
            return PvvReference(
                method=method, value=Pvv(value=value.digits, key_index=method.key_index)
            )
        if len(value.digits) != method.scheme.check_length:
            raise Refusal(Reason.SCHEME_MISMATCH, field=f"{at}.offset")
        return OffsetReference(method=method, value=PinOffset(value=value.digits))

    def script(
        self, name: str, *, pan: Pan, sequence: int, cryptogram: bytes, message: bytes
    ) -> ScriptToMake:
        """Resolve a script profile for one card and transaction."""
        profile = self.scripts.get(name)
        if profile is None:
            raise Refusal(Reason.SCHEME_UNKNOWN, field="script")
        cryptograms = profile.cryptograms
        return ScriptToMake(
            profile=profile,
            confidentiality=self._master(profile.confidentiality, Usage.E1),
            integrity=self._master(profile.integrity, Usage.E2),
            cryptograms=None if cryptograms is None else self._master(cryptograms, Usage.E0),
            pan=pan,
            sequence=sequence,
            cryptogram=cryptogram,
            message=message,
        )

    def _master(self, name: str, usage: Usage) -> Key:
        """Find a key that those of cards are derived from."""
        return self._key(name, "", usage, DERIVING, at="script")

    def _key(
        self, name: str, version: str, usage: Usage, modes: frozenset[Mode], *, at: str
    ) -> Key:
        """Find the active version, or another; past its cryptoperiod it verifies what it made."""
        key = self.router.keys.find(version or name, field=at)
        if key.name != name:
            raise Refusal(Reason.SCHEME_MISMATCH, field=at)
        self.router.require(key, usage, modes, enciphers=modes is not VERIFYING, at=at)
        return key

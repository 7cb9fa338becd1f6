"""Asks the policy whether a call may pass: what it needs of a grant, and what is noted of it.

Rules:
- A call asks for every key of a PIN block, every format, profile and scheme that it touches,
  and for leave to take each step between formats that needs it. Of a stored PIN it asks for the
  program alone, whose keys and format are no choice of the caller's.
- A PIN block that opens for other PANs too belongs to the first that it is shown for.
- What opens and accepts PINs afterwards does so on the terms of the row that let the call pass.
- Every PIN block that is made under a TDES key comes by here, and is counted before it is made.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeGuard

from pinvault.clearzone.emv import ScriptToMake
from pinvault.clearzone.parcels import (
    BlockToMake,
    EnvelopeToMake,
    Method,
    OffsetMethod,
    Sealed,
    SealedBlock,
    StoredOf,
    ToMake,
    is_bound,
)
from pinvault.clearzone.zone import Terms
from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.operations.admission import Admission
from pinvault.policy.grants import Ask
from pinvault.policy.translation import Permission, permission_for

_BLOCKS = (SealedBlock, BlockToMake)
_STORED = "card"
_NOTHING = Permission.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What one call does: from which sources, to which targets, by which methods, for which PAN.

    The keys of methods and scripts are granted by the names of these, and those of a stored card
    with its `program`. `target_at` is the field in the request of the PIN block to be made.
    """

    sources: tuple[Sealed, ...] = ()
    targets: tuple[ToMake, ...] = ()
    methods: tuple[Method, ...] = ()
    script: ScriptToMake | None = None
    pan: Pan | None = None
    permissions: frozenset[Permission] = field(default_factory=frozenset)
    target_at: str = ""
    program: str = ""

    @property
    def stored(self) -> tuple[StoredOf, ...]:
        """Of whose cards the stored PINs are that the call takes."""
        blocks = (part.stored for part in self.sources if isinstance(part, SealedBlock))
        return tuple(stored for stored in blocks if stored is not None)

    def admit(self, call: Call, admission: Admission) -> Terms:
        """Note what the call is about; then let it pass the grants and the limits, or refuse."""
        admission.note(call, self.pan)
        self.note(call)
        return self.let_pass(call, admission)

    def note(self, call: Call) -> None:
        """Note for the record what takes part."""
        notes = call.notes
        for part in (*self.sources, *self.targets):
            notes.keys += _keys_of(part)
        notes.keys += dict.fromkeys(method.key for method in self.methods)
        if self.script is not None:
            notes.keys += self.script.keys
        notes.sources += map(_word, self.sources)
        notes.target = "+".join((*map(_word, self.targets), *dict.fromkeys(self._schemes())))

    def let_pass(self, call: Call, admission: Admission) -> Terms:
        """Let the call pass the grants and the limits, or refuse."""
        grant = admission.admit(
            call,
            self.ask(),
            self.pan,
            blocks=[mark(part.key, part.ciphertext) for part in self.sources if _has_aliases(part)],
            naturals=self._naturals(),
        )
        for target in self.targets:
            if _wears(target):
                at = f"{self.target_at}.key" if self.target_at else ""
                admission.wear(target.key, call.notes.items or 1, at=at)
        return Terms(deadline=call.deadline, pin_length=grant.pin_length, rules=grant.pin_rules)

    def _schemes(self) -> list[str]:
        named = [method.scheme.name for method in self.methods]
        return named if self.script is None else [*named, self.script.profile.name]

    def _naturals(self) -> set[bytes]:
        """Give what the natural PINs are made of that the methods use: cards may share it."""
        if self.pan is None:
            return set()
        return {
            b"%b %b" % (method.key.id.encode(), method.scheme.validation.block(self.pan))
            for method in self.methods
            if isinstance(method, OffsetMethod)
        }

    def ask(self) -> Ask:
        """Give what a grant must cover."""
        parts = [part for part in (*self.sources, *self.targets) if not _is_stored(part)]
        blocks = [part for part in parts if isinstance(part, _BLOCKS)]
        needed = [*self.permissions, *self._steps()]
        return Ask(
            keys=[block.key.name for block in blocks],
            formats=[block.format for block in blocks],
            profiles=[part.profile.name for part in parts if not isinstance(part, _BLOCKS)],
            translations=[permission for permission in needed if permission is not _NOTHING],
            schemes=self._schemes(),
            programs={name for name in (self.program, *self._programs()) if name},
        )

    def _programs(self) -> list[str]:
        return [stored.program for stored in self.stored]

    def _steps(self) -> list[Permission]:
        """Give the permissions that the steps to targets need, or refuse a step."""
        return [
            step(source, target, at=self.target_at)
            for source in self.sources
            for target in self.targets
        ]


def step(source: Sealed, target: ToMake, *, at: str) -> Permission:
    """Give what the step from a source to a target needs, or refuse it."""
    if not isinstance(target, BlockToMake):
        is_format_1 = isinstance(source, SealedBlock) and source.format is Format.ISO_1
        return Permission.ISO_1_TO_PAN if is_format_1 else Permission.NONE
    if isinstance(source, SealedBlock):
        return permission_for(source.format, target.format, at=at)
    if source.profile.bound and not target.format.carries_pan:
        raise Refusal(Reason.TRANSLATION_FORBIDDEN, field=f"{at}.format")
    return Permission.NONE


def _keys_of(part: Sealed | ToMake) -> list[Key]:
    """Give the keys that a source or target is known to use; an envelope tells when it opens."""
    if isinstance(part, SealedBlock | BlockToMake):
        variant = part.transaction.variant if part.transaction is not None else None
        return [part.key] if variant is None else [part.key, variant]
    return [part.key] if isinstance(part, EnvelopeToMake) else []


def mark(key: Key, block: bytes) -> bytes:
    """Tell a PIN block under a key from every other, whatever the key is called."""
    return b"%b %b" % (key.check_value.encode(), block)


def _has_aliases(source: Sealed) -> TypeGuard[SealedBlock]:
    """Whether a source opens for other PANs too: PIN blocks of every format but 4."""
    return isinstance(source, SealedBlock) and source.format is not Format.ISO_4


def require_bound(sources: Iterable[tuple[Sealed, str]]) -> None:
    """Refuse sources that are bound to no PAN; each comes with its field in the request."""
    for source, at in sources:
        if not is_bound(source):
            raise Refusal(Reason.SOURCE_UNBOUND, field=at)


def leave_to_bind(*sources: Sealed) -> frozenset[Permission]:
    """Give the permission that sources need when a PIN is to be taken for one of the call's PAN."""
    bound = all(map(is_bound, sources))
    return frozenset() if bound else frozenset({Permission.ISO_1_TO_PAN})


def _is_stored(part: Sealed | ToMake) -> bool:
    return isinstance(part, SealedBlock) and part.stored is not None


def _wears(target: ToMake) -> bool:
    """Whether a block is made under the key itself, in TDES; DUKPT makes a key for each."""
    return (
        isinstance(target, BlockToMake)
        and target.transaction is None
        and target.key.algorithm.family == "TDES"
    )


def _word(part: Sealed | ToMake) -> str:
    """Name a source or target in the record: a format, a profile, or that it was stored."""
    if _is_stored(part):
        return _STORED
    if isinstance(part, _BLOCKS):
        word = part.format.value
        return word if part.transaction is None else f"{word}-DUKPT"
    return part.profile.name

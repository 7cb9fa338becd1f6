"""Asks the policy whether a call may pass: what it needs of a grant, and what is noted of it.

Rules:
- A call asks for every key of a PIN block, every format, profile and scheme that it touches,
  and for leave to take each step between formats that needs it.
- What opens and accepts PINs afterwards does so on the terms of the row that let the call pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pinvault.clearzone.parcels import (
    BlockToMake,
    EnvelopeToMake,
    Sealed,
    SealedBlock,
    SealedEnvelope,
    ToMake,
    is_bound,
)
from pinvault.clearzone.zone import Terms
from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.operations.admission import Admission
from pinvault.policy.grants import Ask
from pinvault.policy.translation import Permission, permission_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What one call does: from which sources, to which targets, by which schemes, for which PAN.

    `method_keys` are the keys of the schemes: noted, and granted by the schemes' names.
    """

    sources: tuple[Sealed, ...] = ()
    targets: tuple[ToMake, ...] = ()
    schemes: frozenset[str] = frozenset()
    method_keys: tuple[Key, ...] = ()
    pan: Pan | None = None
    permissions: frozenset[Permission] = field(default_factory=frozenset)

    def admit(self, call: Call, admission: Admission) -> Terms:
        """Note what the call is about; then let it pass the grants and the limits, or refuse."""
        notes = call.notes
        notes.keys.extend(part.key for part in self.sources if isinstance(part, SealedBlock))
        notes.keys.extend(part.key for part in self.targets)
        notes.keys.extend(self.method_keys)
        notes.sources.extend(_word(part) for part in self.sources)
        notes.target = "+".join((*map(_word, self.targets), *sorted(self.schemes)))
        grant = admission.admit(call, self._ask(), self.pan)
        return Terms(deadline=call.deadline, pin_length=grant.pin_length, rules=grant.pin_rules)

    def _ask(self) -> Ask:
        parts = (*self.sources, *self.targets)
        blocks = [part for part in parts if isinstance(part, SealedBlock | BlockToMake)]
        return Ask(
            keys=frozenset(block.key.name for block in blocks),
            formats=frozenset(block.format for block in blocks),
            profiles=frozenset(
                part.profile.name
                for part in parts
                if isinstance(part, SealedEnvelope | EnvelopeToMake)
            ),
            translations=(self.permissions | self._steps()) - {Permission.NONE},
            schemes=self.schemes,
        )

    def _steps(self) -> frozenset[Permission]:
        """Give the permissions that the steps to PIN blocks need, or refuse a step."""
        blocks = [target for target in self.targets if isinstance(target, BlockToMake)]
        return frozenset(step(source, target) for source in self.sources for target in blocks)


def step(source: Sealed, target: BlockToMake) -> Permission:
    """Give what the step from a source to a PIN block needs, or refuse it."""
    if isinstance(source, SealedBlock):
        return permission_for(source.format, target.format)
    if source.profile.bound and not target.format.carries_pan:
        raise Refusal(Reason.TRANSLATION_FORBIDDEN, field="target.pin_block.format")
    return Permission.NONE


def require_bound(sources: Iterable[tuple[Sealed, str]]) -> None:
    """Refuse sources that are bound to no PAN; each comes with its field in the request."""
    for source, at in sources:
        if not is_bound(source):
            raise Refusal(Reason.SOURCE_UNBOUND, field=at)


def leave_to_bind(*sources: Sealed) -> frozenset[Permission]:
    """Give the permission that sources need when a PIN is to be taken for one of the call's PAN."""
    bound = all(map(is_bound, sources))
    return frozenset() if bound else frozenset({Permission.ISO_1_TO_PAN})


def _word(part: Sealed | ToMake) -> str:
    """Name a source or target in the record: a format, or a profile."""
    if isinstance(part, SealedBlock | BlockToMake):
        word = part.format.value
        return word if part.transaction is None else f"{word}-DUKPT"
    return part.profile.name

"""GenerateVerificationValue: the PVV or offset of a PIN that its cardholder has chosen."""

from dataclasses import dataclass

from pinvault.clearzone.parcels import Method, OffsetMethod, Sealed, SealedEnvelope
from pinvault.model.call import Call
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import PinSource
from pinvault.model.references import SchemeRef
from pinvault.model.verification import PinOffset, Pvv
from pinvault.operations.desk import Desk
from pinvault.operations.passage import Passage, require_bound
from pinvault.operations.route import one_pan
from pinvault.operations.schemes import GENERATING
from pinvault.policy.translation import Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedValue:
    """The value, and the keys of both sides."""

    value: Pvv | PinOffset
    source_key: Key
    verification_key: Key


@dataclass(frozen=True, slots=True)
class GenerateVerificationValue:
    """The use case, with what it stands on."""

    desk: Desk

    def __call__(
        self, call: Call, *, source: PinSource, pan: Pan, scheme: SchemeRef
    ) -> GeneratedValue:
        """Give the PIN's value, or refuse."""
        desk = self.desk
        one_pan(pan, source.pan)
        sealed = desk.source(call, source, pan=pan, at="source")
        require_bound([(sealed, "source")])
        method = desk.schemes.method(scheme, GENERATING, at=f"scheme.{scheme.kind}")
        passage = Passage(
            sources=(sealed,),
            methods=(method,),
            pan=pan,
            permissions=_leave(sealed, method),
        )
        terms = desk.admit(call, passage)

        value, opener = desk.zone.value_of(sealed, method, pan, terms)

        call.notes.opened_by(opener)
        return GeneratedValue(value=value, source_key=opener, verification_key=method.key)


def _leave(source: Sealed, method: Method) -> frozenset[Permission]:
    """Give the permission that the offset of a PIN needs which the caller may have chosen."""
    choosable = isinstance(source, SealedEnvelope) or source.choosable
    if isinstance(method, OffsetMethod) and choosable:
        return frozenset({Permission.CHOSEN_PIN_TO_OFFSET})
    return frozenset()

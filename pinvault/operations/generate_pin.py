"""GeneratePin: a new PIN, random or derived, which nobody has seen when it leaves enciphered."""

from dataclasses import dataclass

from pinvault.clearzone.parcels import BlockToMake, Method, OffsetMethod, OffsetReference, ToMake
from pinvault.clearzone.zone import RandomMethod
from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import PinTarget
from pinvault.model.references import SchemeRef, ValueRef
from pinvault.model.verification import PinOffset, Pvv
from pinvault.operations.desk import Desk
from pinvault.operations.passage import Passage
from pinvault.operations.route import one_pan
from pinvault.operations.schemes import GENERATING


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedPin:
    """The PIN block or envelope, the verification value when asked for, and all keys."""

    result: bytes | str
    value: Pvv | PinOffset | None
    target_key: Key
    verification_keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class GeneratePin:
    """The use case, with what it stands on."""

    desk: Desk

    def __call__(
        self,
        call: Call,
        *,
        pan: Pan,
        method: int | SchemeRef | ValueRef,
        target: PinTarget,
        scheme: SchemeRef | None,
    ) -> GeneratedPin:
        """Generate a PIN of so many random digits, or the natural PIN, or that of an offset."""
        desk = self.desk
        one_pan(pan, target.pan)
        way = self._way(method)
        to_make = desk.router.target(target, at="target")
        _require_bound(to_make)
        value = None
        if scheme is not None:
            value = desk.schemes.method(scheme, GENERATING, at=f"scheme.{scheme.kind}")
            _require_length(value, _length_of(way), at=f"scheme.{scheme.kind}.name")
        methods = [each for each in (_method_of(way), value) if each is not None]
        passage = Passage(
            targets=(to_make,),
            methods=tuple(methods),
            pan=pan,
            target_at="target.pin_block",
        )
        terms = desk.admit(call, passage)
        if terms.pin_length is not None and not terms.pin_length.allows(_length_of(way)):
            raise Refusal(Reason.PIN_WEAK)

        result, made = desk.zone.generate(way, to_make, value, pan, terms)

        desk.keep(call, to_make, result, pan)
        return GeneratedPin(
            result=result,
            value=made,
            target_key=to_make.key,
            verification_keys=tuple(each.key for each in methods),
        )

    def _way(
        self, method: int | SchemeRef | ValueRef
    ) -> RandomMethod | OffsetMethod | OffsetReference:
        if isinstance(method, int):
            return RandomMethod(length=method)
        if isinstance(method, SchemeRef):
            natural = self.desk.schemes.method(method, GENERATING, at="ibm_3624_natural")
            if isinstance(natural, OffsetMethod):
                return natural
            raise Refusal(Reason.SCHEME_MISMATCH, field="ibm_3624_natural.name")
        given = self.desk.schemes.reference(method, GENERATING, at="ibm_3624_offset")
        if isinstance(given, OffsetReference):
            return given
        raise Refusal(Reason.SCHEME_MISMATCH, field="ibm_3624_offset.scheme.name")


def _require_bound(target: ToMake) -> None:
    """A PIN that is generated for a PAN goes out bound to it."""
    if isinstance(target, BlockToMake) and not target.format.carries_pan:
        raise Refusal(Reason.TRANSLATION_FORBIDDEN, field="target.pin_block.format")


def _length_of(way: RandomMethod | OffsetMethod | OffsetReference) -> int:
    match way:
        case RandomMethod():
            return way.length
        case OffsetMethod():
            return way.scheme.pin_length
        case OffsetReference():
            return way.method.scheme.pin_length


def _require_length(value: Method, length: int, *, at: str) -> None:
    """An offset is of PINs of one length."""
    if isinstance(value, OffsetMethod) and value.scheme.pin_length != length:
        raise Refusal(Reason.SCHEME_MISMATCH, field=at)


def _method_of(way: RandomMethod | OffsetMethod | OffsetReference) -> Method | None:
    match way:
        case RandomMethod():
            return None
        case OffsetMethod():
            return way
        case OffsetReference():
            return way.method

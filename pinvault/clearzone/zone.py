"""The clear zone's face to the operations: PINs move from ciphertext to ciphertext.

Rules:
- What an operation names has been resolved and granted before it comes here.
- A PIN is open between two lines of one method, in a `with` block that wipes it.
- Whatever one call makes, it makes all of it or none.
"""

from contextlib import ExitStack
from dataclasses import dataclass

from pinvault.clearzone import drawing, emv
from pinvault.clearzone.batch.pans import admit
from pinvault.clearzone.batch.translate import Translated, translate
from pinvault.clearzone.emv import Script, ScriptToMake
from pinvault.clearzone.envelope import make_envelope
from pinvault.clearzone.parcels import (
    BlockToMake,
    EnvelopeToMake,
    Method,
    OffsetMethod,
    OffsetReference,
    Reference,
    Sealed,
    SealedBlock,
    ToMake,
)
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.pin_zone import PinZone, Terms, require_strong
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import PinLength
from pinvault.model.verification import PinOffset, Pvv

__all__ = ["Changed", "ClearZone", "RandomMethod", "Terms", "Value", "has_aliases"]

SIX_DIGITS = 6
Value = Pvv | PinOffset


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomMethod:
    """A PIN of so many random digits."""

    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What became of a change: `made` is None when the current PIN was wrong."""

    made: Value | bytes | None
    openers: tuple[Key, ...]


class ClearZone(PinZone):
    """Opens PIN sources and makes PIN targets, in one breath."""

    def encrypt(self, source: Sealed, target: ToMake, terms: Terms) -> tuple[bytes | str, Key]:
        """Give the PIN block of 8 or 16 bytes or the envelope, and what opened the source."""
        return self._one_face(lambda: self._encrypt(source, target, terms), terms)

    def encrypt_block(self, source: Sealed, target: BlockToMake, terms: Terms) -> tuple[bytes, Key]:
        """Give the PIN block of 8 or 16 bytes, and what opened the source."""
        return self._one_face(lambda: self._encrypt_block(source, target, terms), terms)

    def encrypt_fields(
        self, sources: tuple[Sealed, ...], target: EnvelopeToMake, terms: Terms
    ) -> tuple[tuple[str, ...], tuple[Key, ...]]:
        """Give one partner field a source, or none at all, and the keys that opened the sources."""
        return self._one_face(lambda: self._encrypt_fields(sources, target, terms), terms)

    def translate_batch(
        self, blocks: bytes, pans: bytes, source: SealedBlock, target: BlockToMake, terms: Terms
    ) -> Translated:
        """Translate a column of PIN blocks; see `batch.translate`."""
        return self._one_face(
            lambda: self._translate_batch(blocks, pans, source, target, terms), terms
        )

    def verify(
        self, source: Sealed, reference: Reference, pan: Pan, terms: Terms
    ) -> tuple[bool, Key]:
        """Tell whether the PIN is the one that the reference stands for, and what opened it."""
        return self._one_face(lambda: self._verify(source, reference, pan, terms), terms)

    def value_of(self, source: Sealed, method: Method, pan: Pan, terms: Terms) -> tuple[Value, Key]:
        """Give the verification value of a PIN that the rules allow, and what opened it."""
        return self._one_face(lambda: self._value_of(source, method, pan, terms), terms)

    def change(
        self,
        current: Sealed,
        new: Sealed,
        reference: Reference,
        target: BlockToMake | None,
        pan: Pan,
        terms: Terms,
    ) -> Changed:
        """Verify the current PIN, and only then make what stands for the new one.

        That is `target` where it is given, else a value by the reference's method.
        """
        return self._one_face(
            lambda: self._change(current, new, reference, target, pan, terms), terms
        )

    def generate(
        self,
        method: RandomMethod | OffsetMethod | OffsetReference,
        target: ToMake,
        value: Method | None,
        pan: Pan,
        terms: Terms,
    ) -> tuple[bytes | str, Value | None]:
        """Give a new PIN in its target, and its verification value where a method is given."""
        return self._one_face(lambda: self._generate(method, target, value, pan, terms), terms)

    def script(
        self, new: Sealed, current: Sealed | None, to_make: ScriptToMake, terms: Terms
    ) -> tuple[Script, tuple[Key, ...]]:
        """Give the data and MAC of an issuer script, and the keys that opened the sources."""
        return self._one_face(lambda: self._script(new, current, to_make, terms), terms)

    def _encrypt(self, source: Sealed, target: ToMake, terms: Terms) -> tuple[bytes | str, Key]:
        pin, opener = self._begin(terms).open(source)
        with pin:
            return self._make(pin, target, terms), opener

    def _encrypt_block(
        self, source: Sealed, target: BlockToMake, terms: Terms
    ) -> tuple[bytes, Key]:
        pin, opener = self._begin(terms).open(source)
        with pin:
            return self._cipher.encipher(pin, target, terms.deadline), opener

    def _encrypt_fields(
        self, sources: tuple[Sealed, ...], target: EnvelopeToMake, terms: Terms
    ) -> tuple[tuple[str, ...], tuple[Key, ...]]:
        with ExitStack() as wiping:
            pins, openers = self._open_all(sources, wiping, terms)
            return tuple(self._envelope(pin, target, terms) for pin in pins), openers

    def _open_all(
        self, sources: tuple[Sealed, ...], wiping: ExitStack, terms: Terms
    ) -> tuple[list[Pin], tuple[Key, ...]]:
        opening, pins, openers = self._begin(terms), [], []
        for source in sources:
            pin, opener = opening.open(source)
            pins.append(wiping.enter_context(pin))
            openers.append(opener)
        return pins, tuple(openers)

    def _translate_batch(
        self, blocks: bytes, pans: bytes, source: SealedBlock, target: BlockToMake, terms: Terms
    ) -> Translated:
        device, deadline = self._device, terms.deadline
        rated = source.format.needs_pan_rate or target.format.needs_pan_rate
        return translate(
            blocks,
            admit(pans, accounts_once=rated) if pans else None,
            source=source.format,
            target=target.format,
            decipher=lambda data: device.decipher(
                source.key.id, data, timeout=deadline.remaining()
            ),
            encipher=lambda data: device.encipher(
                target.key.id, data, timeout=deadline.remaining()
            ),
            random=lambda length: device.random(length, timeout=deadline.remaining()),
            pin_length=terms.pin_length or PinLength(),
            blocks_once=bool(pans) and has_aliases(source.format, terms.pin_length),
        )

    def _verify(
        self, source: Sealed, reference: Reference, pan: Pan, terms: Terms
    ) -> tuple[bool, Key]:
        opening = self._begin(terms)
        pin, opener = opening.open(source)
        with pin:
            return self._matches(pin, reference, pan, opening), opener

    def _value_of(
        self, source: Sealed, method: Method, pan: Pan, terms: Terms
    ) -> tuple[Value, Key]:
        pin, opener = self._begin(terms).open(source)
        with pin:
            require_strong(pin, None, terms)
            return self._values.of(pin, method, pan=pan, deadline=terms.deadline), opener

    def _change(
        self,
        current: Sealed,
        new: Sealed,
        reference: Reference,
        target: BlockToMake | None,
        pan: Pan,
        terms: Terms,
    ) -> Changed:
        opening = self._begin(terms)
        with ExitStack() as wiping:
            old_pin, old_opener = opening.open(current)
            wiping.enter_context(old_pin)
            new_pin, new_opener = opening.open(new)
            wiping.enter_context(new_pin)
            openers = (old_opener, new_opener)
            if not self._matches(old_pin, reference, pan, opening):
                return Changed(made=None, openers=openers)
            require_strong(new_pin, old_pin, terms)
            if target is not None:
                made: Value | bytes = self._cipher.encipher(new_pin, target, terms.deadline)
            else:
                made = self._values.of(
                    new_pin, _method_of(reference), pan=pan, deadline=terms.deadline
                )
            return Changed(made=made, openers=openers)

    def _generate(
        self,
        method: RandomMethod | OffsetMethod | OffsetReference,
        target: ToMake,
        value: Method | None,
        pan: Pan,
        terms: Terms,
    ) -> tuple[bytes | str, Value | None]:
        with self._generated(method, pan, terms) as pin:
            made = self._make(pin, target, terms)
            if value is None:
                return made, None
            return made, self._values.of(pin, value, pan=pan, deadline=terms.deadline)

    def _generated(
        self, method: RandomMethod | OffsetMethod | OffsetReference, pan: Pan, terms: Terms
    ) -> Pin:
        deadline = terms.deadline
        match method:
            case RandomMethod():
                return drawing.draw(
                    method.length,
                    rules=terms.rules,
                    random=lambda n: self._device.random(n, timeout=deadline.remaining()),
                )
            case OffsetMethod():
                return self._values.natural_pin(method, pan=pan, deadline=deadline)
            case OffsetReference():
                return self._values.pin_from_offset(
                    method.method, method.value, pan=pan, deadline=deadline
                )

    def _script(
        self, new: Sealed, current: Sealed | None, to_make: ScriptToMake, terms: Terms
    ) -> tuple[Script, tuple[Key, ...]]:
        sources = (new,) if current is None else (new, current)
        with ExitStack() as wiping:
            pins, openers = self._open_all(sources, wiping, terms)
            old_pin = pins[1] if current is not None else None
            require_strong(pins[0], old_pin, terms)
            script = emv.make_script(
                pins[0], old_pin, to_make, device=self._device, deadline=terms.deadline
            )
            return script, openers

    def _make(self, pin: Pin, target: ToMake, terms: Terms) -> bytes | str:
        if isinstance(target, BlockToMake):
            return self._cipher.encipher(pin, target, terms.deadline)
        return self._envelope(pin, target, terms)

    def _envelope(self, pin: Pin, target: EnvelopeToMake, terms: Terms) -> str:
        return make_envelope(
            pin,
            profile=target.profile,
            key=target.key,
            pan=target.pan,
            device=self._device,
            deadline=terms.deadline,
        )


def has_aliases(block_format: Format, pin_length: PinLength | None) -> bool:
    """Whether a block opens for PANs of other accounts too.

    The fill of format 0 tells all eight digits of the account while the PIN has no more than
    six of its own.
    """
    if block_format is Format.ISO_0:
        return pin_length is None or pin_length.maximum > SIX_DIGITS
    return block_format is not Format.ISO_4


def _method_of(reference: Reference) -> Method:
    if isinstance(reference, SealedBlock):
        raise TypeError("a change that compares blocks makes a block")
    return reference.method

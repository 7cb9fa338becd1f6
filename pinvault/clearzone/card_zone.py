"""The clear zone of the PIN vault: what is stored of cards, made there and opened again.

Rules:
- What a caller gave and does not open has the one face. What is stored and does not open is a
  fault of ours, `StoredUnreadable`, and is never taken for the caller's.
- A new PIN is judged only after the current one was right.
- Whatever one call makes, it makes all of it or none.
- What a call has spent reaches the caller's list as it is spent, though the call be refused.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pinvault.clearzone import drawing
from pinvault.clearzone.encipher import read
from pinvault.clearzone.envelope import make_envelope
from pinvault.clearzone.envelope.reveal import make_reveal
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.opening import length_of
from pinvault.clearzone.parcels import (
    BlockToMake,
    EnvelopeToMake,
    Method,
    OffsetMethod,
    Reference,
    Sealed,
    SealedBlock,
    SpentNonce,
)
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.clearzone.pin_zone import PinZone, Terms, require_strong
from pinvault.clearzone.sources import Opening
from pinvault.clearzone.stored import StoredUnreadable, ours
from pinvault.clearzone.stored_pan import decipher_pan, encipher_pan
from pinvault.clearzone.verification.compare import same_pin
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.verification import PinOffset, Pvv

__all__ = ["CardZone", "Made", "Outcome", "Recipe", "SealedPan", "SpentNonce", "Terms"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPan:
    """A card's PAN as it is stored: 16 bytes under a key for data at rest (see `stored_pan`)."""

    key: Key
    owner: str
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is to be stored of a new PIN: what verifies it, and what it can be revealed from."""

    verification: Method | BlockToMake
    reveal: BlockToMake | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a recipe gave: a value or a reference block, and a block to reveal where asked for."""

    value: Pvv | PinOffset | None
    reference: bytes | None = field(repr=False)
    reveal: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """What became of a call, the keys that opened its sources, and what it spent."""

    result: T
    openers: tuple[Key, ...]
    spent: tuple[SpentNonce, ...]


class CardZone(PinZone):
    """Makes and opens what is stored of cards.

    The `spent` of a method is a list of the caller's, empty at first. It gets what the sources of
    the call used up, also when the call ends in a refusal or a fault.
    """

    def seal_pan(self, pan: Pan, *, owner: str, key: Key, deadline: Deadline) -> bytes:
        """Give the 16 bytes to store of a card's PAN."""
        return self._stored(
            lambda: encipher_pan(
                pan,
                owner=owner,
                encipher=lambda block: self._device.encipher(
                    key.id, block, timeout=deadline.remaining()
                ),
            ),
            deadline,
        )

    def open_pan(self, sealed: SealedPan, deadline: Deadline) -> Pan:
        """Give a card's PAN; a fault when it does not open for the owner."""
        return self._stored(
            lambda: decipher_pan(
                sealed.ciphertext,
                owner=sealed.owner,
                decipher=lambda block: self._device.decipher(
                    sealed.key.id, block, timeout=deadline.remaining()
                ),
            ),
            deadline,
        )

    def random(self, count: int, deadline: Deadline) -> bytes:
        """Give random bytes of the HSM, for ids and tokens."""
        return self._stored(
            lambda: self._device.random(count, timeout=deadline.remaining()), deadline
        )

    def make(
        self,
        new: Sealed,
        recipe: Recipe,
        pan: Pan,
        terms: Terms,
        *,
        spent: list[SpentNonce] | None = None,
    ) -> Outcome[Made]:
        """Make what is to be stored of a new PIN; PIN_WEAK when the rules forbid it."""
        return self._one_face(lambda: self._make(new, recipe, pan, terms, spent), terms)

    def generate(
        self, length: int, target: EnvelopeToMake, recipe: Recipe, pan: Pan, terms: Terms
    ) -> tuple[Made, str]:
        """Draw a PIN that the rules allow: what is to be stored of it, and the partner's envelope.

        PIN_WEAK when the rules allow next to none; PIN_SOURCE_REFUSED for a length that the scheme
        or the profile cannot take.
        """
        return self._one_face(lambda: self._generate(length, target, recipe, pan, terms), terms)

    def check(
        self,
        source: Sealed,
        reference: Reference,
        pan: Pan,
        terms: Terms,
        *,
        spent: list[SpentNonce] | None = None,
    ) -> Outcome[bool]:
        """Tell whether a PIN is the stored one; it is as much work when it is not.

        A refusal means that nothing was compared.
        """
        return self._one_face(lambda: self._check(source, reference, pan, terms, spent), terms)

    def change(
        self,
        current: Sealed,
        new: Sealed,
        reference: Reference,
        recipe: Recipe,
        pan: Pan,
        terms: Terms,
        *,
        spent: list[SpentNonce] | None = None,
    ) -> Outcome[Made | None]:
        """Make what is to be stored of a new PIN if the current one is right, else give None.

        PIN_WEAK means that the current PIN was right: the new one is judged only then.
        PIN_SOURCE_REFUSED means that nothing was compared.
        """
        return self._one_face(
            lambda: self._change(current, new, reference, recipe, pan, terms, spent), terms
        )

    def reveal(
        self, stored: SealedBlock, recipient: bytes, *, card_id: str, expires: int, terms: Terms
    ) -> str:
        """Give the PIN of a stored block as a compact JWE for the recipient (see `reveal`).

        `recipient` is an uncompressed point of P-256, 65 bytes, that `p256.require_point` let
        pass; `expires`, in Unix seconds, is told inside.
        """

        def work() -> str:
            with self._stored_pin(stored, terms.deadline) as pin:
                hsm = TimedDevice(self._device, terms.deadline)
                return make_reveal(
                    pin, recipient=recipient, card_id=card_id, expires=expires, hsm=hsm
                )

        return self._stored(work, terms.deadline)

    def _stored(self, work: Callable[[], T], deadline: Deadline) -> T:
        """Do what no caller's source takes part in."""
        return self._one_face(lambda: ours(work), Terms(deadline=deadline))

    def _make(
        self,
        new: Sealed,
        recipe: Recipe,
        pan: Pan,
        terms: Terms,
        spent: list[SpentNonce] | None,
    ) -> Outcome[Made]:
        opening = self._begin(terms, spent)
        pin, opener = opening.open(new)
        with pin:
            _require_fit(pin, recipe)
            require_strong(pin, None, terms)
            made = self._made(pin, recipe, pan, terms.deadline)
            return Outcome(result=made, openers=(opener,), spent=tuple(opening.spent))

    def _generate(
        self, length: int, target: EnvelopeToMake, recipe: Recipe, pan: Pan, terms: Terms
    ) -> tuple[Made, str]:
        device, deadline = self._device, terms.deadline
        with drawing.draw(
            length,
            rules=terms.rules,
            random=lambda n: device.random(n, timeout=deadline.remaining()),
        ) as pin:
            _require_fit(pin, recipe)
            envelope = make_envelope(
                pin,
                profile=target.profile,
                key=target.key,
                pan=target.pan,
                device=device,
                deadline=deadline,
            )
            return self._made(pin, recipe, pan, deadline), envelope

    def _check(
        self,
        source: Sealed,
        reference: Reference,
        pan: Pan,
        terms: Terms,
        spent: list[SpentNonce] | None,
    ) -> Outcome[bool]:
        opening = self._begin(terms, spent)
        pin, opener = opening.open(source)
        with pin:
            matches = self._matches(pin, reference, pan, opening)
            return Outcome(result=matches, openers=(opener,), spent=tuple(opening.spent))

    def _change(
        self,
        current: Sealed,
        new: Sealed,
        reference: Reference,
        recipe: Recipe,
        pan: Pan,
        terms: Terms,
        spent: list[SpentNonce] | None,
    ) -> Outcome[Made | None]:
        opening = self._begin(terms, spent)
        with ExitStack() as wiping:
            old_pin, old_opener = opening.open(current)
            wiping.enter_context(old_pin)
            new_pin, new_opener = opening.open(new)
            wiping.enter_context(new_pin)
            _require_fit(new_pin, recipe)
            made = None
            if self._matches(old_pin, reference, pan, opening):
                require_strong(new_pin, old_pin, terms)
                made = self._made(new_pin, recipe, pan, terms.deadline)
            openers = (old_opener, new_opener)
            return Outcome(result=made, openers=openers, spent=tuple(opening.spent))

    def _made(self, pin: Pin, recipe: Recipe, pan: Pan, deadline: Deadline) -> Made:
        value, reference, reveal = None, None, None
        if isinstance(recipe.verification, BlockToMake):
            reference = self._cipher.encipher(pin, recipe.verification, deadline)
        else:
            value = self._values.of(pin, recipe.verification, pan=pan, deadline=deadline)
        if recipe.reveal is not None:
            reveal = self._cipher.encipher(pin, recipe.reveal, deadline)
        return Made(value=value, reference=reference, reveal=reveal)

    def _matches(self, pin: Pin, reference: Reference, pan: Pan, opening: Opening) -> bool:
        """Compare with what is stored: a block is no source here, and is held to the card's PAN."""
        if not isinstance(reference, SealedBlock):
            return super()._matches(pin, reference, pan, opening)
        if reference.pan is None or not reference.pan.same_as(pan):
            raise StoredUnreadable
        with ours(lambda: self._stored_pin(reference, opening.deadline)) as stored:
            return same_pin(pin, stored)

    def _stored_pin(self, stored: SealedBlock, deadline: Deadline) -> Pin:
        return read(self._cipher.decipher(stored, deadline), stored.format, stored.pan)


def _require_fit(pin: Pin, recipe: Recipe) -> None:
    """Refuse a new PIN that the scheme has no value for, before anything is compared."""
    method = recipe.verification
    if isinstance(method, OffsetMethod) and length_of(pin) != method.scheme.pin_length:
        raise Malformed

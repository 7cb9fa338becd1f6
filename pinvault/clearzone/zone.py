"""The clear zone's face to the operations: PINs move from ciphertext to ciphertext.

Rules:
- What an operation names has been resolved and granted before it comes here.
- A PIN is open between two lines of one method, in a `with` block that wipes it.
- An envelope is spent as soon as it proves authentic and in its time, whatever comes after.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from hsm.device import Device
from pinvault.clearzone.encipher import BlockCipher
from pinvault.clearzone.envelope.jwe import Opened, open_jwe
from pinvault.clearzone.envelope.rsa_field import make_field
from pinvault.clearzone.one_face import one_face
from pinvault.clearzone.opening import length_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.call import Deadline
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import RsaFieldProfile, SealedJweProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBlock:
    """A PIN block of 8 or 16 bytes, with the key that deciphers it."""

    key: Key
    format: Format
    pan: Pan | None
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEnvelope:
    """A sealed PIN, with the key versions that may open it, by `name/version`."""

    profile: SealedJweProfile
    keys: Mapping[str, Key]
    pan: Pan | None
    ciphertext: bytes = field(repr=False)


T = TypeVar("T")
Sealed = SealedBlock | SealedEnvelope


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockToMake:
    """A PIN block to be made, with the key that enciphers it."""

    key: Key
    format: Format
    pan: Pan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldToMake:
    """A partner's field to be made, with the partner's key."""

    key: Key
    profile: RsaFieldProfile


class SpendNonce(Protocol):
    """Marks a nonce as used until `until` (Unix seconds); False when it was used before."""

    def __call__(self, nonce: bytes, *, until: float, now: float) -> bool: ...


class ClearZone:
    """Opens PIN sources and makes PIN targets, in one breath.

    `now` gives Unix seconds; `quantum_s` is the time class of refusals, in seconds.
    """

    def __init__(
        self,
        device: Device,
        *,
        spend: SpendNonce,
        now: Callable[[], float],
        quantum_s: float,
    ) -> None:
        self._device = device
        self._cipher = BlockCipher(device)
        self._spend = spend
        self._now = now
        self._quantum_s = quantum_s

    def encrypt_block(
        self, source: Sealed, target: BlockToMake, *, deadline: Deadline
    ) -> tuple[bytes, Key]:
        """Give the PIN block of 8 or 16 bytes, and the key that opened the source."""
        return self._one_face(lambda: self._to_block(source, target, deadline), deadline)

    def encrypt_fields(
        self, sources: tuple[Sealed, ...], target: FieldToMake, *, deadline: Deadline
    ) -> tuple[tuple[str, ...], tuple[Key, ...]]:
        """Give one partner field a source, or none at all, and the keys that opened the sources."""
        return self._one_face(lambda: self._to_fields(sources, target, deadline), deadline)

    def _one_face(self, work: Callable[[], T], deadline: Deadline) -> T:
        return one_face(work, quantum_s=self._quantum_s, deadline=deadline)

    def _to_block(
        self, source: Sealed, target: BlockToMake, deadline: Deadline
    ) -> tuple[bytes, Key]:
        pin, opener = self._open(source, deadline)
        with pin:
            block = self._cipher.encipher(
                pin,
                key_id=target.key.id,
                block_format=target.format,
                pan=target.pan,
                deadline=deadline,
            )
        return block, opener

    def _to_fields(
        self, sources: tuple[Sealed, ...], target: FieldToMake, deadline: Deadline
    ) -> tuple[tuple[str, ...], tuple[Key, ...]]:
        pins: list[Pin] = []
        openers: list[Key] = []
        with ExitStack() as wiping:
            for source in sources:
                pin, opener = self._open(source, deadline)
                pins.append(wiping.enter_context(pin))
                openers.append(opener)
            fields = tuple(self._to_field(pin, target, deadline) for pin in pins)
        return fields, tuple(openers)

    def _to_field(self, pin: Pin, target: FieldToMake, deadline: Deadline) -> str:
        if not target.profile.pin_length.allows(length_of(pin)):
            raise Malformed
        return make_field(
            pin,
            profile=target.profile,
            key_id=target.key.id,
            device=self._device,
            deadline=deadline,
        )

    def _open(self, source: Sealed, deadline: Deadline) -> tuple[Pin, Key]:
        if isinstance(source, SealedBlock):
            pin = self._cipher.decipher(
                source.ciphertext,
                key_id=source.key.id,
                block_format=source.format,
                pan=source.pan,
                deadline=deadline,
            )
            return pin, source.key
        opened = open_jwe(
            source.ciphertext, keys=source.keys, device=self._device, deadline=deadline
        )
        self._use_up(opened, source)
        return opened.pin(source.profile.pin_length), source.keys[opened.key_id]

    def _use_up(self, opened: Opened, source: SealedEnvelope) -> None:
        """Spend an authentic envelope once, in its time, for the PAN that it was bound to."""
        now, skew = self._now(), source.profile.clock_skew_s
        if now > opened.expires + skew:
            raise Refusal(Reason.ENVELOPE_EXPIRED, cause="expired")
        if opened.expires > now + source.profile.max_age_s + skew:
            raise Malformed("lives-too-long")
        if not self._spend(opened.nonce, until=opened.expires + skew + 1, now=now):
            raise Refusal(Reason.ENVELOPE_REPLAYED, cause="replayed")
        if not _bound_as_it_should(opened.pan, source):
            raise Malformed("bound-to-another-pan")


def _bound_as_it_should(bound: Pan | None, source: SealedEnvelope) -> bool:
    if bound is None:
        return not source.profile.bind_pan
    return source.pan is not None and bound.same_as(source.pan)

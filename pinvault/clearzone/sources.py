"""Opens PIN sources: PIN blocks under keys, PIN blocks under DUKPT working keys, envelopes.

Rules:
- An envelope is spent as soon as it proves authentic and in its time, whatever comes after.
- A key serial number is spent as soon as its block has been deciphered, well-formed or not, so
  that it is good for one look. Two blocks of one call may share it.
- A PIN whose length the caller's grant does not allow is malformed: of a TDES block, the
  length is the best part of what tells the right key from a wrong one.
- What was spent is told to who began, whether or not the call comes to an answer.
- A block of our own store that does not open is a fault of ours and no caller's.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from hsm.device import Device
from pinvault.clearzone.encipher import BlockCipher, read
from pinvault.clearzone.envelope import Opened, open_envelope
from pinvault.clearzone.opening import length_of
from pinvault.clearzone.parcels import Sealed, SealedBlock, SealedEnvelope, SpentNonce
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.clearzone.stored import ours
from pinvault.model.call import Deadline
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.profiles import PinLength


class SpendNonce(Protocol):
    """Marks a nonce as used until `until` (Unix seconds); False when it was used before."""

    def __call__(self, nonce: bytes, *, until: float, now: float) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Opens sources for one server. `now` gives Unix seconds; a KSN is kept `ksn_window_s` long."""

    device: Device
    cipher: BlockCipher
    spend: SpendNonce
    now: Callable[[], float]
    ksn_window_s: float

    def begin(
        self,
        deadline: Deadline,
        pin_length: PinLength | None = None,
        *,
        spent: list[SpentNonce] | None = None,
    ) -> "Opening":
        """Begin to open the sources of one call, whose PINs must have an allowed length.

        `spent` gets what is used up on the way, as it is.
        """
        return Opening(self, deadline, pin_length, spent if spent is not None else [])


@dataclass(slots=True)
class Opening:
    """Opens the sources of one call."""

    sources: Sources
    deadline: Deadline
    pin_length: PinLength | None
    spent: list[SpentNonce]
    _serials: set[bytes] = field(default_factory=set)

    def open(self, source: Sealed) -> tuple[Pin, Key]:
        """Give the PIN and the key that opened it; Malformed or Refusal when it does not open."""
        if isinstance(source, SealedBlock):
            read_block = partial(self._of_block, source)
            pin = read_block() if source.stored is None else ours(read_block)
            return self._allowed(pin), source.key
        opened = open_envelope(
            source.ciphertext,
            profile=source.profile,
            keys=source.keys,
            pan=source.pan,
            device=self.sources.device,
            deadline=self.deadline,
        )
        self._use_up_envelope(opened, source)
        return self._allowed(opened.pin(source.profile.pin_length)), source.keys[opened.key_id]

    def _of_block(self, source: SealedBlock) -> Pin:
        clear = self.sources.cipher.decipher(source, self.deadline)
        if source.transaction is not None:
            self._use_up_serial(source.key, source.transaction.dukpt.ksn)
        return read(clear, source.format, source.pan)

    def _allowed(self, pin: Pin) -> Pin:
        if self.pin_length is not None and not self.pin_length.allows(length_of(pin)):
            pin.wipe()
            raise Malformed
        return pin

    def _use_up_serial(self, key: Key, ksn: bytes) -> None:
        serial, now = b"ksn %b %b" % (key.name.encode(), ksn), self.sources.now()
        if serial in self._serials:
            return
        until = now + self.sources.ksn_window_s
        if not self._spend(serial, until=until, now=now, is_ksn=True):
            raise Refusal(Reason.KSN_REPLAYED, cause="replayed")
        self._serials.add(serial)

    def _use_up_envelope(self, opened: Opened, source: SealedEnvelope) -> None:
        """Spend an authentic envelope once, in its time, for whom it was bound to."""
        now, profile = self.sources.now(), source.profile
        if opened.expires is None:
            until = now + profile.remember_s
        else:
            skew = profile.clock_skew_s
            if now > opened.expires + skew:
                raise Refusal(Reason.ENVELOPE_EXPIRED, cause="expired")
            if opened.expires > now + profile.remember_s + skew:
                raise Malformed("lives-too-long")
            until = opened.expires + skew + 1
        if not self._spend(opened.nonce, until=until, now=now, is_ksn=False):
            raise Refusal(Reason.ENVELOPE_REPLAYED, cause="replayed")
        if opened.card != (source.card_id if profile.bind_card else None):
            raise Malformed("bound-to-another-card")
        if not _bound_as_it_should(opened.pan, source):
            raise Malformed("bound-to-another-pan")
        if profile.bind_caller and opened.caller != source.caller:
            raise Malformed("bound-to-another-caller")

    def _spend(self, nonce: bytes, *, until: float, now: float, is_ksn: bool) -> bool:
        if not self.sources.spend(nonce, until=until, now=now):
            return False
        digest = hashlib.sha256(nonce).digest()
        self.spent.append(SpentNonce(nonce=digest, until=until, is_ksn=is_ksn))
        return True


def _bound_as_it_should(bound: Pan | None, source: SealedEnvelope) -> bool:
    """What was sealed for a PAN opens under a profile that binds, and for that PAN, alone."""
    if bound is None or not source.profile.bind_pan:
        return bound is None and not source.profile.bind_pan
    return source.pan is not None and bound.same_as(source.pan)

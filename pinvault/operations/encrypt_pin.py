"""EncryptPin: one PIN from its source to a PIN block or to a partner's envelope."""

from dataclasses import dataclass

from pinvault.clearzone.zone import ClearZone
from pinvault.model.call import Call
from pinvault.model.keys import Key
from pinvault.model.pins import PinBlockTarget, PinSource, PinTarget
from pinvault.operations.route import Router, one_pan


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedPin:
    """The PIN block (8 or 16 bytes) or the envelope's text, and the keys of both sides."""

    result: bytes | str
    source_key: Key
    target_key: Key


@dataclass(frozen=True, slots=True)
class EncryptPin:
    """The use case, with what it stands on."""

    router: Router
    zone: ClearZone

    def __call__(self, call: Call, *, source: PinSource, target: PinTarget) -> EncryptedPin:
        """Encipher the PIN for its target, or refuse."""
        pan = one_pan(source.pan, target.pan)
        sealed = self.router.source(source, at="source")

        if isinstance(target, PinBlockTarget):
            block = self.router.block(target, at="target.pin_block")
            self.router.admit(call, (sealed,), block, pan)
            ciphertext, opener = self.zone.encrypt_block(sealed, block, deadline=call.deadline)
            call.notes.opened_by(opener)
            return EncryptedPin(result=ciphertext, source_key=opener, target_key=block.key)

        field = self.router.partner_field(target.profile, at="target.envelope.profile")
        self.router.admit(call, (sealed,), field, pan)
        (text,), (opener,) = self.zone.encrypt_fields((sealed,), field, deadline=call.deadline)
        call.notes.opened_by(opener)
        return EncryptedPin(result=text, source_key=opener, target_key=field.key)

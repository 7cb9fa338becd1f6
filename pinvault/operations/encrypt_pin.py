"""EncryptPin: one PIN from its source to a PIN block or to a partner's envelope."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.keys import Key
from pinvault.model.pins import PinSource, PinTarget
from pinvault.operations.desk import Desk
from pinvault.operations.passage import Passage
from pinvault.operations.route import one_pan


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedPin:
    """The PIN block (8 or 16 bytes) or the envelope's text, and the keys of both sides."""

    result: bytes | str
    source_key: Key
    target_key: Key


@dataclass(frozen=True, slots=True)
class EncryptPin:
    """The use case, with what it stands on."""

    desk: Desk

    def __call__(self, call: Call, *, source: PinSource, target: PinTarget) -> EncryptedPin:
        """Encipher the PIN for its target, or refuse."""
        desk, pan = self.desk, one_pan(source.pan, target.pan)
        sealed = desk.source(call, source, pan=pan, at="source")
        to_make = desk.router.target(target, at="target")
        passage = Passage(
            sources=(sealed,), targets=(to_make,), pan=pan, target_at="target.pin_block"
        )
        terms = desk.admit(call, passage)

        result, opener = desk.zone.encrypt(sealed, to_make, terms)

        call.notes.opened_by(opener)
        desk.keep(call, to_make, result, pan)
        return EncryptedPin(result=result, source_key=opener, target_key=to_make.key)

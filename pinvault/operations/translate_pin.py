"""TranslatePin: one PIN block under one key and format to another, for the same PAN."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.keys import Key
from pinvault.model.pins import PinBlockSource, PinBlockTarget
from pinvault.operations.desk import Desk
from pinvault.operations.passage import Passage
from pinvault.operations.route import one_pan


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedPin:
    """The PIN block (8 or 16 bytes), and the keys of both sides."""

    pin_block: bytes
    source_key: Key
    target_key: Key


@dataclass(frozen=True, slots=True)
class TranslatePin:
    """The use case, with what it stands on."""

    desk: Desk

    def __call__(
        self, call: Call, *, source: PinBlockSource, target: PinBlockTarget
    ) -> TranslatedPin:
        """Translate the block, or refuse."""
        desk, pan = self.desk, one_pan(source.pan, target.pan)
        sealed = desk.router.sealed_block(source, at="source")
        to_make = desk.router.block(target, at="target")
        passage = Passage(sources=(sealed,), targets=(to_make,), pan=pan, target_at="target")
        terms = desk.admit(call, passage)

        made, _ = desk.zone.encrypt_block(sealed, to_make, terms)

        desk.keep(call, to_make, made, pan)
        return TranslatedPin(pin_block=made, source_key=sealed.key, target_key=to_make.key)

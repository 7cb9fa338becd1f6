"""EncryptPinChangeScript: a new PIN for the chip of a card, as an issuer script carries it."""

from dataclasses import dataclass

from pinvault.clearzone.emv import ScriptToMake
from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import PinSource
from pinvault.model.scripts import ScriptBlock
from pinvault.operations.desk import Desk
from pinvault.operations.passage import Passage, require_bound
from pinvault.operations.route import one_pan


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedScript:
    """The enciphered PIN data (8 or 16 bytes), the MAC (8 bytes), and all keys."""

    enciphered_pin: bytes
    mac: bytes
    source_keys: tuple[Key, ...]
    script_keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class EncryptPinChangeScript:
    """The use case, with what it stands on."""

    desk: Desk

    def __call__(
        self,
        call: Call,
        *,
        script: str,
        pan: Pan,
        sequence: int,
        cryptogram: bytes,
        message: bytes,
        new_source: PinSource,
        current_source: PinSource | None,
    ) -> EncryptedScript:
        """Encipher the new PIN for the card, or refuse."""
        desk = self.desk
        one_pan(pan, new_source.pan, current_source.pan if current_source is not None else None)
        to_make = desk.schemes.script(
            script, pan=pan, sequence=sequence, cryptogram=cryptogram, message=message
        )
        _require_current(to_make, given=current_source is not None)
        new = desk.source(call, new_source, pan=pan, at="new_source")
        current = None
        named = [(new, "new_source")]
        if current_source is not None:
            current = desk.router.source(current_source, caller=call.caller, at="current_source")
            named.append((current, "current_source"))
        require_bound(named)
        passage = Passage(
            sources=tuple(source for source, _ in named),
            script=to_make,
            pan=pan,
        )
        terms = desk.admit(call, passage)

        made, openers = desk.zone.script(new, current, to_make, terms)

        call.notes.opened_by(*openers)
        return EncryptedScript(
            enciphered_pin=made.enciphered_pin,
            mac=made.mac,
            source_keys=openers,
            script_keys=to_make.keys,
        )


def _require_current(to_make: ScriptToMake, *, given: bool) -> None:
    """The current PIN is given when the card's block needs it, and only then."""
    if given != (to_make.profile.block is ScriptBlock.VISA_WITH_CURRENT):
        raise Refusal(Reason.SCHEME_MISMATCH, field="current_source")

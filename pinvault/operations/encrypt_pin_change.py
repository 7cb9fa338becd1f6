"""EncryptPinChange: the `pin` and `oldPin` fields of a partner's PIN change, in one call."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import EnvelopeTarget, PinSource
from pinvault.operations.desk import Desk
from pinvault.operations.passage import Passage
from pinvault.operations.route import one_pan


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedPinChange:
    """The partner's fields; `old_pin_field` is empty when no current PIN was given."""

    pin_field: str
    old_pin_field: str
    source_keys: tuple[Key, ...]
    target_key: Key


@dataclass(frozen=True, slots=True)
class EncryptPinChange:
    """The use case, with what it stands on."""

    desk: Desk

    def __call__(
        self,
        call: Call,
        *,
        profile: str,
        pan: Pan,
        new_source: PinSource,
        old_source: PinSource | None,
    ) -> EncryptedPinChange:
        """Encipher both PINs for the partner, or none, or refuse."""
        desk = self.desk
        one_pan(pan, new_source.pan, old_source.pan if old_source is not None else None)
        sealed = [desk.source(call, new_source, pan=pan, at="new_source")]
        if old_source is not None:
            sealed.append(desk.router.source(old_source, caller=call.caller, at="old_source"))
        field = desk.router.envelope(EnvelopeTarget(profile=profile, pan=pan), at="profile")
        sources = tuple(sealed)
        passage = Passage(sources=sources, targets=(field,), pan=pan)
        terms = desk.admit(call, passage)

        texts, openers = desk.zone.encrypt_fields(sources, field, terms)

        call.notes.opened_by(*openers)
        return EncryptedPinChange(
            pin_field=texts[0],
            old_pin_field=texts[1] if old_source is not None else "",
            source_keys=openers,
            target_key=field.key,
        )

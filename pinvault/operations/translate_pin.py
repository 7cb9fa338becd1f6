"""TranslatePin: one PIN block under one key and format to another, for the same PAN."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.keys import Key
from pinvault.model.pins import PinBlockSource, PinBlockTarget
from pinvault.operations.encrypt_pin import EncryptPin


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslatedPin:
    """The PIN block (8 or 16 bytes), and the keys of both sides."""

    pin_block: bytes
    source_key: Key
    target_key: Key


@dataclass(frozen=True, slots=True)
class TranslatePin:
    """The use case: EncryptPin, for callers who may do no more than this."""

    encrypt: EncryptPin

    def __call__(
        self, call: Call, *, source: PinBlockSource, target: PinBlockTarget
    ) -> TranslatedPin:
        """Translate the block, or refuse."""
        done = self.encrypt(call, source=source, target=target)
        if not isinstance(done.result, bytes):
            raise TypeError("a PIN block was to be made")
        return TranslatedPin(
            pin_block=done.result, source_key=done.source_key, target_key=done.target_key
        )

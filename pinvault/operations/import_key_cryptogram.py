"""ImportKeyCryptogram: a key that was enciphered under an RSA key of the HSM, unwrapped inside."""

from dataclasses import dataclass
from datetime import date

from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Algorithm, Key, Mode, Usage
from pinvault.operations.key_desk import KeyDesk


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What the sender of a cryptogram says that the key is; the cryptogram itself says nothing."""

    usage: Usage
    algorithm: Algorithm
    mode: Mode


@dataclass(frozen=True, slots=True)
class ImportKeyCryptogram:
    """The use case."""

    desk: KeyDesk

    def __call__(
        self,
        call: Call,
        *,
        name: str,
        attributes: Attributes,
        wrapped: bytes,
        wrapping_key: str,
        check_value: str,
        valid_until: date | None = None,
        previous_until: date | None = None,
    ) -> Key:
        """Import the key as the next version of a name, by a wrapping key that the grant names."""
        custody = self.desk.custody
        self.desk.permit(call, name, wrapping_key)
        wanted = self.desk.wanted(name, valid_until=valid_until)
        expected = Attributes(usage=wanted.usage, algorithm=wanted.algorithm, mode=wanted.mode)
        if attributes != expected:
            raise Refusal(Reason.KEY_USAGE_MISMATCH, field="name")
        key = custody.import_cryptogram(
            wanted,
            wrapped,
            wrapping=wrapping_key,
            check_value=check_value,
            previous_until=previous_until,
            timeout=call.deadline.remaining(),
        )
        call.notes.keys.append(key)
        return key

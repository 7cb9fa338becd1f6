"""RotateKey: the next version of a key whose value is the service's own to choose."""

from dataclasses import dataclass
from datetime import date

from pinvault.model.call import Call
from pinvault.operations.custody import Rotated
from pinvault.operations.key_desk import KeyDesk


@dataclass(frozen=True, slots=True)
class RotateKey:
    """The use case."""

    desk: KeyDesk

    def __call__(
        self,
        call: Call,
        *,
        reference: str,
        exportable: bool | None = None,
        valid_until: date | None = None,
        previous_until: date | None = None,
    ) -> Rotated:
        """Make the next version; the one before deciphers on, until `previous_until` if given."""
        self.desk.permit(call, reference)
        rotated = self.desk.custody.rotate(
            reference,
            exportable=exportable,
            valid_until=valid_until,
            previous_until=previous_until,
            timeout=call.deadline.remaining(),
        )
        call.notes.keys.append(rotated.key)
        return rotated

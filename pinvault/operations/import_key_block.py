"""ImportKeyBlock: a partner's key, from its key block into the HSM."""

from dataclasses import dataclass
from datetime import date

from pinvault.model.call import Call
from pinvault.model.keys import Key
from pinvault.operations.key_desk import KeyDesk


@dataclass(frozen=True, slots=True)
class ImportKeyBlock:
    """The use case."""

    desk: KeyDesk

    def __call__(
        self,
        call: Call,
        *,
        name: str,
        block: str,
        kbpk: str,
        valid_until: date | None = None,
        previous_until: date | None = None,
    ) -> Key:
        """Import the key as the next version of a name, under a KBPK that the grant names too."""
        custody = self.desk.custody
        self.desk.permit(call, name, *custody.kbpk_names(kbpk))
        key = custody.import_block(
            self.desk.wanted(name, valid_until=valid_until),
            block,
            kbpk=kbpk,
            previous_until=previous_until,
            timeout=call.deadline.remaining(),
        )
        call.notes.keys.append(key)
        return key

"""ExportKeyBlock: an exportable key, as a key block for a partner."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.operations.custody import Exported
from pinvault.operations.key_desk import KeyDesk


@dataclass(frozen=True, slots=True)
class ExportKeyBlock:
    """The use case."""

    desk: KeyDesk

    def __call__(self, call: Call, *, reference: str, kbpk: str, version: str) -> Exported:
        """Give the key block of a version, under a KBPK that the grant names too."""
        self.desk.permit(call, reference, kbpk)
        return self.desk.custody.export_block(
            reference, kbpk=kbpk, version=version, timeout=call.deadline.remaining()
        )

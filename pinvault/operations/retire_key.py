"""RetireKey: the end of a key version's use."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.keys import Key
from pinvault.operations.key_desk import KeyDesk


@dataclass(frozen=True, slots=True)
class RetireKey:
    """The use case."""

    desk: KeyDesk

    def __call__(self, call: Call, *, reference: str, check_value: str) -> Key:
        """Retire the version `name/version`; its check value tells it from one named by mistake."""
        self.desk.permit(call, reference)
        return self.desk.custody.retire(reference, check_value=check_value)

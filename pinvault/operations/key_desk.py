"""What the use cases of KeyService that change keys stand on.

Rules:
- Whoever brings a key may know it. So none comes by a call that guards other keys, since all that
  went out under it would be theirs, and none under a name whose value is made in the HSM.
"""

from dataclasses import dataclass
from datetime import date
from typing import Final

from pinvault.model.call import Call
from pinvault.model.custody import WantedKey
from pinvault.model.errors import Reason, Refusal, Violation
from pinvault.model.keys import Origin, Usage
from pinvault.operations.admission import Admission
from pinvault.operations.custody import Custody
from pinvault.policy.grants import Ask

KEYS_FOR_KEYS: Final = frozenset({Usage.K0, Usage.K1, Usage.K2, Usage.K3, Usage.M1})
"""Usages of what keys come and go under; M1 is half of a legacy key block protection key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDesk:
    """Who lets calls pass, and who changes keys."""

    admission: Admission
    custody: Custody

    def permit(self, call: Call, *references: str) -> None:
        """Let a call pass that a single row grants all keys it names, whether they exist or not.

        Those that do are noted for the record.
        """
        directory = self.custody.directory()
        found = (directory.get(reference) for reference in references)
        call.notes.keys.extend(key for key in found if key is not None)
        names = frozenset(reference.partition("/")[0] for reference in references)
        self.admission.admit(call, Ask(keys=names))

    def wanted(self, name: str, *, valid_until: date | None) -> WantedKey:
        """Say what the next version of a name is to be, or refuse a name that no caller brings."""
        wanted = self.custody.wanted(name, valid_until=valid_until)
        newest = self.custody.directory().newest(name)
        if wanted.usage in KEYS_FOR_KEYS:
            text = "keys for keys are brought by operators: see docs/ceremony.md"
        elif newest is not None and newest.origin is Origin.GENERATED:
            text = "its value is the service's own: rotate it"
        else:
            return wanted
        raise Refusal(Reason.KEY_CHANGE_REFUSED, violations=(Violation("name", text),))

"""What every use case of PinBlockService stands on."""

from dataclasses import dataclass
from typing import Protocol

from pinvault.clearzone.parcels import BlockToMake, Sealed, SealedBlock, StoredOf, ToMake
from pinvault.clearzone.zone import ClearZone, Terms
from pinvault.model.call import Call
from pinvault.model.pan import Pan
from pinvault.model.pins import CardSource, Format, PinSource
from pinvault.operations.admission import Admission
from pinvault.operations.passage import Passage, mark
from pinvault.operations.route import Router
from pinvault.operations.schemes import Schemes


class StoredPins(Protocol):
    """The PINs of cards that this server keeps."""

    def find(self, call: Call, source: CardSource, pan: Pan | None, *, at: str) -> SealedBlock:
        """Resolve the PIN of a card for the call's PAN, or refuse."""

    def take(self, call: Call, stored: StoredOf) -> None:
        """Count that a PIN which was found is taken out, or refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Who resolves names, lets calls pass, and moves PINs; `stored` where those of cards are kept.

    A use case has its sources resolved here that prove nothing, and by the router what is checked.
    """

    router: Router
    schemes: Schemes
    admission: Admission
    zone: ClearZone
    stored: StoredPins | None = None

    def source(self, call: Call, source: PinSource, *, pan: Pan | None, at: str) -> Sealed:
        """Resolve a source, which a stored PIN may be that is for the call's PAN, or refuse."""
        if isinstance(source, CardSource) and self.stored is not None:
            return self.stored.find(call, source, pan, at=f"{at}.card")
        return self.router.source(source, caller=call.caller, at=at)

    def admit(self, call: Call, passage: Passage) -> Terms:
        """Let a call pass, and count the stored PINs that it takes, or refuse."""
        terms = passage.admit(call, self.admission)
        if self.stored is not None:
            for each in passage.stored:
                self.stored.take(call, each)
        return terms

    def keep(self, call: Call, target: ToMake, made: bytes | str, pan: Pan | None) -> None:
        """Keep a PIN block for its PAN, or for none, that could be opened here for another."""
        if (
            isinstance(target, BlockToMake)
            and isinstance(made, bytes)
            and target.reopens
            and target.format is not Format.ISO_4
        ):
            self.admission.keep(call, mark(target.key, made), pan)

"""Stored PINs of cards as sources of PinBlockService.

Rules:
- A PIN can be had only of a card that the caller may know of, whose program reveals, in a status in
  which it may be revealed, and for the PAN of the call.
- It proves nothing of who asks, so that nothing is ever checked with it.
- What leaves the vault is counted as a reveal, and that is on disk, before the PIN is opened.
- Whose a card is stands in its row, which is proven by its seal and by its PAN.
"""

from dataclasses import dataclass, replace

from pinvault.clearzone.parcels import SealedBlock, StoredOf
from pinvault.model.call import Call
from pinvault.model.cards import ById
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.pins import CardSource
from pinvault.operations.cards import kept, uses
from pinvault.operations.cards.desk import CardDesk
from pinvault.operations.cards.intake import prove


@dataclass(frozen=True, slots=True)
class StoredPins:
    """What `Desk.stored` asks for, on the desk of the vault."""

    desk: CardDesk

    def find(self, call: Call, source: CardSource, pan: Pan | None, *, at: str) -> SealedBlock:
        """Resolve the PIN of a card for the call's PAN, or refuse."""
        known = self.desk.find(call, ById(source.card_id))
        if pan is None:
            raise Refusal(Reason.PAN_MISMATCH)
        found = kept.for_source(self.desk, known, self.desk.index.of(pan), at=at)
        return replace(found, pan=pan)

    def take(self, call: Call, stored: StoredOf) -> None:
        """Count that a PIN which was found is taken out, or refuse."""
        desk, known = self.desk, prove(self.desk, call, stored)
        desk.write(lambda db: uses.count(db, desk, known, uses.REVEALS, known.program.reveals))

"""What every use case of PinBlockService stands on."""

from dataclasses import dataclass

from pinvault.clearzone.parcels import BlockToMake, ToMake
from pinvault.clearzone.zone import ClearZone
from pinvault.model.call import Call
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.operations.admission import Admission
from pinvault.operations.passage import mark
from pinvault.operations.route import Router
from pinvault.operations.schemes import Schemes


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Who resolves names, lets calls pass, and moves PINs."""

    router: Router
    schemes: Schemes
    admission: Admission
    zone: ClearZone

    def keep(self, call: Call, target: ToMake, made: bytes | str, pan: Pan | None) -> None:
        """Keep a PIN block for its PAN, or for none, that could be opened here for another."""
        if (
            isinstance(target, BlockToMake)
            and isinstance(made, bytes)
            and target.reopens
            and target.format is not Format.ISO_4
        ):
            self.admission.keep(call, mark(target.key, made), pan)

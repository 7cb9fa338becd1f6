"""What every use case of PinBlockService stands on."""

from dataclasses import dataclass

from pinvault.clearzone.zone import ClearZone
from pinvault.operations.admission import Admission
from pinvault.operations.route import Router
from pinvault.operations.schemes import Schemes


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Who resolves names, lets calls pass, and moves PINs."""

    router: Router
    schemes: Schemes
    admission: Admission
    zone: ClearZone

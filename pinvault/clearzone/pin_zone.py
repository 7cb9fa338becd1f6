"""What every clear zone of PINs stands on: sources, ciphers, verification values, and one face.

Rules:
- What is opened is opened within `_one_face`, so that no exception brings a PIN out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hsm.device import Device
from pinvault.clearzone.encipher import BlockCipher
from pinvault.clearzone.one_face import one_face
from pinvault.clearzone.parcels import Reference, SealedBlock, SpentNonce
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.sources import Opening, Sources, SpendNonce
from pinvault.clearzone.strength import weak
from pinvault.clearzone.values import Values
from pinvault.clearzone.verification.compare import same_pin
from pinvault.model.call import Deadline
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.pin_rules import PinRules
from pinvault.model.profiles import PinLength

DAY_S = 86_400.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a call opens and accepts PINs: its deadline, and what its grant says."""

    deadline: Deadline
    pin_length: PinLength | None = None
    rules: PinRules | None = None


class PinZone:
    """The ground of a clear zone.

    `now` gives Unix seconds; `quantum_s` is the time class of refusals, in seconds;
    `ksn_window_s` is how long a DUKPT key serial number stays spent.
    """

    def __init__(
        self,
        device: Device,
        *,
        spend: SpendNonce,
        now: Callable[[], float],
        quantum_s: float,
        ksn_window_s: float = DAY_S,
    ) -> None:
        self._device = device
        self._cipher = BlockCipher(device)
        self._values = Values(device)
        self._sources = Sources(
            device=device, cipher=self._cipher, spend=spend, now=now, ksn_window_s=ksn_window_s
        )
        self._quantum_s = quantum_s

    def _one_face(self, work: Callable[[], T], terms: Terms) -> T:
        return one_face(work, quantum_s=self._quantum_s, deadline=terms.deadline)

    def _begin(self, terms: Terms, spent: list[SpentNonce] | None = None) -> Opening:
        return self._sources.begin(terms.deadline, terms.pin_length, spent=spent)

    def _matches(self, pin: Pin, reference: Reference, pan: Pan, opening: Opening) -> bool:
        if not isinstance(reference, SealedBlock):
            return self._values.match(pin, reference, pan=pan, deadline=opening.deadline)
        other, _ = opening.open(reference)
        with other:
            return same_pin(pin, other)


def require_strong(pin: Pin, current: Pin | None, terms: Terms) -> None:
    """Refuse a new PIN that the rules of the terms forbid; `current` is what it would replace."""
    if terms.rules is not None and weak(pin, rules=terms.rules, current=current):
        raise Refusal(Reason.PIN_WEAK)

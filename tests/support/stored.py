"""Cards and PINs as the store holds them, made under any device, many at once."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from sqlalchemy import insert

from pinvault.clearzone import stored_pan
from pinvault.clearzone.iso9564 import format4
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.pin import Pin
from pinvault.model.cards import card_id, owner
from pinvault.model.keys import KeyDirectory
from pinvault.model.pan import Pan
from pinvault.policy.pan_index import PanIndex
from pinvault.store import Store
from pinvault.store.cards import Card
from pinvault.store.pins import PinMaterial
from pinvault.store.schema import card, pin
from tests.support.software_device import SoftwareDevice, held, key

PROGRAM = "credit"
NOW = 1_700_000_000_000_000
TIMEOUT_S = 10.0
INDEX = PanIndex(bytes(range(32)))
NAMES = {"pan-store": "D0", "pin-reference": "P0", "pin-reveal": "P0"}


class Enciphers(Protocol):
    """What rows are made with: a device."""

    def encipher(self, key_id: str, blocks: bytes, *, timeout: float) -> bytes: ...


def id_of(number: int) -> str:
    """Ids of higher numbers sort later."""
    return card_id(now_ms=number, drawn=bytes(16))


def owner_of(number: int) -> str:
    """Whose a PAN is."""
    return owner(id_of(number), PROGRAM, None)


def pan_of(number: int) -> Pan:
    """PANs of 12 to 19 digits in turn."""
    return Pan(f"400000{number:06d}{'0' * (number % 8)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Makes rows under the keys that it is given; `index` finds PANs again, `seal` proves cards."""

    device: Enciphers
    index: Callable[[Pan], bytes]
    seal: Callable[[Card], bytes] = lambda _: bytes(32)  # of cards that nobody calls
    pan_key: str = "pan-store/1"
    reference_key: str | None = "pin-reference/1"
    reveal_key: str | None = None

    def pan(self, number: int) -> bytes:
        """The stored PAN of a card."""
        return stored_pan.encipher_pan(
            pan_of(number),
            owner=owner_of(number),
            encipher=lambda data: self._ecb(self.pan_key, data),
        )

    def block(self, key: str, number: int, *, digits: bytes = b"4829") -> bytes:
        """A PIN block of format 4."""
        field = format4.pin_field(Pin(digits), number.to_bytes(8))
        return self._ecb(key, xor(self._ecb(key, field), format4.pan_field(pan_of(number))))

    def card(self, number: int) -> Card:
        card = Card(
            id=id_of(number),
            program=PROGRAM,
            external_id=None,
            pan_index=self.index(pan_of(number)),
            pan_cipher=self.pan(number),
            pan_key=self.pan_key,
            last_four=pan_of(number).digits()[-4:],
            sequence_number="00",
            expiry="3012",
            status="active",
            created_at=NOW,
            changed_at=NOW,
            seal=b"",
        )
        return replace(card, seal=self.seal(card))

    def material(self, number: int, *, digits: bytes = b"4829") -> PinMaterial:
        reference, reveal = (
            None if key is None else self.block(key, number, digits=digits)
            for key in (self.reference_key, self.reveal_key)
        )
        return PinMaterial(
            method="block",
            reference=reference,
            reference_key=self.reference_key,
            reveal=reveal,
            reveal_key=self.reveal_key,
        )

    def fill(self, store: Store, numbers: Iterable[int]) -> None:
        """Put cards with a PIN each into the store."""
        made = [(self.card(number), self.material(number)) for number in numbers]
        rest = {"set_at": NOW, "tries_used": 0, "generation": 1, "try_round": 1}
        with store.write() as db:
            db.execute(insert(card), [asdict(each) for each, _ in made])
            db.execute(insert(pin), [asdict(m) | rest | {"card_id": each.id} for each, m in made])

    def _ecb(self, key: str, data: bytes) -> bytes:
        return self.device.encipher(key, data, timeout=TIMEOUT_S)


def generations(active: int, *, all_active: bool = False) -> tuple[SoftwareDevice, KeyDirectory]:
    """A device with the store's keys up to a version, and its directory; values are fixed.

    Versions before it decipher only, unless all are active, as a maker of old rows needs them.
    """
    keys = [
        key(
            name,
            usage,
            "AES_256",
            "B",
            version=version,
            state="active" if all_active or version == active else "decipher-only",
        )
        for name, usage in NAMES.items()
        for version in range(1, active + 1)
    ]
    values = {each.id: hashlib.sha256(each.id.encode()).digest() for each in keys}
    return SoftwareDevice(held(each, values[each.id]) for each in keys), KeyDirectory(keys)


def maker(version: int = 1, *, reveals: bool = True) -> Maker:
    """A maker of rows under one version of all keys."""
    device, _ = generations(version, all_active=True)
    return Maker(
        device=device,
        index=INDEX.of,
        pan_key=f"pan-store/{version}",
        reference_key=f"pin-reference/{version}",
        reveal_key=f"pin-reveal/{version}" if reveals else None,
    )

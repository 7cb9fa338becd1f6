"""How many PINs a version of a verification key has made the values of."""

from pinvault.store import Store, pins
from pinvault.store.pins import NO_PIN, PinMaterial
from tests.store.samples import NOW, add_cards, read, write


def test_pins_are_counted_by_the_version_that_verifies_them(store: Store) -> None:
    made_by = ("pvk/1", "pvk/1", "pvk/10", "a-pvk/1", "pvk-1/1")
    cards = [f"card-{number}" for number, _ in enumerate(made_by)]
    add_cards(store, *cards, "card-block")
    for card, key in zip(cards, made_by, strict=True):
        material = PinMaterial(method=f"pvv:visa:1@{key}", value="0000")
        write(store, pins.put_pin, card, material, replaces=NO_PIN, now=NOW)
    block = PinMaterial(method="block", reference=bytes(16), reference_key="pvk/1")
    write(store, pins.put_pin, "card-block", block, replaces=NO_PIN, now=NOW)
    counted = {key: read(store, pins.count_verified_by, key) for key in (*made_by, "pvk/2")}
    assert counted == {"pvk/1": 2, "pvk/10": 1, "a-pvk/1": 1, "pvk-1/1": 1, "pvk/2": 0}

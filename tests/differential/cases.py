"""How many random cases each comparison takes, 100,000 in all, and what they are made of.

Rules:
- A case is drawn from a generator that is seeded by the comparison's name, so that a failure is
  found again by running the test again.
- PINs and PANs are random digits: nobody's.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin

COUNTS = {
    "format 0": 12_000,
    "format 2": 12_000,
    "format 3": 10_000,
    "format 4": 10_000,
    "enciphered formats 0 and 3": 4_000,
    "enciphered format 4": 4_000,
    "damaged fields": 14_000,
    "PVV": 6_000,
    "IBM 3624": 6_000,
    "Visa blocks": 8_000,
    "card keys": 12_000,
    "EMV scripts": 1_000,
    "TDES DUKPT": 1_000,
}


@dataclass(frozen=True)
class Case:
    """A PIN and a PAN of random lengths, and the generator for what else a case needs."""

    pin: str
    pan: str
    rng: random.Random


def cases(
    name: str, *, shortest_pan: int = 13, pin_lengths: range = range(4, 13)
) -> Iterator[Case]:
    """Give the cases of a comparison. `psec` takes no PAN of 12 digits where it is cut."""
    rng = random.Random(name)
    for _ in range(COUNTS[name]):
        pin = digits(rng, rng.choice(pin_lengths))
        yield Case(pin, digits(rng, rng.randint(shortest_pan, 19)), rng)


def digits(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("0123456789", k=length))


def read(pin: Pin) -> str:
    with pin:
        return digits_of(pin).decode()

"""DUKPT transactions: which key serial numbers (KSN) and working keys a base key can have.

Rules:
- An AES base key has KSNs of 12 bytes: BDK ID (4), derivation ID (4), transaction counter (4)
  (X9.24-3:2017, 6.1). A TDES one has 10 bytes, the last 21 bits of which are the counter
  (X9.24-1:2009, A.1).
- Terminals never use counter 0, and skip every counter with more than 16 set bits (AES) or 10
  (TDES; A.3). What no terminal has made is refused before the HSM is touched.
- A working key is no stronger than its base key. Its block size is that of the PIN block.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Algorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class Dukpt:
    """The transaction of a PIN block: its KSN and the algorithm of its PIN encryption key.

    The block has `working_key.block_bytes` bytes: 16 (format 4) under AES, 8 under TDES.
    """

    ksn: bytes = field(repr=False)
    working_key: Algorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class KsnForm:
    """How a KSN is laid out: its bytes, and the bits of the counter at its end."""

    length: int
    counter_bits: int
    most_set_bits: int

    def counter(self, ksn: bytes) -> int:
        """Give the transaction counter.

        >>> TDES_KSN.counter(bytes.fromhex("FFFF9876543210EFF800")) == 0x0FF800
        True
        """
        return int.from_bytes(ksn) & ((1 << self.counter_bits) - 1)

    def allows(self, ksn: bytes) -> bool:
        """Tell whether a terminal can have made this KSN."""
        return len(ksn) == self.length and (
            1 <= self.counter(ksn).bit_count() <= self.most_set_bits
        )


AES_KSN: Final = KsnForm(length=12, counter_bits=32, most_set_bits=16)
TDES_KSN: Final = KsnForm(length=10, counter_bits=21, most_set_bits=10)

_TDES: Final = (Algorithm.TDES_2KEY, Algorithm.TDES_3KEY)
WORKING_KEYS: Final[Mapping[Algorithm, tuple[Algorithm, ...]]] = {
    Algorithm.TDES_2KEY: (Algorithm.TDES_2KEY,),
    Algorithm.AES_128: (*_TDES, Algorithm.AES_128),
    Algorithm.AES_192: (*_TDES, Algorithm.AES_128, Algorithm.AES_192),
    Algorithm.AES_256: (*_TDES, Algorithm.AES_128, Algorithm.AES_192, Algorithm.AES_256),
}
"""What each base key derives (X9.24-3:2017, 6.1 and 6.2; X9.24-1:2009, Annex A)."""


def require(dukpt: Dukpt, *, base: Algorithm, at: str) -> None:
    """Refuse a transaction that no terminal under such a base key has; `at` is its field."""
    if dukpt.working_key not in WORKING_KEYS.get(base, ()):
        raise Refusal(Reason.KSN_INVALID, field=f"{at}.working_key_algorithm")
    form = TDES_KSN if base is Algorithm.TDES_2KEY else AES_KSN
    if not form.allows(dukpt.ksn):
        raise Refusal(Reason.KSN_INVALID, field=f"{at}.key_serial_number")


def way_to(counter: int) -> Iterator[int]:
    """Give the counters whose keys lead from the initial key to this counter's, itself the last.

    Each has one more of its set bits than the one before, the most significant first.

    >>> [f"{passed:04b}" for passed in way_to(0b1011)]
    ['1000', '1010', '1011']
    """
    passed = 0
    for place in reversed(range(counter.bit_length())):
        bit = counter & (1 << place)
        if bit:
            passed |= bit
            yield passed

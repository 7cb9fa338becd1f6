"""AES DUKPT (X9.24-3:2017): the path from a base derivation key to a PIN encryption key.

Rules:
- No key is seen here: each step is derivation data, which the HSM enciphers under the key
  before it to make the next. Base, initial, derivation and working keys stay in the HSM.
- What the terminal holds is as strong as the base key (6.1); only the last key, which enciphers
  the PIN block, is of the algorithm that the caller names.
"""

from collections.abc import Mapping
from enum import IntEnum
from struct import pack
from typing import Final

from hsm import vocabulary
from hsm.device import Step
from pinvault.model.dukpt import AES_KSN, way_to
from pinvault.model.keys import Algorithm

_VERSION: Final = 1
_BLOCK_BITS: Final = 128


class _Usage(IntEnum):
    """Key usage indicator (6.3.2)."""

    PIN_ENCRYPTION = 0x1000
    KEY_DERIVATION = 0x8000
    INITIAL_KEY = 0x8001


_INDICATORS: Final[Mapping[Algorithm, tuple[int, int]]] = {
    Algorithm.TDES_2KEY: (0, 128),
    Algorithm.TDES_3KEY: (1, 192),
    Algorithm.AES_128: (2, 128),
    Algorithm.AES_192: (3, 192),
    Algorithm.AES_256: (4, 256),
}
"""Algorithm indicator, and the length of the key in bits (6.3.2)."""


def path_to_pin_key(ksn: bytes, *, base: Algorithm, working_key: Algorithm) -> tuple[Step, ...]:
    """Give the steps to the PIN encryption key of a KSN of 12 bytes that `require` let pass.

    They are the initial key, a key for each set bit of the counter (at most 16), and the
    working key (6.1 and 6.3).

    >>> ksn = bytes.fromhex("123456789012345600000003")
    >>> aes_128 = Algorithm.AES_128
    >>> for step in path_to_pin_key(ksn, base=aes_128, working_key=aes_128):
    ...     print(step.data.hex().upper())
    01018001000200801234567890123456
    01018000000200809012345600000002
    01018000000200809012345600000003
    01011000000200809012345600000003
    """
    initial_key_id, derivation_id = ksn[:8], ksn[4:8]
    return (
        _step(_Usage.INITIAL_KEY, base, initial_key_id),
        *(
            _step(_Usage.KEY_DERIVATION, base, derivation_id + counter.to_bytes(4))
            for counter in way_to(AES_KSN.counter(ksn))
        ),
        _step(_Usage.PIN_ENCRYPTION, working_key, ksn[4:]),
    )


def _step(usage: _Usage, child: Algorithm, context: bytes) -> Step:
    """Derive a key of `child`'s length, one block of data for each 128 bits of it (6.3.1).

    `context` is 8 bytes: the initial key ID, or derivation ID and counter.
    """
    indicator, bits = _INDICATORS[child]
    blocks = range(1, 1 + -(-bits // _BLOCK_BITS))
    data = (pack(">BBHHH", _VERSION, block, usage, indicator, bits) + context for block in blocks)
    return Step(vocabulary.Algorithm(child.value), b"".join(data))

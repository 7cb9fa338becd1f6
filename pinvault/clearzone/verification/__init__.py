"""Ways to tell a right PIN from a wrong one: Visa PVV, IBM 3624, and comparison of two PINs.

Rules:
- The PIN verification key stays in the HSM: `encipher` is TDES-ECB of one 8-byte block under it.
- A wrong PIN is an answer, False, and so is one of a length that cannot be right: the caller
  learns nothing of the length.
- Comparing takes the same time wherever the digits differ.
"""

from collections.abc import Callable

Encipher = Callable[[bytes], bytes]

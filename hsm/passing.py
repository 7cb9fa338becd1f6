"""Keys that live for one turn in the lane: how they are used, and their end.

Rules:
- A passing key is a session object of `hsm.roles.passing_template`; it is destroyed when its turn
  ends, whatever happens. What cannot be destroyed any more is gone with its session.
- Nothing can be done with it after its turn: its handle may be another key's by then, and the
  library another thread's.
"""

from contextlib import suppress
from typing import Any, Final

from pkcs11 import Mechanism, MechanismFlag
from pkcs11.exceptions import PKCS11Error

from hsm.errors import OperationNotPermitted
from hsm.mechanisms import ECB
from hsm.vocabulary import Family

NO_DEFAULTS: Final = MechanismFlag(0)
"""In place of python-pkcs11's own capabilities, which permit everything."""


class PassingObject:
    """A session object, used as far as it permits, until `destroy`."""

    __slots__ = ("_key",)

    def __init__(self, key: Any) -> None:
        self._key = key

    def use(self, method: str, data: bytes, mechanism: Mechanism, parameter: Any = None) -> bytes:
        """What a method of python-pkcs11 makes of the data.

        OperationNotPermitted when the object does not permit it, and after its end.
        """
        act = getattr(self._key, method, None)
        if act is None:
            raise OperationNotPermitted("the key does not permit this, or its turn is over")
        return bytes(act(data, mechanism=mechanism, mechanism_param=parameter))

    def destroy(self) -> None:
        """The end of the turn."""
        destroy(self._key)
        self._key = None


class PassingKey(PassingObject):
    """ECB over whole blocks under a session object. ValueError for what is not whole blocks."""

    __slots__ = ("_block_size", "_ecb")

    def __init__(self, key: Any, family: Family) -> None:
        super().__init__(key)
        self._ecb = ECB[family]
        self._block_size = family.block_size

    def encipher(self, blocks: bytes) -> bytes:
        """Whole blocks enciphered, as many bytes out as in."""
        return self.use("encrypt", self._whole(blocks), self._ecb)

    def decipher(self, blocks: bytes) -> bytes:
        """Whole blocks deciphered, as many bytes out as in."""
        return self.use("decrypt", self._whole(blocks), self._ecb)

    def _whole(self, blocks: bytes) -> bytes:
        if not blocks or len(blocks) % self._block_size:
            raise ValueError("the data are not whole blocks")
        return bytes(blocks)


def destroy(passing: Any) -> None:
    """Destroy a session object, or leave that to the end of its session."""
    with suppress(PKCS11Error):
        passing.destroy()

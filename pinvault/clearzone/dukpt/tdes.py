"""TDES DUKPT (X9.24-1:2009, Annex A): the PIN key of one transaction, derived in this process.

Rules:
- A general-purpose token cannot keep this derivation inside: it adds key halves to data. The
  base key stays in the HSM. The initial and the transaction key exist in this process for the
  length of one function, the PIN key for that of one `with` block. Hence this is off unless the
  configuration turns it on; AES DUKPT has no such gap.
- A key lies in a bytearray that is overwritten on the way out. Python cannot promise more: the
  HSM's answers and the terms of a sum are bytes, left to the allocator as SECURITY.md says.
- The two halves of the initial key come from two keys in the HSM: the base key, and its variant,
  the base key to which C0C0C0C000000000C0C0C0C000000000 was added before it was loaded.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Final, NoReturn, Self, final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from pinvault.clearzone.iso9564.fields import xor
from pinvault.model.dukpt import TDES_KSN, way_to

Encipher = Callable[[bytes], bytes]
"""One block of 8 bytes enciphered in ECB under a key of the HSM."""

KEY_VARIANT: Final = bytes.fromhex("C0C0C0C000000000C0C0C0C000000000")
PIN_VARIANT: Final = bytes.fromhex("00000000000000FF00000000000000FF")


@final
class PinKey:
    """The key that enciphers the one PIN block of a transaction; a `with` block wipes it."""

    __slots__ = ("_value",)

    def __init__(self, transaction_key: bytes | bytearray) -> None:
        """Take a transaction key of 16 bytes, and keep its PIN encryption variant (A.4.1)."""
        key = xor(bytes(transaction_key), PIN_VARIANT)
        self._value = bytearray(key + key[:8])

    def encipher(self, blocks: bytes) -> bytes:
        """Encipher whole blocks of 8 bytes in ECB. ValueError once the key is wiped."""
        return self._ecb().encryptor().update(blocks)

    def decipher(self, blocks: bytes) -> bytes:
        """Decipher whole blocks of 8 bytes in ECB. ValueError once the key is wiped."""
        return self._ecb().decryptor().update(blocks)

    def _ecb(self) -> Cipher[modes.ECB]:
        key = TripleDES(self._value)  # type: ignore[arg-type]  # any buffer will do: no copy is left
        return Cipher(key, modes.ECB())  # noqa: S305 - a PIN block is one block

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _wipe(self._value)
        self._value.clear()  # a key of zeros would still encipher

    def __repr__(self) -> str:
        return "<PIN key>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a PIN key is not to be pickled or copied")


def pin_key(ksn: bytes, *, encipher_left: Encipher, encipher_right: Encipher) -> PinKey:
    """Derive the PIN key of a KSN of 10 bytes that `require` let pass.

    `encipher_left` runs under the base key, `encipher_right` under its variant.
    """
    key = initial_key(ksn, encipher_left=encipher_left, encipher_right=encipher_right)
    try:
        advance(key, ksn)
        return PinKey(key)
    finally:
        _wipe(key)


def initial_key(ksn: bytes, *, encipher_left: Encipher, encipher_right: Encipher) -> bytearray:
    """Give the terminal's initial key, 16 bytes: its KSN without the counter, enciphered (A.6)."""
    counter = TDES_KSN.counter(ksn)
    terminal = (int.from_bytes(ksn) - counter).to_bytes(TDES_KSN.length)[:8]
    key = bytearray(16)
    key[:8] = encipher_left(terminal)
    key[8:] = encipher_right(terminal)
    return key


def advance(key: bytearray, ksn: bytes) -> None:
    """Turn the initial key of a KSN's terminal into the KSN's transaction key, in place (A.3).

    >>> key = bytearray.fromhex("6AC292FAA1315B4D858AB3A3D7D5933A")
    >>> advance(key, bytes.fromhex("FFFF9876543210E00002"))
    >>> key.hex().upper()
    'C46551CEF9FD24B0AA9AD834130D3BC7'
    """
    counter = TDES_KSN.counter(ksn)
    terminal = int.from_bytes(ksn[2:]) - counter
    for passed in way_to(counter):
        register = (terminal + passed).to_bytes(8)
        left = _generate(xor(bytes(key), KEY_VARIANT), register)
        key[8:] = _generate(bytes(key), register)
        key[:8] = left


def _generate(key: bytes, register: bytes) -> bytes:
    """Give half of the next key: the non-reversible key generation process, once (A.2)."""
    left, right = key[:8], key[8:]
    return xor(_des(left, xor(register, right)), right)


def _des(key: bytes, block: bytes) -> bytes:
    """Encipher a block of 8 bytes by single DES, which is TDES with one key three times."""
    cipher = Cipher(TripleDES(key * 3), modes.ECB())  # noqa: S305 - the standard's one block
    return cipher.encryptor().update(block)


def _wipe(key: bytearray) -> None:
    key[:] = bytes(len(key))

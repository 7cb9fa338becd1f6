"""Content keys unwrapped inside the token, for one turn: an AES key that comes under an RSA key.

Rules:
- The wrapped key comes by RSAES-OAEP alone, with the hash that the key ring fixes.
- The content key is a session object, sensitive, never extractable, and may only decrypt; it is
  destroyed when the turn ends.
- It proves itself before it is used: SoftHSM unwraps a key of any length, and fails at its use.
- What is wrong with wrapped keys and sealed contents has one face, `HsmDataRefused`; nothing here
  says what it was.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass

from hsm.attributes import read
from hsm.errors import HsmDataRefused
from hsm.mechanisms import CONTENT, Invocation
from hsm.passing import NO_DEFAULTS, PassingKey
from hsm.roles import passing_template
from hsm.vocabulary import Algorithm, Family

GCM_IV_BYTES: Final = 12
"""Length of the only initialisation vector taken (RFC 7518, 5.3)."""
GCM_TAG_BYTES: Final = 16
"""Length of the only tag taken."""

TEMPLATE: Final = passing_template((Attribute.DECRYPT,), CONTENT)
"""What a content key is."""


class ContentCipher(Protocol):
    """What can be done with a content key that lives for this one turn."""

    def decipher(self, blocks: bytes) -> bytes:
        """Whole blocks of 16 bytes deciphered in ECB; as many bytes out as in."""

    def open_gcm(self, *, iv: bytes, aad: bytes, sealed: bytes) -> bytes:
        """The plaintext of AES-GCM (SP 800-38D, 7.2): `iv` of 12 bytes, `sealed` with its tag of
        16 bytes at the end. What is wrong with them ends the turn with HsmDataRefused.
        """


class _ContentKey(PassingKey):
    __slots__ = ()

    def open_gcm(self, *, iv: bytes, aad: bytes, sealed: bytes) -> bytes:
        if len(iv) != GCM_IV_BYTES or len(sealed) < GCM_TAG_BYTES:
            raise HsmDataRefused
        parameter = GCMParams(bytes(iv), bytes(aad), GCM_TAG_BYTES * 8)
        return self.use("decrypt", bytes(sealed), Mechanism.AES_GCM, parameter)


def unwrap(
    private: Any,
    wrapped: bytes,
    how: Invocation,
    key_type: KeyType,
    template: Mapping[Attribute, Any],
) -> Any:
    """C_UnwrapKey with nothing but our own template; the secret key that it makes."""
    return private.unwrap_key(
        ObjectClass.SECRET_KEY,
        key_type,
        wrapped,
        mechanism=how.mechanism,
        mechanism_param=how.parameter,
        capabilities=NO_DEFAULTS,
        template=template,
    )


@contextmanager
def unwrapped(
    private: Any, wrapped: bytes, how: Invocation, *, algorithm: Algorithm
) -> Iterator[ContentCipher]:
    """The cipher under the AES key in `wrapped`, by `private`, an object that may unwrap.

    HsmDataRefused when the key has another length than `algorithm` and the token tells (SoftHSM
    does not). PKCS11Error when the token fails or refuses the data.
    """
    key = unwrap(private, wrapped, how, KeyType.AES, TEMPLATE)
    cipher = _ContentKey(key, Family.AES)
    try:
        length = read(key, Attribute.VALUE_LEN)
        if isinstance(length, int) and length not in (0, algorithm.bits // 8):
            raise HsmDataRefused
        cipher.decipher(bytes(algorithm.block_size))
        yield cipher
    finally:
        cipher.destroy()

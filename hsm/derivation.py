"""Keys derived inside the token, for one turn: paths of enciphered data, and the cipher at the end.

Rules:
- A child's value is data enciphered in ECB under its parent (CKM_DES3_ECB_ENCRYPT_DATA and
  CKM_AES_ECB_ENCRYPT_DATA; PKCS#11 v2.20, 12.14), so it never leaves the token.
- Those on the way may only derive; the last may only encipher and decipher whole blocks in ECB,
  and all are destroyed when the turn ends.
- What is enciphered by a derivation and read is no key: the zeros of a check value, and those from
  which the subkeys of CMAC come.
- A path is checked before the token is touched. No AES key comes of a TDES key, which is weaker.
- A token may set the parity of a TDES child; that changes nothing for the cipher.
"""

import ctypes
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Protocol

from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.constants import DEFAULT

from hsm.attributes import KEY_TYPES
from hsm.mechanisms import ECB, ENCRYPT_DATA
from hsm.passing import NO_DEFAULTS, PassingKey, destroy
from hsm.roles import Template, passing_template
from hsm.vocabulary import Algorithm, Family

_CHILDREN: Final[Mapping[Family, tuple[Family, ...]]] = MappingProxyType(
    {Family.AES: (Family.AES, Family.TDES), Family.TDES: (Family.TDES,)}
)
"""The families of key that may be derived from each."""
_READABLE: Final = passing_template((), (Mechanism.SHA256_HMAC,), readable=True)


@dataclass(frozen=True, slots=True)
class Step:
    """One derivation: the child's value is `data` enciphered in ECB under the parent.

    `algorithm` is the child's. `data` is whole blocks of the parent's cipher and at least as long
    as the child; of what is longer the first bytes count (AES_192: 24 of 32).
    """

    algorithm: Algorithm
    data: bytes = field(repr=False)


class KeyCipher(Protocol):
    """ECB over whole blocks under a key that lives for this one turn."""

    def encipher(self, blocks: bytes) -> bytes:
        """As many bytes out as in."""

    def decipher(self, blocks: bytes) -> bytes:
        """As many bytes out as in."""


def check(path: Sequence[Step], parent: Family) -> None:
    """ValueError for a path that no key of the family `parent` can go."""
    if not path:
        raise ValueError("a path has at least one step")
    for step in path:
        if step.algorithm.family not in _CHILDREN[parent]:
            raise ValueError("no key of this algorithm is derived from its parent")
        if len(step.data) % parent.block_size or len(step.data) * 8 < step.algorithm.bits:
            raise ValueError("the data are not whole blocks, or shorter than the key")
        parent = step.algorithm.family


@contextmanager
def derived(
    parent: Any, family: Family, path: Sequence[Step], *, enciphers: bool
) -> Iterator[KeyCipher]:
    """The cipher at the end of `path` from `parent`, an object that may derive.

    `path` has passed `check`. Without `enciphers` the cipher only deciphers. PKCS11Error when the
    token fails.
    """
    with ExitStack() as turn:
        for step in path[:-1]:
            parent = derive(parent, family, step, _on_the_way(step.algorithm.family))
            turn.callback(destroy, parent)
            family = step.algorithm.family
        last = path[-1].algorithm.family
        cipher = PassingKey(derive(parent, family, path[-1], _at_the_end(last, enciphers)), last)
        turn.callback(cipher.destroy)
        yield cipher


def derive(parent: Any, family: Family, step: Step, template: Template) -> Any:
    """C_DeriveKey: one session object from another. PKCS11Error when the token refuses."""
    child = step.algorithm
    # A TDES type says its length itself; SoftHSM refuses to be told.
    length = {Attribute.VALUE_LEN: DEFAULT} if child.family is Family.TDES else {}
    return _derive(parent, family, KEY_TYPES[child], child.bits, step.data, {**template, **length})


def enciphered(parent: Any, family: Family, blocks: bytes) -> bytes:
    """Whole blocks enciphered in ECB under `parent`, an object that may derive and nothing else.

    PKCS11Error when the token fails.
    """
    bits = len(blocks) * 8
    child = _derive(parent, family, KeyType.GENERIC_SECRET, bits, blocks, _READABLE)
    try:
        return bytes(child[Attribute.VALUE])
    finally:
        destroy(child)


def _derive(
    parent: Any,
    family: Family,
    key_type: KeyType,
    bits: int,
    blocks: bytes,
    template: Mapping[Attribute, Any],
) -> Any:
    # CK_KEY_DERIVATION_STRING_DATA. python-pkcs11 builds it for AES alone; for TDES it takes the
    # bytes of the structure, and the data it points to must live until the call returns.
    data = ctypes.create_string_buffer(blocks, len(blocks))
    structure = struct.pack("PL", ctypes.addressof(data), len(blocks))
    return parent.derive_key(
        key_type,
        bits,
        capabilities=NO_DEFAULTS,
        mechanism=ENCRYPT_DATA[family],
        mechanism_param=blocks if family is Family.AES else structure,
        template=template,
    )


@cache
def _on_the_way(family: Family) -> Template:
    return passing_template((Attribute.DERIVE,), (ENCRYPT_DATA[family],))


@cache
def _at_the_end(family: Family, enciphers: bool) -> Template:
    may = (Attribute.DECRYPT, Attribute.ENCRYPT) if enciphers else (Attribute.DECRYPT,)
    return passing_template(may, (ECB[family],))

"""Secret keys that come wrapped and stay: unwrapped by OAEP straight into objects of the token.

Rules:
- The wrapping key is a K2 pair, its padding that of the key ring.
- The length of what came is proved before anything is made of it: as a type of key, a token may
  take whatever comes (SoftHSM unwraps 32 bytes as a key of 16, and does not tell).
- What is wrong with a wrapped key has one face, `HsmDataRefused`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from pkcs11 import Attribute, KeyType, Mechanism, Object
from pkcs11.exceptions import PKCS11Error

from hsm.attributes import KEY_TYPES, read
from hsm.errors import Fault, HsmDataRefused, return_value
from hsm.keys import LiveKey
from hsm.mechanisms import Operation, RsaPadding, invocation
from hsm.passing import destroy
from hsm.roles import passing_template
from hsm.unwrapping import unwrap
from hsm.vocabulary import Algorithm, Family

_LEAST: Final[Mapping[int, Mechanism]] = MappingProxyType(
    {20: Mechanism.SHA_1_HMAC, 32: Mechanism.SHA256_HMAC, 48: Mechanism.SHA384_HMAC}
)
"""The shortest key, in bytes, that SoftHSM takes for each MAC: one as long as the hash."""


def unwrapper(
    live: LiveKey, wrapped: bytes, padding: RsaPadding, algorithm: Algorithm
) -> Callable[[Mapping[Attribute, Any]], Object]:
    """What makes objects of the wrapped key with given attributes, by `live`, a pair that may
    unwrap.

    HsmDataRefused when the key is not of this algorithm's length. PKCS11Error when the token fails
    or refuses the data, here and in each making.
    """
    how = invocation(Operation.LOAD, Family.RSA, padding)
    make = partial(unwrap, live.operative, bytes(wrapped), how)
    if not _has_length(make, algorithm.bits // 8):
        raise HsmDataRefused
    return partial(make, KEY_TYPES[algorithm])


def _has_length(make: Callable[[KeyType, Mapping[Attribute, Any]], Object], length: int) -> bool:
    """Whether the wrapped bytes are so many: as the token tells of them when they are no key yet,
    or, where it does not (SoftHSM), by the MACs that it takes them for. That tells all lengths
    apart that keys of TDES and AES have, but not 33 to 47 bytes from 32.
    """
    template = passing_template((Attribute.SIGN,), _LEAST.values())
    material = make(KeyType.GENERIC_SECRET, template)
    try:
        told = read(material, Attribute.VALUE_LEN)
        if isinstance(told, int) and told:
            return told == length
        return all(
            _is_taken(material, mechanism) is (least <= length)
            for least, mechanism in _LEAST.items()
        )
    finally:
        destroy(material)


def _is_taken(material: Any, mechanism: Mechanism) -> bool:
    try:
        material.sign(b"", mechanism=mechanism)
    except PKCS11Error as error:
        if return_value(error).fault is not Fault.REFUSAL:
            raise
        return False
    return True

"""A thief who holds the token's user PIN: its session, the key it has chosen, and its own keys.

Rules:
- Nothing of hsm's rules is kept: plain C_* calls, with whatever template helps the thief.
- Every attempt has a session of its own, so that none suffers from what another left open; all
  that a thief makes is gone with it.
- An attempt gives the bytes that it got hold of, or is refused; it never looks at the true value.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, Session, Token
from pkcs11.exceptions import PKCS11Error

from hsm import attributes
from hsm.errors import Fault, return_value
from hsm.probes import unbound
from hsm.vocabulary import Family

SECRET = ObjectClass.SECRET_KEY
PRIVATE = ObjectClass.PRIVATE_KEY
PUBLIC = ObjectClass.PUBLIC_KEY

TROJAN = bytes(range(32))
"""The value of the key that a thief brings along."""
OPEN = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
"""The template of an object that anyone may read."""
CAPABILITIES = (
    Attribute.ENCRYPT,
    Attribute.DECRYPT,
    Attribute.WRAP,
    Attribute.UNWRAP,
    Attribute.SIGN,
    Attribute.VERIFY,
    Attribute.DERIVE,
)

Attempt = Callable[["Thief"], bytes]


@contextmanager
def session_of(token: Token) -> Iterator[Session]:
    """Open a session that shares the login of its process, and ends without a logout."""
    session = token.open(rw=True, attribute_mapper=attributes.mapper())
    try:
        yield session
    finally:
        session.close()


@dataclass(frozen=True, slots=True)
class Thief:
    """One who has a session of the service's own, and has chosen a key."""

    session: Session
    prey: Mapping[ObjectClass, Any]
    family: Family

    @classmethod
    def choose(cls, session: Session, key_id: str, family: Family) -> "Thief":
        """Find a key's objects by id, with the methods that python-pkcs11 leaves out."""
        objects = session.get_objects({Attribute.ID: key_id.encode()})
        found = [(each[Attribute.CLASS], each) for each in objects]
        return cls(session, {kind: unbound(each, kind) for kind, each in found}, family)

    @property
    def kind(self) -> ObjectClass:
        """The class of the object that has the secret; of a partner's key, its public half."""
        return next(each for each in (SECRET, PRIVATE, PUBLIC) if each in self.prey)

    @property
    def key(self) -> Any:
        """The object that has the secret."""
        return self.prey[self.kind]

    @property
    def tool(self) -> Any:
        """The object that would wrap and encipher: the public half of a pair."""
        return self.prey.get(PUBLIC) or self.key

    def drawn(self, key_type: KeyType = KeyType.AES, bits: int | None = 256) -> Any:
        """Make a key that may do all that the library's own defaults permit."""
        return unbound(self.session.generate_key(key_type, bits), SECRET)

    def known(self, value: bytes = TROJAN, changes: Mapping[Attribute, object] = OPEN) -> Any:
        """Bring in an AES key whose value the thief knows."""
        template = {
            Attribute.CLASS: SECRET,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.VALUE: value,
            **dict.fromkeys(CAPABILITIES[:4], True),
        }
        return unbound(self.session.create_object({**template, **changes}), SECRET)

    def carry_off(self, key: Any, wrapping: Any) -> bytes:
        """Wrap a key under one of value TROJAN, and open the wrap outside the token."""
        wrapped = wrapping.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD)
        return keywrap.aes_key_unwrap_with_padding(TROJAN, wrapped)

    def take(self, key: Any) -> bytes:
        """Read an object's value or, when that is refused, carry it off."""
        is_rsa = self.family is Family.RSA and self.kind is PRIVATE
        try:
            return bytes(key[Attribute.PRIVATE_EXPONENT if is_rsa else Attribute.VALUE])
        except PKCS11Error:
            return self.carry_off(key, self.known())


def mount(
    attempts: Mapping[str, Attempt], token: Token, key_id: str, family: Family
) -> dict[str, bytes | str]:
    """Make every attempt; by name, what it got hold of, or the return value that refused it."""
    return {name: _make(attempt, token, key_id, family) for name, attempt in attempts.items()}


def _make(attempt: Attempt, token: Token, key_id: str, family: Family) -> bytes | str:
    with session_of(token) as session:
        thief = Thief.choose(session, key_id, family)
        try:
            return attempt(thief)
        except PKCS11Error as error:
            value = return_value(error)
            return value.name if value.fault is Fault.REFUSAL else type(error).__name__


def opened(wrapping: Any, wrapped: bytes, how: Mechanism) -> bytes:
    """Undo a wrap by deciphering alone, though no mechanism that unwraps is used."""
    if how is Mechanism.AES_CBC:
        return bytes(wrapping.decrypt(wrapped, mechanism=how, mechanism_param=bytes(16)))
    check, data = unwrapped(
        wrapped, lambda block: bytes(wrapping.decrypt(block, mechanism=Mechanism.AES_ECB))
    )
    if how is Mechanism.AES_KEY_WRAP:
        return data
    return data[: int.from_bytes(check[4:], "big")]


def unwrapped(wrapped: bytes, decipher: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """W^-1 of SP 800-38F, 6.1: the check value and the data, by one block cipher call a step."""
    check, *data = (wrapped[at : at + 8] for at in range(0, len(wrapped), 8))
    for step in range(6 * len(data), 0, -1):
        at = (step - 1) % len(data)
        whole = decipher(_xor(check, step.to_bytes(8, "big")) + data[at])
        check, data[at] = whole[:8], whole[8:]
    return check, b"".join(data)


def wrapped_by(value: bytes, encipher: Callable[[bytes], bytes]) -> bytes:
    """W of SP 800-38F, 6.1, for KW: what unwraps to `value`, by one block cipher call a step."""
    check, data = b"\xa6" * 8, [value[at : at + 8] for at in range(0, len(value), 8)]
    for step in range(1, 6 * len(data) + 1):
        at = (step - 1) % len(data)
        whole = encipher(check + data[at])
        check, data[at] = _xor(whole[:8], step.to_bytes(8, "big")), whole[8:]
    return check + b"".join(data)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(one, other, strict=True))


def public_key(public: Any) -> rsa.RSAPublicKey:
    """Give the public half of an RSA pair, which anyone may encipher under outside the token."""
    numbers = (public[Attribute.PUBLIC_EXPONENT], public[Attribute.MODULUS])
    return rsa.RSAPublicNumbers(*(int.from_bytes(each, "big") for each in numbers)).public_key()

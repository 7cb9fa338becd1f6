"""The bench on which a token is tried: one session, and throw-away keys that live for one trial.

Rules:
- The session is read-only, so whatever is made in it is a session object: the token refuses to keep
  any (CKR_SESSION_READ_ONLY), and drops all when the session ends, even by a crash.
- What a trial makes is destroyed when it ends. Key pairs take long to make and stay for the next.
- Keys have the templates of the service's own roles. What the token refuses of them is told by a
  trial of its own, and then left out, so that the other trials can still tell something.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pkcs11 import Attribute, Mechanism, ObjectClass, Session
from pkcs11.exceptions import PKCS11Error

from hsm import keys, token
from hsm.attributes import KEY_TYPES, P256
from hsm.errors import HsmError, return_value
from hsm.module import Library
from hsm.passing import NO_DEFAULTS, destroy
from hsm.probes import unbound
from hsm.roles import ROLES, Role, passing_template
from hsm.token import TokenLocation
from hsm.vocabulary import Algorithm, Family, Mode, Usage

RSA_BITS: Final = 2048


class Suitability(StrEnum):
    """How far a token meets one need."""

    GOOD = "ok"
    LIMITED = "limited"
    UNUSABLE = "not usable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something the service needs of a token, and what becomes of the service without it."""

    name: str
    call: str
    """The functions of PKCS#11 that it takes."""
    mechanisms: tuple[Mechanism, ...] = ()
    lost: str
    """What cannot be offered without it."""
    remedy: str
    vital: bool = False
    """Whether nothing can be offered without it."""
    only_told: bool = False
    """Whether the service does without: whatever is found, even a crash, is only told."""
    patience: float = 60.0
    """Seconds after which its trial counts as hung."""

    @property
    def mechanism(self) -> str:
        """Its mechanisms by the names of the standard."""
        return ", ".join(f"CKM_{mechanism.name}" for mechanism in self.mechanisms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One need, and how the token met it."""

    need: str
    call: str
    mechanism: str
    verdict: Suitability
    found: str
    lost: str = ""
    remedy: str = ""

    @classmethod
    def of(cls, need: Need, verdict: Suitability, found: str) -> "Row":
        """The row of a need; what is lost, and the remedy, only where something is."""
        is_good = verdict is Suitability.GOOD
        return cls(
            need=need.name,
            call=need.call,
            mechanism=need.mechanism,
            verdict=verdict,
            found=found,
            lost="" if is_good else need.lost,
            remedy="" if is_good else need.remedy,
        )

    @classmethod
    def short(cls, need: Need, found: str) -> "Row":
        """The row of a need that is not met."""
        if need.only_told:
            return cls.of(need, Suitability.GOOD, found)
        return cls.of(need, Suitability.UNUSABLE if need.vital else Suitability.LIMITED, found)


class Shortfall(Exception):
    """The token does something else than is needed; the text says what, and holds no data."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A need, and an attempt that gives what was found or raises why it is not met."""

    need: Need
    attempt: "Callable[[Bench], str]"


class Bench:
    """A session with the token, logged in, and what is made in it."""

    def __init__(self, library: Library, location: TokenLocation) -> None:
        self.library = library
        self.location = location
        self.unbearable: frozenset[Attribute] = frozenset()
        """Attributes that the token refuses in a template."""
        self._passing: list[Any] = []
        self._pairs: dict[tuple[Usage, Family, Mode], tuple[Any, Any]] = {}
        self.open()

    def open(self) -> None:
        """Log in anew; nothing that was made before is counted on any more."""
        self.forget()
        self.session = token.open_session(token.find(self.library, self.location), self.location)

    def another_session(self) -> Session:
        """A second session of this process, which shares the login."""
        return token.open_session(token.find(self.library, self.location), self.location)

    def close(self) -> None:
        """Log out and close the session, with all that lives in it."""
        token.close_session(self.session)
        self.forget()

    def forget(self) -> None:
        """Drop handles whose session is gone."""
        self._passing.clear()
        self._pairs.clear()

    def examine(self, trial: Trial) -> Row:
        """Make one trial, and destroy what it made."""
        try:
            return Row.of(trial.need, Suitability.GOOD, trial.attempt(self))
        except Shortfall as error:
            found = str(error)
        except PKCS11Error as error:
            found = name_of(error)
        except HsmError as error:
            found = error.problem
        finally:
            while self._passing:
                destroy(self._passing.pop())
        return Row.short(trial.need, found)

    def secret(
        self,
        algorithm: Algorithm,
        may: Iterable[Attribute] = (),
        by: Iterable[Mechanism] = (),
        changes: Mapping[Attribute, Any] | None = None,
    ) -> Any:
        """C_GenerateKey: a key of the passing template; without `by` it is bound to no mechanism.

        It has every method, whatever it may do.
        """
        made = self.session.generate_key(
            KEY_TYPES[algorithm],
            algorithm.bits,
            capabilities=NO_DEFAULTS,
            template=self._secret_template(may, by, changes or {}),
        )
        return self.adopt(made)

    def load(self, algorithm: Algorithm, value: bytes, may: Iterable[Attribute]) -> Any:
        """C_CreateObject: a key with a known value."""
        material = {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KEY_TYPES[algorithm],
            Attribute.VALUE: value,
        }
        template = self._secret_template(may, (), {})
        return self.adopt(self.session.create_object({**material, **template}))

    def load_public(self, public: rsa.RSAPublicKey) -> Any:
        """C_CreateObject: a partner's public key, for encryption."""
        numbers = public.public_numbers()
        role = ROLES[Usage.D1, Family.RSA, Mode.E]
        material = {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: KEY_TYPES[Algorithm.RSA_2048],
            Attribute.MODULUS: numbers.n.to_bytes(RSA_BITS // 8, "big"),
            Attribute.PUBLIC_EXPONENT: numbers.e.to_bytes(3, "big"),
        }
        template = self._role_template(role, ObjectClass.PUBLIC_KEY)
        made = self.session.create_object({**material, **template})
        return self.adopt(made, ObjectClass.PUBLIC_KEY)

    def adopt(self, made: Any, object_class: ObjectClass = ObjectClass.SECRET_KEY) -> Any:
        """The object with every method, to be destroyed when the trial ends."""
        self._passing.append(made)
        return unbound(made, object_class)

    def pair(self, usage: Usage, family: Family, mode: Mode) -> tuple[Any, Any]:
        """C_GenerateKeyPair: public key (pyca) and private object of a role."""
        return self.pair_of(ROLES[usage, family, mode])

    def pair_of(self, role: Role) -> tuple[Any, Any]:
        """As `pair`, for a role that need not be in the table."""
        kind = role.usage, role.family, role.mode
        if kind not in self._pairs:
            public, private = self.make_pair(role)
            loaded = serialization.load_der_public_key(keys.read_public_key(public, role.family))
            if not isinstance(loaded, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
                raise Shortfall("the token made another key than it was asked for")
            self._pairs[kind] = loaded, unbound(private, ObjectClass.PRIVATE_KEY)
        return self._pairs[kind]

    def make_pair(self, role: Role) -> tuple[Any, Any]:
        """Both objects of a new pair."""
        is_rsa = role.family is Family.RSA
        public = self._role_template(role, ObjectClass.PUBLIC_KEY)
        return self.session.generate_keypair(
            KEY_TYPES[Algorithm.RSA_2048 if is_rsa else Algorithm.EC_P256],
            RSA_BITS if is_rsa else None,
            capabilities=NO_DEFAULTS,
            mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN if is_rsa else Mechanism.EC_KEY_PAIR_GEN,
            public_template={**({} if is_rsa else {Attribute.EC_PARAMS: P256}), **public},
            private_template=self._role_template(role, ObjectClass.PRIVATE_KEY),
        )

    def kept_objects(self) -> int:
        """How many objects the token itself holds, as far as this user sees them."""
        return sum(1 for _ in self.session.get_objects({Attribute.TOKEN: True}))

    def _secret_template(
        self, may: Iterable[Attribute], by: Iterable[Mechanism], changes: Mapping[Attribute, Any]
    ) -> dict[Attribute, Any]:
        bound = tuple(by)
        template = {**passing_template(may, bound or (Mechanism.AES_ECB,)), **changes}
        if not bound:
            del template[Attribute.ALLOWED_MECHANISMS]
        return self._bearable(template)

    def _role_template(self, role: Role, object_class: ObjectClass) -> dict[Attribute, Any]:
        template = role.template(object_class, destroyable=True)
        return self._bearable({**template, Attribute.TOKEN: False})

    def _bearable(self, template: Mapping[Attribute, Any]) -> dict[Attribute, Any]:
        return {name: value for name, value in template.items() if name not in self.unbearable}


FIRMWARE: Final = "ask for firmware, or a policy of the partition, that permits the mechanism"


def trial(  # the columns of a table
    name: str,
    call: str,
    mechanisms: tuple[Mechanism, ...],
    attempt: Callable[..., str],
    *given: object,
    lost: str,
    remedy: str = FIRMWARE,
    vital: bool = False,
) -> Trial:
    """One row of a table of trials: `attempt` gets the bench and what is `given`."""
    need = Need(name=name, call=call, mechanisms=mechanisms, lost=lost, remedy=remedy, vital=vital)
    return Trial(need, lambda bench: attempt(bench, *given))


def expect(is_right: bool, otherwise: str = "another result than in software") -> None:
    """Shortfall, with a constant text, for what is not right."""
    if not is_right:
        raise Shortfall(otherwise)


def name_of(error: PKCS11Error) -> str:
    """The standard's name of what the token answered."""
    value = return_value(error)
    return value.name if value.code >= 0 else f"{value.name} ({type(error).__name__})"


def in_software(algorithm: Algorithm, value: bytes, blocks: bytes) -> bytes:
    """ECB in software, by which the token's own is judged: random data under throw-away keys."""
    if algorithm.family is Family.AES:
        cipher: Any = algorithms.AES(value)
    else:
        cipher = TripleDES((value + value[:8])[:24])
    return Cipher(cipher, modes.ECB()).encryptor().update(blocks)  # noqa: S305

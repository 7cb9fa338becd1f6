"""The façade: everything a service does with the keys of its token.

Rules:
- Whatever a caller can get wrong is refused before the token is touched, by an error that holds
  none of the data: UnknownKey and OperationNotPermitted for keys, operations and paddings,
  ValueError for lengths.
- Whatever the token refuses about data has one face, `HsmDataRefused`.
- Every call into the library, from the first to the last, passes through one lane.
- One `Device` a process: the library, its login and its lane cannot be shared.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from pkcs11.exceptions import PKCS11Error

from hsm import adoption, agreement, derivation, inspection, key_blocks, keys, orders, serving
from hsm.derivation import KeyCipher, Step
from hsm.errors import Finding, HsmDataRefused, HsmUnavailable, ProvisioningError, return_value
from hsm.key_blocks import KeyBlockKeys, KeyBlockVersion
from hsm.keyring import KeyEntry, Keyring
from hsm.mechanisms import DIGEST_BYTES, Operation, RsaPadding, longest_message
from hsm.module import Library
from hsm.orders import KeySpec, Order
from hsm.recovery import DeviceStatus, Link
from hsm.serving import KeyGroup, Serving
from hsm.token import TokenLocation
from hsm.turns import Turns, outcome
from hsm.unwrapping import ContentCipher
from hsm.vocabulary import Algorithm, Family, State

__all__ = [
    "Algorithm",
    "ContentCipher",
    "Device",
    "DeviceStatus",
    "KeyBlockKeys",
    "KeyBlockVersion",
    "KeyCipher",
    "KeySpec",
    "RsaPadding",
    "Step",
    "TokenLocation",
]

ResultT = TypeVar("ResultT")

HANG_AFTER: Final = 5.0
"""Seconds inside the token after which the device counts as hung."""
RANDOM_BYTES: Final = 65_536
"""Most bytes that one call of `random` gives."""


class Device:
    """A token opened under a key ring. Safe to use from any number of threads."""

    def __init__(
        self,
        link: Link,
        keyring: Keyring,
        public_keys: Mapping[str, bytes],
        *,
        warnings: tuple[Finding, ...] = (),
        hang_after: float = HANG_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._turns = Turns(link, hang_after=hang_after, clock=clock)
        self._serving = serving.under(keyring, public_keys, self._turns.run_of)
        self._adopting = threading.Lock()
        self._clock = clock
        self.warnings = warnings

    @classmethod
    def open(
        cls,
        location: TokenLocation,
        keyring: Keyring,
        *,
        inspect: bool = True,
        unfinished: str | None = None,
        hang_after: float = HANG_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> "Device":
        """Load the module, log in to the one token, inspect it, and find every key.

        `inspect=False` is for development and for doctor only: the keys' check values are still
        compared, their attributes are not. `unfinished` is the id of a key that is about to be
        ordered: what an interrupted order left of it is a warning. `hang_after` is in seconds.

        InspectionFailed with all findings, TokenNotFound, HsmLoginFailed, MechanismMissing or
        ModuleUnusable when the set-up is wrong; HsmUnavailable when the token fails meanwhile.
        """
        library = Library.load(location.module)
        try:
            demanded = partial(inspection.inspect_token, unfinished=unfinished)
            warnings = demanded(library, location, keyring) if inspect else ()
            link = Link(library, location, keyring, clock=clock, review=inspect)
            link.connect()
            public_keys = adoption.read_public_keys(link, keyring)
        except PKCS11Error as error:
            reason = return_value(error).name
        except BaseException:
            library.close()
            raise
        else:
            return cls(
                link, keyring, public_keys, warnings=warnings, hang_after=hang_after, clock=clock
            )
        library.close()
        raise HsmUnavailable(reason=reason)

    @property
    def status(self) -> DeviceStatus:
        """SERVING, RECOVERING, DOWN, or HUNG when a call has been in the token for too long."""
        return self._turns.status

    @property
    def busy_since(self) -> float | None:
        """When the call now in the token began, by the device's clock; None when none is."""
        return self._turns.busy_since

    @property
    def sealed_keys(self) -> frozenset[str]:
        """Ids of the keys that are lost or changed while others serve."""
        return self._link.sealed

    def encipher(self, key_id: str, blocks: bytes, *, timeout: float) -> bytes:
        """Whole blocks enciphered in ECB, block by block; as many bytes out as in.

        `timeout` is in seconds, here and in every method.
        """
        return self._blocks(Operation.ENCIPHER, key_id, blocks, timeout)

    def decipher(self, key_id: str, blocks: bytes, *, timeout: float) -> bytes:
        """Whole blocks deciphered in ECB, block by block; as many bytes out as in."""
        return self._blocks(Operation.DECIPHER, key_id, blocks, timeout)

    def rsa_encrypt(
        self, key_id: str, plaintext: bytes, *, padding: RsaPadding, timeout: float
    ) -> bytes:
        """A message of at most modulus minus padding bytes under a partner's public key."""
        group = self._serving.permitted(Operation.RSA_ENCRYPT, key_id)
        if len(plaintext) > longest_message(group.entry.algorithm, padding):
            raise ValueError("the message is too long for the key")
        return self._apply(Operation.RSA_ENCRYPT, group, plaintext, timeout, padding=padding)

    def rsa_decrypt(
        self, key_id: str, ciphertext: bytes, *, padding: RsaPadding, timeout: float
    ) -> bytes:
        """The message sealed in a ciphertext, by the one padding that the key ring fixes.

        OperationNotPermitted for another padding, before the token is touched. HsmDataRefused for
        every bad ciphertext, of whatever length; by PKCS #1 v1.5 bad padding takes the token as
        long as good. A caller of that tells nobody which of both it was.
        """
        group = self._serving.permitted_padding(Operation.RSA_DECRYPT, key_id, padding)
        if padding is RsaPadding.PKCS1_V1_5:
            message = bytes(ciphertext)
            return self._turns.perform(group, lambda live: keys.open_pkcs1(live, message), timeout)
        return self._apply(Operation.RSA_DECRYPT, group, ciphertext, timeout, padding=padding)

    def with_derived(
        self,
        key_id: str,
        path: Sequence[Step],
        work: Callable[[KeyCipher], ResultT],
        *,
        timeout: float,
    ) -> ResultT:
        """What `work` makes of the key at the end of `path`, which lives until `work` returns.

        `path` is checked by `hsm.derivation.check`, or ValueError. Under a key in the state
        decipher-only the cipher only deciphers.

        `work` runs inside the lane, perhaps in another caller's thread and, when the token fails
        meanwhile, again: it is short, calls no method of the device, lets pass what its cipher
        raises, and has no effect but its result. What it raises itself, this raises unchanged.
        """
        group = self._serving.permitted(Operation.DERIVE, key_id)
        steps = tuple(path)
        derivation.check(steps, group.entry.algorithm.family)
        enciphers = group.entry.state is State.ACTIVE

        def turn(live: keys.LiveKey) -> ResultT:
            with keys.derived(live, steps, enciphers=enciphers) as cipher:
                return outcome(work, cipher)

        return self._turns.perform(group, turn, timeout)

    def with_unwrapped(
        self,
        key_id: str,
        wrapped: bytes,
        work: Callable[[ContentCipher], ResultT],
        *,
        padding: RsaPadding,
        algorithm: Algorithm,
        timeout: float,
    ) -> ResultT:
        """What `work` makes of the AES key wrapped by OAEP, which lives until `work` returns.

        `padding` is the one that the key ring fixes, or OperationNotPermitted. HsmDataRefused for
        whatever is wrong with the wrapped key and with what `work` opens. For `work` the rules of
        `with_derived` hold.
        """
        group = self._serving.permitted_padding(Operation.UNWRAP, key_id, padding)
        if algorithm.family is not Family.AES:
            raise ValueError("a content key is an AES key")
        data = bytes(wrapped)

        def turn(live: keys.LiveKey) -> ResultT:
            with keys.unwrapped(live, data, rsa_padding=padding, algorithm=algorithm) as cipher:
                return outcome(work, cipher)

        return self._turns.perform(group, turn, timeout, blames_data=True)

    def with_key_block_keys(
        self,
        key_id: str,
        version: KeyBlockVersion,
        work: Callable[[KeyBlockKeys], ResultT],
        *,
        opens: bool,
        timeout: float,
    ) -> ResultT:
        """What `work` makes of the keys of a key block, which live until `work` returns.

        The protection key `key_id` has the algorithm of the version, or ValueError. With `opens` it
        has mode B or D and KBEK deciphers; without, it is active, has mode B or E, and KBEK
        enciphers; or OperationNotPermitted. For `work` the rules of `with_derived` hold.
        """
        operation = Operation.OPEN_BLOCK if opens else Operation.MAKE_BLOCK
        group = self._serving.permitted(operation, key_id)
        key_blocks.check(version, group.entry.algorithm)

        def turn(live: keys.LiveKey) -> ResultT:
            with keys.key_block_keys(live, version, opens=opens) as both:
                return outcome(work, both)

        return self._turns.perform(group, turn, timeout)

    def agree(self, key_id: str, peer: bytes, *, timeout: float) -> bytes:
        """The ECDH shared secret with `peer` (SP 800-56A, 5.7.1.2): the x coordinate, 32 bytes.

        It is no key before a key derivation function has made one of it. `peer` is a public key on
        P-256: a SubjectPublicKeyInfo in DER, or an uncompressed point of 65 bytes. ValueError when
        it is neither.
        """
        group = self._serving.permitted(Operation.AGREE, key_id)
        point = agreement.point(peer)
        return self._turns.perform(group, lambda live: keys.agree(live, point), timeout)

    def mac(self, key_id: str, data: bytes, *, timeout: float) -> bytes:
        """The HMAC-SHA256 (RFC 2104) of `data`, 32 bytes."""
        group = self._serving.permitted(Operation.MAC, key_id)
        return self._apply(Operation.MAC, group, data, timeout)

    def sign(self, key_id: str, digest: bytes, *, timeout: float) -> bytes:
        """The ECDSA signature over a SHA-256 digest: r and s of 32 bytes each (CKM_ECDSA)."""
        group = self._serving.permitted(Operation.SIGN, key_id)
        if len(digest) != DIGEST_BYTES:
            raise ValueError("a digest has 32 bytes")
        return self._apply(Operation.SIGN, group, digest, timeout)

    def random(self, length: int, *, timeout: float) -> bytes:
        """`length` random bytes, 1 to 65,536, from the token's generator."""
        if not 1 <= length <= RANDOM_BYTES:
            raise ValueError("random bytes are drawn 1 to 65536 at a time")
        return self._turns.random(length, timeout)

    def public_key(self, key_id: str) -> bytes:
        """The SubjectPublicKeyInfo of a pair or public key, in DER, as of its ring."""
        return self._serving.public_key(key_id)

    def generate(self, spec: KeySpec, *, timeout: float) -> KeyEntry:
        """Make a secret key or a key pair in the token; the entry for the key ring.

        Here and below: the key serves once a ring that names it is adopted. ProvisioningError when
        the ring has the id already, when the token holds another object under it, and when the
        token refuses. A call that failed half-way, or whose answer was lost, may be repeated.
        """
        return self._fulfil(orders.generation(spec), timeout)

    def load_secret(
        self, spec: KeySpec, value: bytes, *, check_value: str | None, timeout: float
    ) -> KeyEntry:
        """Load a secret key in the clear, `value` of its algorithm's length; the entry.

        CheckValueMismatch when `check_value`, in upper-case hex, is not that of the value;
        KeyDuplicated when a key of the ring has the same.
        """
        return self._fulfil(orders.secret(spec, value, check_value=check_value), timeout)

    def load_public(self, spec: KeySpec, spki: bytes, *, timeout: float) -> KeyEntry:
        """Load a partner's RSA or P-256 public key, a SubjectPublicKeyInfo in DER; the entry.

        KeyDuplicated when a key of the ring has the same.
        """
        return self._fulfil(orders.public(spec, spki), timeout)

    def unwrap_secret(
        self, key_id: str, wrapped: bytes, spec: KeySpec, *, check_value: str | None, timeout: float
    ) -> KeyEntry:
        """Load a secret key that comes by OAEP under the K2 key `key_id`; the entry.

        As `load_secret`, and HsmDataRefused for a wrapped key that does not open or has another
        length than its algorithm.
        """
        under = self._serving.permitted(Operation.LOAD, key_id).entry
        order = orders.wrapped(spec, bytes(wrapped), under, check_value=check_value)
        return self._fulfil(order, timeout, under=under)

    def adopt(self, keyring: Keyring, *, timeout: float) -> tuple[Finding, ...]:
        """Serve under another key ring from now on; the warnings.

        What is new or changed, beyond states and dates, is inspected first, and what neither ring
        names; callers are served in between. InspectionFailed with every finding, MechanismMissing
        or HsmUnavailable, and everything is as before.
        """
        deadline = self._clock() + timeout

        def turn(task: Callable[[], ResultT]) -> ResultT:
            return self._turns.alone(task, deadline - self._clock())

        with self._adopting:
            former = self._serving
            warnings, public_keys = adoption.examine(self._link, keyring, former, turn)
            following = serving.under(keyring, public_keys, self._turns.run_of, former=former)
            turn(partial(self._serve, following))
            self.warnings = warnings
        return warnings

    def probe(self) -> None:
        """Compare a known answer of the next key in turn; for health checks.

        HsmUnavailable when the device does not answer, is hung, or has no key left. A single lost
        key is no failure here: it shows in `sealed_keys`.
        """
        self._turns.probe()

    def close(self) -> None:
        """Log out and leave the library. Later calls get HsmUnavailable. May be called again.

        HsmTimeout when the token hangs: then only the end of the process closes it.
        """
        self._turns.close()

    def _serve(self, following: Serving) -> None:
        """Inside the lane: the link and the callers change rings together."""
        self._link.name(following.entries.values())
        self._serving = following

    def _blocks(self, operation: Operation, key_id: str, blocks: bytes, timeout: float) -> bytes:
        group = self._serving.permitted(operation, key_id)
        if not blocks or len(blocks) % group.block_size:
            raise ValueError("the data are not whole blocks")
        result: bytes = self._turns.enter(group, bytes(blocks), timeout)
        return result

    def _apply(
        self,
        operation: Operation,
        group: KeyGroup,
        data: bytes,
        timeout: float,
        *,
        padding: RsaPadding | None = None,
    ) -> bytes:
        """One operation on one message. A padding is what bad data can offend against."""
        message = bytes(data)
        return self._turns.perform(
            group,
            lambda live: keys.apply(live, operation, message, rsa_padding=padding),
            timeout,
            blames_data=padding is not None,
        )

    def _fulfil(self, order: Order, timeout: float, *, under: KeyEntry | None = None) -> KeyEntry:
        """A turn of its own for a key to be made. Only for a wrapped one are data to blame."""
        key_id, ring = order.entry.id, self._serving.keyring.keys
        if any(entry.id == key_id for entry in ring):
            raise ProvisioningError(
                "the key ring has a key of this id", key=key_id, remedy="give it another version"
            )
        turn = partial(
            self._link.beside,
            lambda session: orders.fulfil(session, order, ring=ring),
            under=under,
            blames_data=True,
        )
        try:
            made: KeyEntry = self._turns.alone(turn, timeout)
        except HsmDataRefused:
            if under is not None:
                raise
        else:
            return made
        raise ProvisioningError("the token refused to make the key", key=key_id)

"""The façade: everything a service does with the keys of its token.

Rules:
- Whatever a caller can get wrong is refused before the token is touched, by an error that holds
  none of the data: UnknownKey and OperationNotPermitted for keys, operations and paddings,
  ValueError for lengths.
- Whatever the token refuses about data has one face, `HsmDataRefused`.
- Every call into the library, from the first to the last, passes through one lane.
- One `Device` a process: the library, its login and its lane cannot be shared.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, Final, TypeVar, cast

from pkcs11.exceptions import PKCS11Error

from hsm import agreement, derivation, inspection, keys
from hsm.derivation import KeyCipher, Step
from hsm.errors import (
    Finding,
    HsmError,
    HsmUnavailable,
    KeySealed,
    OperationNotPermitted,
    UnknownKey,
    return_value,
)
from hsm.keyring import KeyEntry, Keyring
from hsm.lane import Lane
from hsm.mechanisms import (
    DIGEST_BYTES,
    JWA_PADDING,
    Operation,
    RsaPadding,
    longest_message,
    permits,
)
from hsm.module import Library
from hsm.recovery import DeviceStatus, KeyTask, Link
from hsm.token import TokenLocation
from hsm.unwrapping import ContentCipher
from hsm.vocabulary import Algorithm, Family, State

__all__ = [
    "Algorithm",
    "ContentCipher",
    "Device",
    "DeviceStatus",
    "KeyCipher",
    "RsaPadding",
    "Step",
    "TokenLocation",
]

ResultT = TypeVar("ResultT")
CipherT = TypeVar("CipherT")

HANG_AFTER: Final = 5.0
"""Seconds inside the token after which the device counts as hung."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds that `close` and `probe` wait for the lane."""
BATCH_LIMIT: Final = 64
"""Callers answered in one turn: at a millisecond an RSA operation, others wait no longer."""
RANDOM_BYTES: Final = 65_536
"""Most bytes that one call of `random` gives."""


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Calls that may be answered together, by one `run`. Each group is only itself."""

    run: Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class _KeyGroup(_Group):
    """Calls of one operation with one key that permits it."""

    entry: KeyEntry
    block_size: int


class Device:
    """A token opened under a key ring. Safe to use from any number of threads."""

    def __init__(
        self,
        library: Library,
        link: Link,
        keyring: Keyring,
        *,
        warnings: tuple[Finding, ...] = (),
        hang_after: float = HANG_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._library = library
        self._link = link
        self._entries = {entry.id: entry for entry in keyring.in_use}
        self._groups = {operation: self._groups_of(operation) for operation in Operation}
        self._draws = _Group(self._run_random)
        self._probes, self._closings = _Group(_run_turns), _Group(_run_turns)
        self._public_keys: dict[str, bytes] = {}
        self._hang_after = hang_after
        self._clock = clock
        self._is_closed = False
        self._lane: Lane[_Group, Any, Any] = Lane(self._run, batch_limit=BATCH_LIMIT, clock=clock)
        self.warnings = warnings

    @classmethod
    def open(
        cls,
        location: TokenLocation,
        keyring: Keyring,
        *,
        inspect: bool = True,
        hang_after: float = HANG_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> "Device":
        """Load the module, log in to the one token, inspect it, and find every key.

        `inspect=False` is for development and for doctor only: the keys' check values are still
        compared, their attributes are not. `hang_after` is in seconds.

        InspectionFailed with all findings, TokenNotFound, HsmLoginFailed, MechanismMissing or
        ModuleUnusable when the set-up is wrong; HsmUnavailable when the token fails meanwhile.
        """
        library = Library.load(location.module)
        try:
            warnings = inspection.inspect_token(library, location, keyring) if inspect else ()
            link = Link(library, location, keyring, clock=clock, review=inspect)
            link.connect()
            device = cls(
                library, link, keyring, warnings=warnings, hang_after=hang_after, clock=clock
            )
            device._read_public_keys()
        except PKCS11Error as error:
            reason = return_value(error).name
        except BaseException:
            library.close()
            raise
        else:
            return device
        library.close()
        raise HsmUnavailable(reason=reason)

    @property
    def status(self) -> DeviceStatus:
        """SERVING, RECOVERING, DOWN, or HUNG when a call has been in the token for too long."""
        since = self.busy_since
        if since is not None and self._clock() - since > self._hang_after:
            return DeviceStatus.HUNG
        return DeviceStatus.DOWN if self._is_closed else self._link.status

    @property
    def busy_since(self) -> float | None:
        """When the call now in the token began, by the device's clock; None when none is."""
        return self._lane.busy_since

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
        group = self._permitted(Operation.RSA_ENCRYPT, key_id)
        if len(plaintext) > longest_message(group.entry.algorithm, padding):
            raise ValueError("the message is too long for the key")
        return self._apply(Operation.RSA_ENCRYPT, group, plaintext, timeout, padding=padding)

    def rsa_decrypt(
        self, key_id: str, ciphertext: bytes, *, padding: RsaPadding, timeout: float
    ) -> bytes:
        """The message sealed in an OAEP ciphertext, by the hash that the key ring fixes.

        OperationNotPermitted for PKCS #1 v1.5 or another hash, before the token is touched.
        HsmDataRefused for every bad ciphertext, of whatever length.
        """
        group = self._permitted_oaep(Operation.RSA_DECRYPT, key_id, padding)
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
        group = self._permitted(Operation.DERIVE, key_id)
        steps = tuple(path)
        derivation.check(steps, group.entry.algorithm.family)
        enciphers = group.entry.state is State.ACTIVE

        def turn(live: keys.LiveKey) -> ResultT:
            with keys.derived(live, steps, enciphers=enciphers) as cipher:
                return _outcome(work, cipher)

        return self._perform(group, turn, timeout)

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
        group = self._permitted_oaep(Operation.UNWRAP, key_id, padding)
        if algorithm.family is not Family.AES:
            raise ValueError("a content key is an AES key")
        data = bytes(wrapped)

        def turn(live: keys.LiveKey) -> ResultT:
            with keys.unwrapped(live, data, rsa_padding=padding, algorithm=algorithm) as cipher:
                return _outcome(work, cipher)

        return self._perform(group, turn, timeout, blames_data=True)

    def agree(self, key_id: str, peer: bytes, *, timeout: float) -> bytes:
        """The ECDH shared secret with `peer` (SP 800-56A, 5.7.1.2): the x coordinate, 32 bytes.

        It is no key before a key derivation function has made one of it. `peer` is a public key on
        P-256: a SubjectPublicKeyInfo in DER, or an uncompressed point of 65 bytes. ValueError when
        it is neither.
        """
        group = self._permitted(Operation.AGREE, key_id)
        point = agreement.point(peer)
        return self._perform(group, lambda live: keys.agree(live, point), timeout)

    def mac(self, key_id: str, data: bytes, *, timeout: float) -> bytes:
        """The HMAC-SHA256 (RFC 2104) of `data`, 32 bytes."""
        group = self._permitted(Operation.MAC, key_id)
        return self._apply(Operation.MAC, group, data, timeout)

    def sign(self, key_id: str, digest: bytes, *, timeout: float) -> bytes:
        """The ECDSA signature over a SHA-256 digest: r and s of 32 bytes each (CKM_ECDSA)."""
        group = self._permitted(Operation.SIGN, key_id)
        if len(digest) != DIGEST_BYTES:
            raise ValueError("a digest has 32 bytes")
        return self._apply(Operation.SIGN, group, digest, timeout)

    def random(self, length: int, *, timeout: float) -> bytes:
        """`length` random bytes, 1 to 65,536, from the token's generator."""
        if not 1 <= length <= RANDOM_BYTES:
            raise ValueError("random bytes are drawn 1 to 65536 at a time")
        drawn: bytes = self._enter(self._draws, length, timeout)
        return drawn

    def public_key(self, key_id: str) -> bytes:
        """The SubjectPublicKeyInfo of a pair or public key, in DER, as it was at the start."""
        if key_id not in self._entries:
            raise UnknownKey
        try:
            return self._public_keys[key_id]
        except KeyError:
            raise OperationNotPermitted("the key has no public key", key=key_id) from None

    def probe(self) -> None:
        """Compare a known answer of the next key in turn; for health checks.

        HsmUnavailable when the device does not answer, is hung, or has no key left. A single lost
        key is no failure here: it shows in `sealed_keys`.
        """
        if self.status is DeviceStatus.HUNG:
            raise HsmUnavailable
        self._enter(self._probes, self._link.examine, CLOSE_TIMEOUT)

    def close(self) -> None:
        """Log out and leave the library. Later calls get HsmUnavailable. May be called again.

        HsmTimeout when the token hangs: then only the end of the process closes it.
        """
        if not self._is_closed:
            self._lane.call(self._closings, self._shut, CLOSE_TIMEOUT)

    def _groups_of(self, operation: Operation) -> dict[str, _KeyGroup]:
        """The groups of one operation, by the ids of the keys that permit it."""
        by_blocks = operation in (Operation.ENCIPHER, Operation.DECIPHER)
        return {
            entry.id: _KeyGroup(
                partial(self._run_blocks, operation, entry) if by_blocks else _run_turns,
                entry,
                entry.algorithm.block_size,
            )
            for entry in self._entries.values()
            if permits(entry, operation)
        }

    def _permitted(self, operation: Operation, key_id: str) -> _KeyGroup:
        """The group of a key that may do this. UnknownKey or OperationNotPermitted otherwise."""
        group = self._groups[operation].get(key_id)
        if group is not None:
            return group
        if key_id not in self._entries:
            raise UnknownKey
        raise OperationNotPermitted(key=key_id, operation=operation.value[1])

    def _permitted_oaep(self, operation: Operation, key_id: str, padding: RsaPadding) -> _KeyGroup:
        """As `_permitted`; OperationNotPermitted too for another padding than the key ring's."""
        group = self._permitted(operation, key_id)
        if JWA_PADDING.get(group.entry.jwa or "") is not padding:
            raise OperationNotPermitted(key=key_id, padding=padding.value)
        return group

    def _blocks(self, operation: Operation, key_id: str, blocks: bytes, timeout: float) -> bytes:
        group = self._permitted(operation, key_id)
        if not blocks or len(blocks) % group.block_size:
            raise ValueError("the data are not whole blocks")
        result: bytes = self._enter(group, bytes(blocks), timeout)
        return result

    def _apply(
        self,
        operation: Operation,
        group: _KeyGroup,
        data: bytes,
        timeout: float,
        *,
        padding: RsaPadding | None = None,
    ) -> bytes:
        """One operation on one message. A padding is what bad data can offend against."""
        message = bytes(data)
        return self._perform(
            group,
            lambda live: keys.apply(live, operation, message, rsa_padding=padding),
            timeout,
            blames_data=padding is not None,
        )

    def _perform(
        self,
        group: _KeyGroup,
        task: KeyTask[ResultT],
        timeout: float,
        *,
        blames_data: bool = False,
    ) -> ResultT:
        """A turn of its own with one key."""
        entry, link = group.entry, self._link
        result: ResultT = self._enter(
            group, lambda: link.perform(entry, task, blames_data=blames_data), timeout
        )
        return result

    def _enter(self, group: _Group, payload: object, timeout: float) -> Any:
        self._link.check_open()
        return self._lane.call(group, payload, timeout)

    def _run(self, group: _Group, payloads: Sequence[Any]) -> Sequence[Any]:
        """One batch inside the lane; a refusal strikes only the payload it is about."""
        if self._is_closed:
            return [HsmUnavailable("the device is closed") for _ in payloads]
        return group.run(payloads)

    def _run_blocks(
        self, operation: Operation, entry: KeyEntry, payloads: Sequence[bytes]
    ) -> Sequence[bytes | Exception]:
        try:
            return self._link.perform(
                entry, lambda live: keys.apply_blocks(live, operation, payloads)
            )
        except HsmError as error:
            # One each: an exception carries the frames of the thread that raises it.
            return [copy.copy(error) for _ in payloads]

    def _run_random(self, lengths: Sequence[int]) -> Sequence[bytes | Exception]:
        """Draw once for all who wait, and give each their own bytes of it."""
        try:
            drawn = self._link.random(sum(lengths))
        except HsmError as error:
            return [copy.copy(error) for _ in lengths]
        ends = accumulate(lengths)
        return [drawn[end - length : end] for end, length in zip(ends, lengths, strict=True)]

    def _shut(self) -> None:
        self._is_closed = True
        self._link.disconnect()
        self._library.close()

    def _read_public_keys(self) -> None:
        """Find every key once, so that a fault shows now and not at the first call."""
        for entry in self._entries.values():
            try:
                spki = self._link.perform(entry, lambda live: live.spki)
            except KeySealed:
                continue  # only without inspection, which would have named it
            if spki is not None:
                self._public_keys[entry.id] = spki


def _run_turns(turns: Sequence[Callable[[], object]]) -> list[object]:
    return [_run_turn(turn) for turn in turns]


def _run_turn(turn: Callable[[], object]) -> object:
    try:
        return turn()
    except HsmError as error:
        return copy.copy(error)


def _outcome(work: Callable[[CipherT], ResultT], cipher: CipherT) -> ResultT:
    """What `work` returns or raises. What it raises is no fault of the token: it goes by the ladder
    as a result, and the lane raises it to its own caller.
    """
    try:
        return work(cipher)
    except PKCS11Error:
        raise
    except Exception as error:  # noqa: BLE001
        return cast("ResultT", error)

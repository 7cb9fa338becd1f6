"""The clear zone's face for keys: how they come, how they go, and what is made of them inside.

Rules:
- A key is in the clear between two lines of one method, in a `with` block that wipes it, and only
  when the configuration turns that on; else the first line refuses.
- What can be told of a key block without opening it is told before the HSM is touched. Whatever
  is wrong with it then has one face, and the HSM is asked equally often.
- A key comes under a key that is at least as strong, and goes so.
- A key that may leave again is kept as a key block of version D, in the storage context, in which
  no key comes back.
- A TDES key gets odd parity before it is loaded or kept; its check value stays what it was.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from hsm.device import KeyBlockVersion
from hsm.vocabulary import Algorithm, Family
from pinvault.clearzone.clear_key import ClearKey, bytes_of, check_value_of, is_sound
from pinvault.clearzone.key_block import (
    LEGACY,
    RANDOM_BYTES,
    KeyBlockHeader,
    MalformedBlock,
    Refused,
    VariantKeys,
    agreement,
    make_block,
    open_block,
    parse_header,
)
from pinvault.clearzone.key_device import KeyDevice, algorithm_for, made_of, spec_of
from pinvault.clearzone.key_face import guarded
from pinvault.model import keys as model
from pinvault.model.call import Deadline
from pinvault.model.custody import Exportability, KeyComponent, MadeKey, NewKey
from pinvault.model.errors import Reason, Refusal, Violation

CHECK_VALUE_DIGITS = (6, 10)
FEWEST_COMPONENTS = 2
WEAK_SUM = Violation("components", "together they make a weak key: begin again with new ones")
SECRET = frozenset({Family.TDES, Family.AES, Family.HMAC})
"""Families of the keys that come in components, and go in key blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """The two keys of the HSM that stand for a protecting key of versions A and C, by id."""

    encryption: str
    mac: str


class KeyZone:
    """Makes, loads and lets out keys, all ids being `name/version`.

    `algorithm_of` gives the algorithm of a key in use by its id.
    """

    def __init__(
        self,
        device: KeyDevice,
        *,
        clear_keys: bool,
        algorithm_of: Callable[[str], model.Algorithm],
    ) -> None:
        self._device = device
        self._clear_keys = clear_keys
        self._algorithm_of = algorithm_of

    def generate(self, new: NewKey, *, timeout: float) -> MadeKey:
        """Let the HSM make a key that never leaves it."""
        return guarded(lambda: made_of(new, self._device.generate(spec_of(new), timeout=timeout)))

    def load_public(self, new: NewKey, spki: bytes, *, timeout: float) -> MadeKey:
        """Load a partner's public key, a SubjectPublicKeyInfo in DER."""
        return guarded(
            lambda: made_of(new, self._device.load_public(spec_of(new), spki, timeout=timeout))
        )

    def import_cryptogram(
        self, new: NewKey, wrapped: bytes, *, wrapping: str, check_value: str | None, timeout: float
    ) -> MadeKey:
        """Unwrap, inside the HSM, a secret key that was sealed by RSA-OAEP."""

        def unwrap() -> MadeKey:
            entry = self._device.unwrap_secret(
                wrapping, wrapped, spec_of(new), check_value=check_value, timeout=timeout
            )
            return made_of(new, entry)

        return guarded(unwrap, refused=Reason.KEY_CRYPTOGRAM_REFUSED)

    def draw(
        self,
        new: NewKey,
        *,
        exportability: Exportability,
        storage: str,
        keep: Callable[[str], None],
        left: str | None = None,
        known: Collection[str] = (),
        timeout: float,
    ) -> MadeKey:
        """Draw a key that may leave again.

        `keep` gets the key block in which it is kept, before the key is loaded; `left` is the one
        that an interrupted draw had kept: its key is taken, unless a check value of `known` is its
        own.
        """
        self._require_clear_keys()
        if exportability is Exportability.N or algorithm_for(new).family not in SECRET:
            raise Refusal(Reason.KEY_NOT_EXPORTABLE, field="exportability")
        self._require_strength(storage, algorithm_for(new), version=agreement.KEPT, at="storage")
        deadline = Deadline.after(timeout)

        def draw() -> MadeKey:
            key = self._left(new, left, storage, known, deadline)
            with self._drawn(algorithm_for(new), deadline) if key is None else key as key:
                keep(self._keep(new, key, exportability.value, storage, deadline))
                return self._load(new, key, deadline)

        return guarded(draw)

    def import_block(
        self,
        new: NewKey,
        block: str,
        *,
        kbpk: str | Variants,
        storage: str | None,
        known: Collection[str] = (),
        timeout: float,
    ) -> tuple[MadeKey, str | None]:
        """Load the key of a key block; keep it too, when it may leave again and there is storage.

        KEY_BLOCK_MALFORMED and KEY_USAGE_MISMATCH name the part of the header, before the HSM is
        touched; KEY_BLOCK_REFUSED names nothing. KEY_ALREADY_EXISTS, before anything is loaded,
        for a key with a check value of `known`.
        """
        self._require_clear_keys()
        header = _header_of(block)
        agreement.require_agreement(header, new, at="key_block")
        self._require_strength(kbpk, algorithm_for(new), version=header.version, at="kbpk")
        keeper = storage if header.exportability != Exportability.N.value else None
        if keeper is not None:
            self._require_strength(keeper, algorithm_for(new), version=agreement.KEPT, at="storage")
        deadline = Deadline.after(timeout)

        def load() -> tuple[MadeKey, str | None]:
            with self._open(block, kbpk, deadline) as key:
                _require_right(header, key, algorithm_for(new))
                _require_unknown(key, algorithm_for(new), known)
                kept = None
                if keeper is not None:
                    kept = self._keep(new, key, header.exportability, keeper, deadline)
                return self._load(new, key, deadline), kept

        return guarded(load)

    def export_block(
        self,
        stored: str,
        *,
        storage: str,
        kbpk: str,
        version: str,
        check_value: str | None = None,
        timeout: float,
    ) -> str:
        """Give a kept key as a key block of version B, D or E under another protecting key.

        KEY_BLOCK_REFUSED too when the kept key has not the check value that it should have.
        """
        self._require_clear_keys()
        if version not in {each.value for each in KeyBlockVersion}:
            raise Refusal(Reason.KEY_USAGE_MISMATCH, field="version")
        header = _header_of(stored)
        if header.exportability == Exportability.N.value:
            raise Refusal(Reason.KEY_NOT_EXPORTABLE, field="key")
        deadline = Deadline.after(timeout)

        def export() -> str:
            with self._open(stored, storage, deadline) as key:
                algorithm = agreement.algorithm_in(header, key)
                if algorithm is None or not _has_check_value(key, algorithm, check_value):
                    raise Refused(cause="payload")
                self._require_strength(kbpk, algorithm, version=version, at="kbpk")
                leaving = replace(header, version=version, context="0")
                return self._make(leaving, key, kbpk, deadline)

        return guarded(export)

    def require_kept(self, stored: str, *, storage: str, check_value: str, timeout: float) -> None:
        """Refuse a kept key block that is not of the key of this check value: KEY_BLOCK_REFUSED."""
        self._require_clear_keys()
        header = _header_of(stored)
        deadline = Deadline.after(timeout)

        def open_it() -> None:
            with self._open(stored, storage, deadline) as key:
                algorithm = agreement.algorithm_in(header, key)
                if algorithm is None or not _has_check_value(key, algorithm, check_value):
                    raise Refused(cause="payload")

        guarded(open_it)

    def combine(
        self,
        new: NewKey,
        components: Sequence[KeyComponent],
        *,
        variant: bytes | None,
        check_value: str | None,
        timeout: float,
    ) -> MadeKey:
        """Load the sum of a ceremony's components, a variant added where one is given.

        `variant` is repeated to the key's length. KEY_CHECK_VALUE_MISMATCH, before anything is
        loaded, when the key has not the check value (6 or 10 hex digits) that was promised.
        """
        self._require_clear_keys()
        deadline = Deadline.after(timeout)

        def load() -> MadeKey:
            if len(components) < FEWEST_COMPONENTS:
                raise Refusal(Reason.REQUEST_INVALID, field="components")
            with _combined(components, algorithm_for(new), variant) as key:
                if not _has_check_value(key, algorithm_for(new), check_value):
                    raise Refusal(Reason.KEY_CHECK_VALUE_MISMATCH, field="check_value")
                if not is_sound(key, algorithm_for(new)):
                    raise Refusal(Reason.KEY_CHANGE_REFUSED, violations=(WEAK_SUM,))
                return self._load(new, key, deadline)

        return guarded(load)

    def component_check_value(self, component: KeyComponent, algorithm: model.Algorithm) -> str:
        """Give the check value that one component would have as a key, in upper-case hex."""
        self._require_clear_keys()
        return guarded(lambda: _summed_check_value([component], algorithm, None))

    def combined_check_value(
        self,
        components: Sequence[KeyComponent],
        algorithm: model.Algorithm,
        *,
        variant: bytes | None,
    ) -> str:
        """Give the check value of the sum of components, in upper-case hex."""
        self._require_clear_keys()
        return guarded(lambda: _summed_check_value(components, algorithm, variant))

    def _require_clear_keys(self) -> None:
        if not self._clear_keys:
            raise Refusal(Reason.KEY_BLOCKS_OFF)

    def _require_strength(
        self, kbpk: str | Variants, key: Algorithm, *, version: str, at: str
    ) -> None:
        legacy = isinstance(kbpk, Variants)
        if legacy != (version in LEGACY):
            raise Refusal(Reason.KEY_USAGE_MISMATCH, field=at)
        ids = (kbpk.encryption, kbpk.mac) if isinstance(kbpk, Variants) else (kbpk,)
        for each in ids:
            protecting = Algorithm(self._algorithm_of(each).value)
            agreement.require_strength(protecting, key, version=version, at=at)

    def _drawn(self, algorithm: Algorithm, deadline: Deadline) -> ClearKey:
        """Draw a key from the HSM's generator, again in the rare case that it is not sound."""
        while True:
            key = ClearKey(self._device.random(algorithm.bits // 8, timeout=deadline.remaining()))
            if algorithm.family is Family.TDES:
                key.set_odd_parity()
            if is_sound(key, algorithm):
                return key
            key.wipe()

    def _left(
        self,
        new: NewKey,
        left: str | None,
        storage: str,
        known: Collection[str],
        deadline: Deadline,
    ) -> ClearKey | None:
        """Give the key that an interrupted draw kept, if it is what is wanted and is nowhere."""
        if left is None:
            return None
        try:
            if not agreement.is_kept(parse_header(left), new):
                return None
            key = self._open(left, storage, deadline)
        except (MalformedBlock, Refused):
            return None
        algorithm = algorithm_for(new)
        if (
            len(bytes_of(key)) * 8 == algorithm.bits
            and is_sound(key, algorithm)
            and not any(_has_check_value(key, algorithm, each) for each in known)
        ):
            return key
        key.wipe()
        return None

    def _open(self, block: str, kbpk: str | Variants, deadline: Deadline) -> ClearKey:
        if isinstance(kbpk, Variants):
            return open_block(block, self._variant_keys(kbpk, deadline))[1]
        return self._device.with_key_block_keys(
            kbpk,
            KeyBlockVersion(block[0]),
            lambda keys: open_block(block, keys)[1],
            opens=True,
            timeout=deadline.remaining(),
        )

    def _variant_keys(self, kbpk: Variants, deadline: Deadline) -> VariantKeys:
        return VariantKeys(
            encipher_mac=lambda data: self._device.encipher(
                kbpk.mac, data, timeout=deadline.remaining()
            ),
            decipher_key=lambda data: self._device.decipher(
                kbpk.encryption, data, timeout=deadline.remaining()
            ),
        )

    def _make(self, header: KeyBlockHeader, key: ClearKey, kbpk: str, deadline: Deadline) -> str:
        random = self._device.random(RANDOM_BYTES, timeout=deadline.remaining())
        return self._device.with_key_block_keys(
            kbpk,
            KeyBlockVersion(header.version),
            lambda keys: make_block(header, key, keys, random=random),
            opens=False,
            timeout=deadline.remaining(),
        )

    def _keep(
        self, new: NewKey, key: ClearKey, exportability: str, storage: str, deadline: Deadline
    ) -> str:
        header = agreement.kept_header(new, key, exportability=exportability)
        return self._make(header, key, storage, deadline)

    def _load(self, new: NewKey, key: ClearKey, deadline: Deadline) -> MadeKey:
        entry = self._device.load_secret(
            spec_of(new),
            bytes_of(key),
            check_value=check_value_of(key, algorithm_for(new)),
            timeout=deadline.remaining(),
        )
        return made_of(new, entry)


def _header_of(block: str) -> KeyBlockHeader:
    violation: Violation
    try:
        return parse_header(block)
    except MalformedBlock as malformed:
        violation = Violation(f"key_block.{malformed.part}", malformed.rule)
    raise Refusal(Reason.KEY_BLOCK_MALFORMED, violations=(violation,))


def _require_right(header: KeyBlockHeader, key: ClearKey, algorithm: Algorithm) -> None:
    """Refuse, with the one face, a key that is not what was wanted; give a TDES key its parity."""
    if agreement.algorithm_in(header, key) is not algorithm:
        raise Refused(cause="payload")
    if not agreement.tells_check_value(header, key, algorithm):
        raise Refused(cause="check-value")
    if algorithm.family is Family.TDES:
        key.set_odd_parity()
    if not is_sound(key, algorithm):
        raise Refused(cause="weak-key")


def _require_unknown(key: ClearKey, algorithm: Algorithm, known: Collection[str]) -> None:
    if any(_has_check_value(key, algorithm, each) for each in known):
        raise Refusal(Reason.KEY_ALREADY_EXISTS, field="key_block")


def _has_check_value(key: ClearKey, algorithm: Algorithm, told: str | None) -> bool:
    """Tell whether a key has the check value that was told, of 6 or 10 digits, if any was."""
    return told is None or (
        len(told) in CHECK_VALUE_DIGITS and check_value_of(key, algorithm).startswith(told.upper())
    )


def _combined(
    components: Sequence[KeyComponent], algorithm: Algorithm, variant: bytes | None
) -> ClearKey:
    length = algorithm.bits // 8
    parts = [component.in_the_clear() for component in components]
    mask = variant or b"\0"
    if algorithm.family not in SECRET or {*map(len, parts)} != {length} or length % len(mask):
        raise Refusal(Reason.REQUEST_INVALID, field="components")
    key = ClearKey.combined([*parts, mask * (length // len(mask))])
    if algorithm.family is Family.TDES:
        key.set_odd_parity()
    return key


def _summed_check_value(
    components: Sequence[KeyComponent], algorithm: model.Algorithm, variant: bytes | None
) -> str:
    with _combined(components, Algorithm(algorithm.value), variant) as key:
        return check_value_of(key, Algorithm(algorithm.value))

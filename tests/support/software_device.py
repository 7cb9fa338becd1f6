"""An in-memory stand-in for `hsm.device.Device` on `cryptography`, for tests that need no token.

Rules:
- It passes the contract suite of the real device (`tests/integration/test_device_contract.py`).
- What a key may do comes from the real table of roles; only the ciphers are others.
- It counts what reaches its ciphers, so that a test can say that a call never did.
"""

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.cmac import CMAC
from pkcs11 import Attribute

from hsm import agreement, check_values, derivation, key_blocks, orders
from hsm.device import DeviceStatus, KeyBlockKeys, KeyBlockVersion, KeyCipher, KeySpec, Step
from hsm.errors import (
    CheckValueMismatch,
    Finding,
    HsmDataRefused,
    HsmTimeout,
    HsmUnavailable,
    InspectionFailed,
    KeyDuplicated,
    OperationNotPermitted,
    ProvisioningError,
    Severity,
    UnknownKey,
)
from hsm.keyring import KeyEntry, Keyring
from hsm.mechanisms import (
    DIGEST_BYTES,
    JWA_PADDING,
    Operation,
    RsaPadding,
    longest_message,
    permits,
)
from hsm.recovery import is_same_key
from hsm.unwrapping import GCM_IV_BYTES, ContentCipher
from hsm.vocabulary import Algorithm, Family, Mode, Origin, State, Usage
from pinvault.model import keys as model

ResultT = TypeVar("ResultT")
Secret = bytes | rsa.RSAPrivateKey | rsa.RSAPublicKey | ec.EllipticCurvePrivateKey

RANDOM_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A key in the device: its entry in the key ring and its value."""

    entry: KeyEntry
    secret: Secret


def held(key: model.Key, secret: Secret) -> Held:
    """Hold a key of the model under its own attributes; its check value is not looked at."""
    entry = KeyEntry(
        name=key.name,
        version=key.version,
        usage=Usage(key.usage.value),
        algorithm=Algorithm(key.algorithm.value),
        mode=Mode(key.mode.value),
        check_value=key.check_value,
        origin=Origin(key.origin.value),
        state=State(key.state.value),
        valid_from=key.valid_from,
        valid_until=key.valid_until,
        jwa=key.jwa,
    )
    return Held(entry=entry, secret=secret)


def key(
    name: str,
    usage: str,
    algorithm: str,
    mode: str,
    *,
    version: int = 1,
    state: str = "active",
    valid_from: date = date(2026, 1, 1),
    valid_until: date | None = None,
    jwa: str | None = None,
) -> model.Key:
    """Give a key version as the floors above the HSM know it, with a check value of its own."""
    return model.Key(
        name=name,
        version=version,
        usage=model.Usage(usage),
        algorithm=model.Algorithm(algorithm),
        mode=model.Mode(mode),
        check_value=hashlib.sha256(f"{name}/{version}".encode()).hexdigest()[:6].upper(),
        state=model.State(state),
        origin=model.Origin.IMPORTED,
        valid_from=valid_from,
        valid_until=valid_until,
        jwa=jwa,
    )


class SoftwareDevice:
    """Keys in the clear, with the interface of the real device.

    `calls` counts what passed all checks and reached the ciphers, by method name. Set
    `failure` to an error's class to have every such call fail with it; `draw` gives the
    random bytes and can be replaced by what a test wants to see drawn.
    """

    def __init__(self, keys: Iterable[Held]) -> None:
        self._token = {each.entry.id: each for each in keys}
        self._ring = Keyring(keys=tuple(each.entry for each in self._token.values()))
        self._held = {entry.id: self._token[entry.id] for entry in self._ring.in_use}
        self._is_closed = False
        self.calls: Counter[str] = Counter()
        self.failure: type[Exception] | None = None
        self.draw: Callable[[int], bytes] = secrets.token_bytes

    @property
    def status(self) -> DeviceStatus:
        return DeviceStatus.DOWN if self._is_closed else DeviceStatus.SERVING

    @property
    def busy_since(self) -> float | None:
        return None

    @property
    def sealed_keys(self) -> frozenset[str]:
        return frozenset()

    def encipher(self, key_id: str, blocks: bytes, *, timeout: float) -> bytes:
        each = self._whole_blocks(Operation.ENCIPHER, key_id, blocks)
        self._reach("encipher", timeout)
        return _ecb(each).encryptor().update(bytes(blocks))

    def decipher(self, key_id: str, blocks: bytes, *, timeout: float) -> bytes:
        each = self._whole_blocks(Operation.DECIPHER, key_id, blocks)
        self._reach("decipher", timeout)
        return _ecb(each).decryptor().update(bytes(blocks))

    def rsa_encrypt(
        self, key_id: str, plaintext: bytes, *, padding: RsaPadding, timeout: float
    ) -> bytes:
        each = self._permitted(Operation.RSA_ENCRYPT, key_id)
        if len(plaintext) > longest_message(each.entry.algorithm, padding):
            raise ValueError("the message is too long for the key")
        self._reach("rsa_encrypt", timeout)
        return _public(each).encrypt(bytes(plaintext), rsa_padding(padding))

    def rsa_decrypt(
        self, key_id: str, ciphertext: bytes, *, padding: RsaPadding, timeout: float
    ) -> bytes:
        each = self._permitted_padding(Operation.RSA_DECRYPT, key_id, padding)
        self._reach("rsa_decrypt", timeout)
        return _open(each, ciphertext, padding)

    def with_derived(
        self,
        key_id: str,
        path: Sequence[Step],
        work: Callable[[KeyCipher], ResultT],
        *,
        timeout: float,
    ) -> ResultT:
        each = self._permitted(Operation.DERIVE, key_id)
        family = each.entry.algorithm.family
        derivation.check(path, family)
        self._reach("with_derived", timeout)
        value = each.secret
        for step in path:
            assert isinstance(value, bytes)
            value = _cipher(family, value).encryptor().update(step.data)[: step.algorithm.bits // 8]
            family = step.algorithm.family
        return work(_Passing(family, value, enciphers=each.entry.state is State.ACTIVE))

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
        each = self._permitted_padding(Operation.UNWRAP, key_id, padding)
        if algorithm.family is not Family.AES:
            raise ValueError("a content key is an AES key")
        self._reach("with_unwrapped", timeout)
        value = _open(each, wrapped, padding)
        if len(value) * 8 != algorithm.bits:
            raise HsmDataRefused
        return work(_Passing(Family.AES, value, enciphers=False))

    def with_key_block_keys(
        self,
        key_id: str,
        version: KeyBlockVersion,
        work: Callable[[KeyBlockKeys], ResultT],
        *,
        opens: bool,
        timeout: float,
    ) -> ResultT:
        each = self._permitted(Operation.OPEN_BLOCK if opens else Operation.MAKE_BLOCK, key_id)
        key_blocks.check(version, each.entry.algorithm)
        self._reach("with_key_block_keys", timeout)
        assert isinstance(each.secret, bytes)
        return work(_BlockKeys(each.entry.algorithm, each.secret, version, opens=opens))

    def generate(self, spec: KeySpec, *, timeout: float) -> KeyEntry:
        entry = orders.generation(spec).entry
        self._begin("generate", entry, timeout)
        return self._keep(entry, _drawn(entry.algorithm))

    def load_secret(
        self, spec: KeySpec, value: bytes, *, check_value: str | None, timeout: float
    ) -> KeyEntry:
        entry = orders.secret(spec, value, check_value=check_value).entry
        self._begin("load_secret", entry, timeout)
        return self._keep(entry, bytes(value), check_value)

    def load_public(self, spec: KeySpec, spki: bytes, *, timeout: float) -> KeyEntry:
        entry = orders.public(spec, spki).entry
        self._begin("load_public", entry, timeout)
        return self._keep(entry, serialization.load_der_public_key(spki))

    def unwrap_secret(
        self, key_id: str, wrapped: bytes, spec: KeySpec, *, check_value: str | None, timeout: float
    ) -> KeyEntry:
        under = self._permitted(Operation.LOAD, key_id)
        entry = orders.wrapped(spec, wrapped, under.entry, check_value=check_value).entry
        self._begin("unwrap_secret", entry, timeout)
        value = _open(under, wrapped, JWA_PADDING[under.entry.jwa or ""])
        if len(value) * 8 != entry.algorithm.bits:
            raise HsmDataRefused
        return self._keep(entry, value, check_value)

    def adopt(self, keyring: Keyring, *, timeout: float) -> tuple[Finding, ...]:
        self._reach("adopt", timeout)
        findings = [
            *(finding for entry in keyring.in_use for finding in self._inspect(entry)),
            *(finding for each in self._token.values() for finding in self._judge(each, keyring)),
        ]
        if any(finding.severity is Severity.STOP for finding in findings):
            raise InspectionFailed(tuple(findings))
        self._held = {
            entry.id: replace(self._token[entry.id], entry=entry) for entry in keyring.in_use
        }
        self._ring = keyring
        return tuple(findings)

    def agree(self, key_id: str, peer: bytes, *, timeout: float) -> bytes:
        each = self._permitted(Operation.AGREE, key_id)
        point = agreement.point(peer)
        self._reach("agree", timeout)
        assert isinstance(each.secret, ec.EllipticCurvePrivateKey)
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        return each.secret.exchange(ec.ECDH(), public)

    def mac(self, key_id: str, data: bytes, *, timeout: float) -> bytes:
        each = self._permitted(Operation.MAC, key_id)
        self._reach("mac", timeout)
        assert isinstance(each.secret, bytes)
        return hmac.digest(each.secret, bytes(data), "sha256")

    def sign(self, key_id: str, digest: bytes, *, timeout: float) -> bytes:
        each = self._permitted(Operation.SIGN, key_id)
        if len(digest) != DIGEST_BYTES:
            raise ValueError("a digest has 32 bytes")
        self._reach("sign", timeout)
        assert isinstance(each.secret, ec.EllipticCurvePrivateKey)
        signature = each.secret.sign(bytes(digest), ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        r, s = utils.decode_dss_signature(signature)
        return r.to_bytes(32) + s.to_bytes(32)

    def random(self, length: int, *, timeout: float) -> bytes:
        if not 1 <= length <= RANDOM_BYTES:
            raise ValueError("random bytes are drawn 1 to 65536 at a time")
        self._reach("random", timeout)
        return self.draw(length)

    def public_key(self, key_id: str) -> bytes:
        if key_id not in self._held:
            raise UnknownKey
        if isinstance(self._held[key_id].secret, bytes):
            raise OperationNotPermitted("the key has no public key", key=key_id)
        return _public(self._held[key_id]).public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def probe(self) -> None:
        self._reach("probe", timeout=1)

    def close(self) -> None:
        self._is_closed = True

    def _begin(self, name: str, entry: KeyEntry, timeout: float) -> None:
        if any(entry.id == each.id for each in self._ring.keys):
            raise ProvisioningError("the key ring has a key of this id", key=entry.id)
        self._reach(name, timeout)

    def _keep(self, entry: KeyEntry, secret: Secret, check_value: str | None = None) -> KeyEntry:
        """Put a key into the token, or adopt the one that an earlier attempt left there."""
        entry = measured(Held(entry=entry, secret=secret))
        if not orders.is_promised(entry, entry.check_value, check_value):
            raise CheckValueMismatch(key=entry.id)
        loaded = entry.origin is Origin.IMPORTED
        if loaded:
            self._refuse_duplicate(entry)
        there = self._token.setdefault(entry.id, Held(entry=entry, secret=secret))
        if _shape(there.entry) != _shape(entry):
            raise ProvisioningError("another object has the id", key=entry.id)
        found = measured(Held(entry=entry, secret=there.secret))
        if loaded and found != entry:
            raise ProvisioningError("another object has the id", key=entry.id)
        return found

    def _refuse_duplicate(self, entry: KeyEntry) -> None:
        for other in (measured(self._token[each.id]) for each in self._ring.keys):
            is_family = other.algorithm.family is entry.algorithm.family
            if is_family and other.check_value == entry.check_value:
                raise KeyDuplicated(key=entry.id, other=other.id)

    def _inspect(self, entry: KeyEntry) -> Iterator[Finding]:
        """What differs between an entry that is new or changed and the key in the token."""
        known, there = self._held.get(entry.id), self._token.get(entry.id)
        if known is not None and is_same_key(entry, known.entry):
            return
        if there is None:
            yield _finding(entry.id, f"{entry.role.operative.name} objects", "1", "0")
        elif not is_same_key(entry, there.entry):
            yield _finding(entry.id, "check value", entry.check_value, there.entry.check_value)

    def _judge(self, each: Held, keyring: Keyring) -> Iterator[Finding]:
        """What a key means that is in the token and not in the ring."""
        entry = each.entry
        if any(entry.id == named.id for named in keyring.keys):
            return
        is_left = entry.id in self._held
        for danger in (Attribute.DERIVE, Attribute.UNWRAP):
            if entry.role.permits(danger):
                severity = Severity.WARNING if is_left else Severity.STOP
                yield _finding(entry.id, danger.name, "False", "True", severity)
        yield _finding(entry.id, "object", "named in the key ring", "not named", Severity.WARNING)

    def _permitted(self, operation: Operation, key_id: str) -> Held:
        each = self._held.get(key_id)
        if each is None:
            raise UnknownKey
        if not permits(each.entry, operation):
            raise OperationNotPermitted(key=key_id, operation=operation.value[1])
        return each

    def _permitted_padding(self, operation: Operation, key_id: str, padding: RsaPadding) -> Held:
        each = self._permitted(operation, key_id)
        if JWA_PADDING.get(each.entry.jwa or "") is not padding:
            raise OperationNotPermitted(key=key_id, padding=padding.value)
        return each

    def _whole_blocks(self, operation: Operation, key_id: str, blocks: bytes) -> Held:
        each = self._permitted(operation, key_id)
        if not blocks or len(blocks) % each.entry.algorithm.block_size:
            raise ValueError("the data are not whole blocks")
        return each

    def _reach(self, name: str, timeout: float) -> None:
        if self._is_closed:
            raise HsmUnavailable("the device is closed")
        if timeout <= 0:
            raise HsmTimeout
        self.calls[name] += 1
        if self.failure is not None:
            raise self.failure


class _Passing:
    """A key derived or unwrapped for one call."""

    def __init__(self, family: Family, value: bytes, *, enciphers: bool) -> None:
        self._family = family
        self._value = value
        self._enciphers = enciphers

    def encipher(self, blocks: bytes) -> bytes:
        if not self._enciphers:
            raise OperationNotPermitted
        return self._whole(_cipher(self._family, self._value).encryptor(), blocks)

    def decipher(self, blocks: bytes) -> bytes:
        return self._whole(_cipher(self._family, self._value).decryptor(), blocks)

    def open_gcm(self, *, iv: bytes, aad: bytes, sealed: bytes) -> bytes:
        try:
            if len(iv) == GCM_IV_BYTES:
                return AESGCM(self._value).decrypt(bytes(iv), bytes(sealed), bytes(aad))
        except InvalidTag:
            pass
        raise HsmDataRefused

    def _whole(self, cipher: CipherContext, blocks: bytes) -> bytes:
        if not blocks or len(blocks) % self._family.block_size:
            raise ValueError("the data are not whole blocks")
        return cipher.update(bytes(blocks))


class _BlockKeys:
    """KBEK and KBAK of one call, by the CMAC of `cryptography`."""

    def __init__(
        self, algorithm: Algorithm, kbpk: bytes, version: KeyBlockVersion, *, opens: bool
    ) -> None:
        self._family = algorithm.family
        self._counts = version is KeyBlockVersion.E
        self._opens = opens
        kind = {128: 2, 192: 3, 256: 4} if self._family is Family.AES else {128: 0, 192: 1}
        size = self._family.block_size

        def derived(usage: int) -> bytes:
            rest = bytes([0, usage, 0, 0, kind[algorithm.bits]]) + algorithm.bits.to_bytes(2)
            blocks = range(1, -(-len(kbpk) // size) + 1)
            value = b"".join(_cmac(self._family, kbpk, bytes([n]) + rest) for n in blocks)
            return value[: len(kbpk)]

        self._kbek, self._kbak = derived(2 if self._counts else 0), derived(1)

    def mac(self, data: bytes) -> bytes:
        return _cmac(self._family, self._kbak, bytes(data))

    def encipher(self, data: bytes, *, iv: bytes) -> bytes:
        if self._opens:
            raise OperationNotPermitted
        return self._cipher(data, iv).encryptor().update(bytes(data))

    def decipher(self, data: bytes, *, iv: bytes) -> bytes:
        if not self._opens:
            raise OperationNotPermitted
        return self._cipher(data, iv).decryptor().update(bytes(data))

    def _cipher(self, data: bytes, iv: bytes) -> Cipher:
        size = self._family.block_size
        if not data or len(iv) != size or (len(data) % size and not self._counts):
            raise ValueError("the data are not whole blocks, or the vector is not one")
        mode = modes.CTR(bytes(iv)) if self._counts else modes.CBC(bytes(iv))
        return Cipher(_algorithm(self._family, self._kbek), mode)


def _cmac(family: Family, value: bytes, data: bytes) -> bytes:
    cmac = CMAC(_algorithm(family, value))
    cmac.update(data)
    return cmac.finalize()


def measured(each: Held) -> KeyEntry:
    """The entry with the check values of its key."""
    entry, secret = each.entry, each.secret
    if not isinstance(secret, bytes):
        spki = _public(each).public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return replace(entry, check_value=_hex(check_values.public_key(spki)))
    family = entry.algorithm.family
    if family is Family.HMAC:
        value = check_values.hmac_sha256(lambda data: hmac.digest(secret, data, "sha256"))
        return replace(entry, check_value=_hex(value))

    def encipher(blocks: bytes) -> bytes:
        return _ecb(each).encryptor().update(blocks)

    short = check_values.tdes if family is Family.TDES else check_values.aes
    zeros = bytes(family.block_size)
    decipher = _ecb(each).decryptor().update(zeros)[:3] if entry.role.only_deciphers else None
    child = _cipher(family, encipher(bytes(16))) if entry.role.only_derives else None
    derivation = child.encryptor().update(zeros)[:3] if child else None
    return replace(
        entry,
        check_value=_hex(short(encipher)),
        decipher_check_value=decipher and _hex(decipher),
        derivation_check_value=derivation and _hex(derivation),
    )


def _shape(entry: KeyEntry) -> tuple[object, ...]:
    """What a token knows of a key besides its value."""
    return entry.algorithm, entry.role.grants, entry.origin, entry.destroyable


def _hex(value: bytes) -> str:
    return value.hex().upper()


def _drawn(algorithm: Algorithm) -> Secret:
    """A key as a token would draw it, except that RSA keys are all of 2048 bits, for speed."""
    match algorithm.family:
        case Family.RSA:
            return rsa.generate_private_key(65537, 2048)
        case Family.EC:
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return secrets.token_bytes(algorithm.bits // 8)


def _finding(
    key_id: str, attribute: str, expected: str, found: str, severity: Severity = Severity.STOP
) -> Finding:
    return Finding(
        key_id=key_id,
        attribute=attribute,
        expected=expected,
        found=found,
        remedy="bring token and key ring together",
        severity=severity,
    )


def _ecb(each: Held) -> Cipher:
    assert isinstance(each.secret, bytes)
    return _cipher(each.entry.algorithm.family, each.secret)


def _cipher(family: Family, value: bytes) -> Cipher:
    return Cipher(_algorithm(family, value), modes.ECB())


def _algorithm(family: Family, value: bytes) -> algorithms.AES | TripleDES:
    if family is Family.AES:
        return algorithms.AES(value)
    return TripleDES(value if len(value) == 24 else value + value[:8])


def _open(each: Held, sealed: bytes, chosen: RsaPadding) -> bytes:
    assert isinstance(each.secret, rsa.RSAPrivateKey)
    try:
        return each.secret.decrypt(bytes(sealed), rsa_padding(chosen))
    except ValueError:
        pass
    raise HsmDataRefused  # out here, so that nothing hangs on it, as on the real one


def _public(each: Held):
    public = getattr(each.secret, "public_key", None)
    return each.secret if public is None else public()


def rsa_padding(chosen: RsaPadding) -> padding.AsymmetricPadding:
    if chosen is RsaPadding.PKCS1_V1_5:
        return padding.PKCS1v15()
    algorithm = hashes.SHA1() if chosen is RsaPadding.OAEP_SHA1 else hashes.SHA256()
    return padding.OAEP(padding.MGF1(algorithm), algorithm, label=None)

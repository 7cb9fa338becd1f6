"""The connection to a pinvault server, and its calls.

Rules:
- mTLS always; a deadline on every call.
- Only what may safely be said twice is retried: reads of keys, and PIN blocks. An
  envelope is used up by its call, so a call with one is made once.
- The sealing key is kept for ten minutes, so that a rotation is followed; where
  thumbprints are pinned, it is the newest key that is one of them, or none.
"""

import random
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from pinvault.client.errors import PinvaultError, SealingKeyChanged, from_rpc
from pinvault.client.sealing import ALGORITHMS, LIFETIME_S, SealingKey, seal
from pinvault.client.values import (
    EncryptedPin,
    EncryptedPinChange,
    Format,
    KeyUse,
    PinBlock,
    SealedPin,
    Source,
    Target,
    ToPinBlock,
)
from pinvault.v1 import (
    key_pb2,
    key_pb2_grpc,
    pin_block_pb2,
    pin_block_pb2_grpc,
    resources_pb2,
)

TIMEOUT_S = 5.0
ATTEMPTS = 3
FIRST_PAUSE_S = 0.05
SEALING_KEY_MAX_AGE_S = 600.0
# A server that stops cancels what it has not begun.
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_retries", 0),
)


def connect(
    target: str,
    *,
    ca: Path | bytes,
    certificate: Path | bytes,
    private_key: Path | bytes,
    sealing_profile: str = "sealed-pin",
    sealing_key: str = "pin-seal",
    thumbprints: Collection[str] = (),
    timeout_s: float = TIMEOUT_S,
) -> "Vault":
    """Connect to `host:port` with mTLS; PEM as bytes or files.

    `sealing_profile` and `sealing_key` name the server's incoming profile and its key.
    `thumbprints` (RFC 7638, base64url) pin that key: get them from the operator, the next
    one before a rotation.
    """
    credentials = grpc.ssl_channel_credentials(_pem(ca), _pem(private_key), _pem(certificate))
    channel = grpc.secure_channel(target, credentials, options=_OPTIONS)
    return Vault(
        channel,
        sealing_profile=sealing_profile,
        sealing_key=sealing_key,
        thumbprints=thumbprints,
        timeout_s=timeout_s,
    )


class Vault:
    """A pinvault server. Safe to use from any number of threads; close it, or use `with`."""

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        sealing_profile: str,
        sealing_key: str,
        thumbprints: Collection[str],
        timeout_s: float,
    ) -> None:
        self._channel = channel
        self._pin_blocks = pin_block_pb2_grpc.PinBlockServiceStub(channel)
        self._keys = key_pb2_grpc.KeyServiceStub(channel)
        self._sealing_profile = sealing_profile
        self._sealing_key_name = sealing_key
        self._thumbprints = frozenset(thumbprints)
        self._timeout_s = timeout_s
        self._sealing_key: SealingKey | None = None
        self._fetched_at = 0.0
        self._fetching = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way fail."""
        self._channel.close()

    def seal(self, pin: str, *, pan: str | None, lifetime_s: int = LIFETIME_S) -> SealedPin:
        """Seal a PIN of 4 to 12 digits for one call.

        It is good for `lifetime_s` seconds and, with `pan`, for that card only. The first
        use fetches the server's public key. Raises SealingKeyChanged when it is no pinned
        one, ValueError (without the PIN) when the PIN is none.
        """
        ciphertext = seal(
            pin, key=self.sealing_key(), pan=pan, expires=int(time.time()) + lifetime_s
        )
        return SealedPin(profile=self._sealing_profile, ciphertext=ciphertext, pan=pan)

    def sealing_key(self, *, refresh: bool = False) -> SealingKey:
        """Give the server's sealing key; it is fetched again every ten minutes, or to `refresh`."""
        with self._fetching:
            age = time.monotonic() - self._fetched_at
            if self._sealing_key is None or refresh or age > SEALING_KEY_MAX_AGE_S:
                try:
                    self._sealing_key = self._fetch_sealing_key()
                except PinvaultError:
                    if self._sealing_key is None or refresh:
                        raise  # a key that was good ten minutes ago still is, most likely
                self._fetched_at = time.monotonic()
            return self._sealing_key

    def encrypt_pin(
        self, source: Source, *, to: Target, timeout_s: float | None = None
    ) -> EncryptedPin:
        """Have a PIN enciphered for a target."""
        request = pin_block_pb2.EncryptPinRequest(source=_source(source), target=_target(to))
        reply = self._call(
            self._pin_blocks.EncryptPin,
            request,
            repeatable=isinstance(source, PinBlock),
            timeout_s=timeout_s,
        )
        is_block = reply.WhichOneof("result") == "pin_block"
        return EncryptedPin(
            pin_block=reply.pin_block if is_block else None,
            envelope=None if is_block else reply.envelope,
            source_key=_key_use(reply.source_key),
            target_key=_key_use(reply.target_key),
        )

    def encrypt_pin_change(
        self,
        *,
        profile: str,
        pan: str,
        new_pin: Source,
        old_pin: Source | None,
        timeout_s: float | None = None,
    ) -> EncryptedPinChange:
        """Have both PINs of a PIN change enciphered as the fields of a partner's profile."""
        request = pin_block_pb2.EncryptPinChangeRequest(
            profile=profile,
            pan=pan,
            new_source=_source(new_pin),
            old_source=_source(old_pin) if old_pin is not None else None,
        )
        sources = [source for source in (new_pin, old_pin) if source is not None]
        reply = self._call(
            self._pin_blocks.EncryptPinChange,
            request,
            repeatable=all(isinstance(source, PinBlock) for source in sources),
            timeout_s=timeout_s,
        )
        return EncryptedPinChange(
            pin_field=reply.pin_field,
            old_pin_field=reply.old_pin_field,
            source_keys=tuple(_key_use(key) for key in reply.source_keys),
            target_key=_key_use(reply.target_key),
        )

    def list_keys(self) -> list[KeyUse]:
        """List the keys that this caller may know of."""
        found: list[KeyUse] = []
        request = key_pb2.ListKeysRequest()
        while True:
            reply = self._call(self._keys.ListKeys, request, repeatable=True)
            found += map(_key_use, reply.keys)
            if not reply.next_page_token:
                return found
            request.page_token = reply.next_page_token

    def _fetch_sealing_key(self) -> SealingKey:
        request = key_pb2.GetPublicKeyRequest(key=self._sealing_key_name)
        reply = self._call(self._keys.GetPublicKey, request, repeatable=True)
        offered = [
            SealingKey.from_jwk(kid=jwk.kid, alg=jwk.alg, n=jwk.n, e=jwk.e)
            for jwk in reply.jwks.keys
            if jwk.alg in ALGORITHMS
        ]
        for key in offered:  # newest first
            if not self._thumbprints or key.thumbprint in self._thumbprints:
                return key
        raise SealingKeyChanged(offered=tuple(key.thumbprint for key in offered))

    def _call(
        self,
        method: Callable[..., Any],
        request: object,
        *,
        repeatable: bool,
        timeout_s: float | None = None,
    ) -> Any:
        """Make a call; one that may be repeated is, while there is time and the server is away."""
        deadline = time.monotonic() + (timeout_s if timeout_s is not None else self._timeout_s)
        pause = FIRST_PAUSE_S
        attempt = 1
        while True:
            left = deadline - time.monotonic()
            try:
                return method(request, timeout=max(left, 0.001))
            except grpc.RpcError as error:
                found = from_rpc(error)
            again = repeatable and found.code in _AWAY and attempt < ATTEMPTS
            if not again or pause >= left:
                raise found
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            attempt, pause = attempt + 1, pause * 4


def _source(source: Source) -> resources_pb2.PinSource:
    if isinstance(source, SealedPin):
        return resources_pb2.PinSource(
            envelope=resources_pb2.EnvelopeSource(
                profile=source.profile, ciphertext=source.ciphertext, pan=source.pan or ""
            )
        )
    return resources_pb2.PinSource(
        pin_block=resources_pb2.PinBlockSource(
            key=source.key,
            format=_format(source.format, source.pan),
            ciphertext=source.ciphertext,
        )
    )


def _target(target: Target) -> resources_pb2.PinTarget:
    if isinstance(target, ToPinBlock):
        return resources_pb2.PinTarget(
            pin_block=resources_pb2.PinBlockTarget(
                key=target.key, format=_format(target.format, target.pan)
            )
        )
    return resources_pb2.PinTarget(
        envelope=resources_pb2.EnvelopeTarget(profile=target.profile, pan=target.pan)
    )


def _format(name: Format, pan: str | None) -> resources_pb2.PinBlockFormat:
    """Write a format with its PAN; the server says what is wrong with a missing one."""
    match name:
        case "ISO_0":
            return resources_pb2.PinBlockFormat(
                iso_format_0=resources_pb2.IsoFormat0(pan=pan or "")
            )
        case "ISO_1":
            return resources_pb2.PinBlockFormat(iso_format_1=resources_pb2.IsoFormat1())
        case "ISO_3":
            return resources_pb2.PinBlockFormat(
                iso_format_3=resources_pb2.IsoFormat3(pan=pan or "")
            )
        case "ISO_4":
            return resources_pb2.PinBlockFormat(
                iso_format_4=resources_pb2.IsoFormat4(pan=pan or "")
            )


def _key_use(message: resources_pb2.KeyUse | key_pb2.Key) -> KeyUse:
    return KeyUse(name=message.name, version=message.version, check_value=message.check_value)


def _pem(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()

"""How a client reaches servers: mTLS, a deadline on every call, and repeats where they are safe.

Rules:
- mTLS always.
- A channel is one connection, and a connection is one worker of one server. Several channels take
  turns, and a call that is repeated is repeated on the next one.
- Only a call that its caller calls repeatable is repeated, and only while the server is away.
- All attempts share one deadline.
"""

import random
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc

from pinvault.client.errors import from_rpc

TIMEOUT_S = 5.0
ATTEMPTS = 3
FIRST_PAUSE_S = 0.05
# A server that stops cancels what it has not begun.
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one target share a connection
)

Request = TypeVar("Request")
Reply = TypeVar("Reply")


def open_channel(
    target: str,
    *,
    ca: Path | str | bytes,
    certificate: Path | str | bytes,
    private_key: Path | str | bytes,
    channels: int = 1,
) -> grpc.Channel:
    """Open a channel to `host:port` with mTLS, or several as one; PEM as bytes or a path."""
    if channels < 1:
        raise ValueError("there is at least one channel")
    credentials = grpc.ssl_channel_credentials(_pem(ca), _pem(private_key), _pem(certificate))
    opened = [grpc.secure_channel(target, credentials, options=_OPTIONS) for _ in range(channels)]
    # Of a channel, stubs and `Connection` use what `Several` has.
    return opened[0] if channels == 1 else cast("grpc.Channel", Several(opened))


class Several:
    """Channels that take turns: every call of a method goes over the one after the last."""

    def __init__(self, channels: Sequence[grpc.Channel]) -> None:
        self._channels = channels

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Give what calls a method, as a channel does."""
        calls = [each.unary_unary(method, *arguments, **options) for each in self._channels]
        turns = cycle(calls)
        return lambda *given, **named: next(turns)(*given, **named)

    def close(self) -> None:
        """Close all; calls under way fail."""
        for channel in self._channels:
            channel.close()


class Connection:
    """A channel, and how calls are made on it. `timeout_s` is in seconds."""

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        timeout_s: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.channel = channel
        self._timeout_s = timeout_s
        self._sleep = sleep

    def call(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Reply]",
        request: Request,
        *,
        repeatable: bool,
        timeout_s: float | None = None,
    ) -> Reply:
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
            self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            attempt, pause = attempt + 1, pause * 4

    def close(self) -> None:
        """Close the channel; calls under way fail."""
        self.channel.close()


def _pem(source: Path | str | bytes) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()

"""One attempt to deliver a message: a POST to an address that was judged, within a bounded time.

Rules:
- The time bounds the whole attempt: name, connection, handshake, request and the answer's head.
- The connection goes to the judged address itself; the name stands in Host, SNI and in the check
  of the certificate. Nothing of the environment is asked: no proxy, no netrc.
- Redirects are failures. Of an answer the head is read, and no body.
- An outcome is a word of a closed set: what a receiver says is not repeated.
"""

import asyncio
import email.utils
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum, unique
from http import HTTPStatus
from typing import Any, Final

import httpx

from pinvault.notify.endpoints import Endpoint
from pinvault.notify.guard import (
    Address,
    Forbidden,
    NameUnknown,
    Resolve,
    judged,
    system_resolve,
)
from pinvault.notify.signing import Signs

_MOST_ADDRESSES: Final = 4
_AGENT: Final = "pinvault"

Trace = Callable[[str, Mapping[str, Any]], Awaitable[None]]
"""Is told of the steps of a request."""


@unique
class Verdict(StrEnum):
    """What becomes of a message after an attempt."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GIVEN_UP = "given-up"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, why, and how many seconds the receiver asked to be left alone."""

    verdict: Verdict
    cause: str
    retry_after_s: float = 0.0


class Courier:
    """Delivers to one endpoint. `now` gives Unix seconds."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        signer: Signs,
        tls: ssl.SSLContext,
        now: Callable[[], float],
        resolve: Resolve = system_resolve,
    ) -> None:
        self._endpoint = endpoint
        self._signer = signer
        self._tls = tls
        self._now = now
        self._resolve = resolve

    @classmethod
    def of(cls, endpoint: Endpoint, *, now: Callable[[], float]) -> "Courier":
        """Read an endpoint's secrets and authorities; BadSecret, OSError or SSLError."""
        return cls(endpoint, signer=endpoint.signer(), tls=_tls(endpoint), now=now)

    async def deliver(self, message: str, body: str) -> Outcome:
        """Make one attempt; nothing but a fault of ours is raised."""
        endpoint = self._endpoint
        try:
            async with asyncio.timeout(endpoint.timeout_s):
                where = await judged(endpoint.target, endpoint.private, resolve=self._resolve)
                return await self._deliver_to(where[:_MOST_ADDRESSES], message, body)
        except TimeoutError:
            return _failed("timeout")
        except Forbidden:
            return _failed("address-forbidden")
        except NameUnknown:
            return _failed("name-unknown")
        except httpx.TransportError as error:
            return _failed(_cause(error))

    async def _deliver_to(self, where: tuple[Address, ...], message: str, body: str) -> Outcome:
        """Post to the first address that lets itself be connected to."""
        for address in where[:-1]:
            try:
                return await self._post(address, message, body, share=len(where))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # nothing was sent
        return await self._post(where[-1], message, body)

    async def _post(self, address: Address, message: str, body: str, *, share: int = 1) -> Outcome:
        target = self._endpoint.target
        request = httpx.Request(
            "POST",
            target.url_at(address),
            headers={
                "host": target.authority,
                "content-type": "application/json",
                "user-agent": _AGENT,
                "connection": "close",
                **self._signer.headers(message, body, at=self._now()),
            },
            content=body.encode(),
            extensions={
                "sni_hostname": target.host,
                "timeout": {"connect": self._endpoint.timeout_s / share},
            },
        )
        async with (
            _closing() as trace,
            httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False) as transport,
        ):
            request.extensions["trace"] = trace
            answer = await transport.handle_async_request(request)
            await answer.aclose()
        return self._judge(answer)

    def _judge(self, answer: httpx.Response) -> Outcome:
        cause = f"status-{answer.status_code}"
        if answer.is_success:
            return Outcome(Verdict.DELIVERED, cause)
        if answer.status_code == HTTPStatus.GONE:
            return Outcome(Verdict.GIVEN_UP, cause)
        return Outcome(Verdict.FAILED, cause, self._asked_s(answer.headers.get("retry-after", "")))

    def _asked_s(self, text: str) -> float:
        """Read Retry-After (RFC 9110, 10.2.3), seconds or a date; 0 for anything else."""
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - self._now())
        except (ValueError, OverflowError):
            return 0.0


@asynccontextmanager
async def _closing() -> AsyncIterator[Trace]:
    """Close every connection that a request opens.

    The transport forgets one whose handshake is cut short by the end of the attempt's time.
    """
    opened: list[Any] = []

    async def trace(event: str, facts: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            opened.append(facts["return_value"])

    try:
        yield trace
    finally:
        for stream in opened:
            await stream.aclose()


def _failed(cause: str) -> Outcome:
    return Outcome(Verdict.FAILED, cause)


def _cause(error: BaseException) -> str:
    """Name what broke; the text of the error is not told."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, ssl.SSLError):
            return "tls"
        behind = behind.__cause__ or behind.__context__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "connect"
    return "answer" if isinstance(error, httpx.ProtocolError) else "connection-lost"


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    """Make what verifies the receiver; unlike Python's default it logs no keys for the asking."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if endpoint.ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=endpoint.ca_file)
    return context

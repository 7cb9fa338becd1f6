"""A connection of the edge, on uvicorn's: who is at its other end, and how long a head may take.

Rules:
- A head (request line and headers) that does not come whole in its time ends the connection.
- An idle connection ends at once, without the farewell of TLS that its other end may never give.
- The client's certificate was verified in the handshake; its subject goes to the requests.
"""

import asyncio
from typing import Any, ClassVar

from cryptography import x509
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from pinvault.edge.exchange import SUBJECT


class Connection(H11Protocol):
    """One connection; a subclass for each listener says `HEAD_S`, in seconds."""

    HEAD_S: ClassVar = 5.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_is_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin: read whose certificate it is, and wait for a head."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, SUBJECT: subject_of(transport)}
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes; they may be the first or the last of a head."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_watching()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End when the server stops, or after the answer that is under way."""
        super().shutdown()
        if not self._is_busy():
            self.transport.abort()

    def timeout_keep_alive_handler(self) -> None:
        """End after a silence between requests."""
        self.transport.abort()

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _watch(self) -> None:
        """Give a head its time, from its first byte or the connection's beginning."""
        if self._is_busy():
            self._stop_watching()
        elif self._head_is_due is None:
            self._head_is_due = self.loop.call_later(self.HEAD_S, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._head_is_due is not None:
            self._head_is_due.cancel()
            self._head_is_due = None


def subject_of(transport: asyncio.BaseTransport) -> str:
    """Give the subject of the client's certificate (RFC 4514); "" when it showed none."""
    tls = transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert(binary_form=True) if tls is not None else None
    if certificate is None:
        return ""
    return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()

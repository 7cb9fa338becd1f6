"""The admin listener: liveness, readiness and metrics, for the operator's network only.

Rules:
- It tells closed facts and numbers, and takes no parameter and no body.
- The edge is ready when the server gives the key that PINs are sealed under; it is asked once in a
  few seconds at most, however often the edge is.
"""

import time
from collections.abc import Callable
from typing import Final

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pinvault.client import PinvaultError, SealingKeyChanged, Vault
from pinvault.edge.metrics import Metrics

ASK_EVERY_S: Final = 2.0
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Readiness:
    """Whether the server is there, as of a moment ago."""

    def __init__(self, vault: Vault, *, now: Callable[[], float] = time.monotonic) -> None:
        self._vault, self._now = vault, now
        self._asked_at = float("-inf")
        self._is_ready = False

    def look(self) -> bool:
        """Ask the server, unless it was asked just now."""
        if self._now() - self._asked_at >= ASK_EVERY_S:
            self._asked_at = self._now()
            try:
                self._vault.sealing_key(refresh=True)
                self._is_ready = True
            except (PinvaultError, SealingKeyChanged):
                self._is_ready = False
        return self._is_ready


def application(metrics: Metrics, readiness: Readiness) -> Starlette:
    """Give the application of the admin listener."""

    async def alive(_: Request) -> Response:
        return PlainTextResponse("alive\n", headers=_HEADERS)

    async def ready(_: Request) -> Response:
        is_ready = await run_sync(readiness.look)
        status, text = (200, "ready\n") if is_ready else (503, "not ready\n")
        return PlainTextResponse(text, status_code=status, headers=_HEADERS)

    async def measured(_: Request) -> Response:
        return Response(metrics.text(), media_type=metrics.CONTENT_TYPE, headers=_HEADERS)

    return Starlette(
        routes=[Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", measured)]
    )

"""One request and its one answer, whatever happens in between.

Rules:
- A body is bounded in bytes and in time, and is read whole before a flow sees anything.
- What is refused without the body (method, clear PINs off, an unknown client) is refused before it
  is read.
- Who shows wrong credentials or signatures too often is refused before its next ones are looked at,
  so that then nobody can tell a right guess from a wrong one. It is counted for each dialect, by
  the client's certificate where there is one, and else by its address.
- Every exception becomes an answer of the dialect; its text goes nowhere.
- No answer is stored by anybody (`no-store`), files of a page excepted, and none is taken for
  another type (`nosniff`).
- The log has the route that a path matched, never the path; of bodies, headers and queries nothing.
"""

import math
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl

import anyio
from anyio.to_thread import run_sync
from starlette.types import Receive, Scope, Send

from pinvault.edge import problems
from pinvault.edge.dialect import Answer, Arrived, Dialect, EdgeReason, Endpoint, Refused
from pinvault.edge.log import Log
from pinvault.edge.metrics import Metrics
from pinvault.edge.rates import Failures, site
from pinvault.edge.refusals import is_fault, refusal_of

UNKNOWN_ROUTE: Final = "-"
SUBJECT: Final = "client_subject"
_WRONG: Final = frozenset({EdgeReason.UNAUTHENTICATED, EdgeReason.SIGNATURE_REFUSED})
_KEPT: Final = "public, max-age={}, immutable"
_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What all exchanges of a listener share; `body_s` is in seconds."""

    listener: str
    clear_pins: bool
    clients: frozenset[str]
    body_bytes: int
    body_s: float
    threads: anyio.CapacityLimiter
    failures: Failures
    metrics: Metrics
    log: Log


class Exchange:
    """An ASGI application for one path of one dialect; without endpoints, for paths it has not."""

    def __init__(
        self,
        house: House,
        dialect: Dialect,
        endpoints: Mapping[str, Endpoint],
        *,
        route: str = UNKNOWN_ROUTE,
        base_path: str = "",
    ) -> None:
        self._house, self._dialect = house, dialect
        self._endpoints, self._route, self._base_path = endpoints, route, base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        arrived = _head(scope, self._base_path, clear_pins=self._house.clear_pins)
        refused: Refused | None = None
        is_read = False
        with self._house.metrics.under_way.track_inprogress():
            try:
                endpoint = self._endpoint(arrived)
                whole = replace(arrived, body=await self._body(receive))
                is_read = True
                answer = await run_sync(self._flow, endpoint, whole, limiter=self._house.threads)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is answered and told of
                refused = self._refused(error, arrived)
                answer = self._rendered(refused, arrived)
            await _send(send, answer, arrived, closes=not is_read)
        self._tell(arrived, answer, refused, seconds=time.perf_counter() - began)

    def _endpoint(self, arrived: Arrived) -> Endpoint:
        """Give what answers, or refuse for what can be known without the body."""
        if not self._endpoints:
            raise Refused(EdgeReason.NOT_FOUND)
        endpoint = self._endpoints.get(arrived.method)
        if endpoint is None:
            raise Refused(EdgeReason.METHOD_NOT_ALLOWED)
        if self._house.clients and arrived.client not in self._house.clients:
            raise Refused(EdgeReason.UNAUTHENTICATED)
        if endpoint.takes_clear_pin and not self._house.clear_pins:
            raise Refused(EdgeReason.CLEAR_PINS_OFF)
        return endpoint

    async def _body(self, receive: Receive) -> bytes:
        body = bytearray()
        with anyio.move_on_after(self._house.body_s):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > self._house.body_bytes:
                    raise Refused("REQUEST_TOO_LARGE")
                if message["type"] == "http.disconnect":
                    break
                if not message.get("more_body", False):
                    return bytes(body)
        raise Refused(EdgeReason.BODY_INVALID, {"path": "$", "problem": "did not come whole"})

    def _flow(self, endpoint: Endpoint, arrived: Arrived) -> Answer:
        """Run a flow, unless who asks has shown what is wrong too often."""
        failures = self._house.failures
        stranger = f"{self._dialect.name}\0{arrived.client or site(arrived.address)}"
        failures.require_few(stranger)
        try:
            return endpoint.flow(arrived)
        except Refused as refused:
            if refused.reason in _WRONG:
                failures.count(stranger)
            raise

    def _refused(self, error: Exception, arrived: Arrived) -> Refused:
        if is_fault(error):
            self._house.log.fault(
                "a request could not be done",
                error,
                dialect=self._dialect.name,
                route=self._route,
                request_id=arrived.request_id,
            )
        return refusal_of(error)

    def _rendered(self, refused: Refused, arrived: Arrived) -> Answer:
        """Let the dialect say it; when even that fails, say that the fault is ours."""
        try:
            answer = self._dialect.render(refused, replace(arrived, body=b""))
        except Exception as error:  # noqa: BLE001
            self._house.log.fault("a refusal could not be said", error, dialect=self._dialect.name)
            answer = problems.render(Refused(EdgeReason.INTERNAL), arrived)
        more: dict[str, str] = {}
        if refused.reason == EdgeReason.METHOD_NOT_ALLOWED:
            more["allow"] = ", ".join(sorted(self._endpoints))
        if refused.retry_after_s is not None:
            more["retry-after"] = str(max(1, math.ceil(refused.retry_after_s)))
        return replace(answer, headers={**answer.headers, **more})

    def _tell(
        self, arrived: Arrived, answer: Answer, refused: Refused | None, *, seconds: float
    ) -> None:
        reason = refused.reason if refused is not None else ""
        self._house.metrics.answered(
            dialect=self._dialect.name,
            route=self._route,
            status=answer.status,
            reason=reason,
            seconds=seconds,
        )
        self._house.log.info(
            "answered",
            listener=self._house.listener,
            dialect=self._dialect.name,
            method=arrived.method if arrived.method in _METHODS else UNKNOWN_ROUTE,
            route=self._route,
            status=answer.status,
            reason=reason,
            request_id=arrived.request_id,
            call_id=refused.call_id if refused is not None else "",
            duration_ms=round(seconds * 1000, 3),
        )


def _head(scope: Scope, base_path: str, *, clear_pins: bool) -> Arrived:
    """Give the request without its body."""
    raw = scope.get("raw_path", b"").decode("latin-1").removeprefix(base_path)
    query = scope["query_string"].decode("latin-1")
    members = parse_qsl(query, keep_blank_values=True)
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    ]
    return Arrived(
        method=scope["method"],
        path=scope["path"].removeprefix(base_path),
        raw_path_and_query=f"{raw}?{query}" if query else raw,
        query=_once(members),
        headers=_once(headers),
        body=b"",
        request_id=secrets.token_hex(16),
        clear_pins=clear_pins,
        client=scope.get("state", {}).get(SUBJECT, ""),
        address=(scope.get("client") or ("",))[0],
    )


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Give what is there once: of two values nobody knows which is meant."""
    times = Counter(name for name, _ in pairs)
    return {name: value for name, value in pairs if times[name] == 1}


async def _send(send: Send, answer: Answer, arrived: Arrived, *, closes: bool) -> None:
    """Send an answer; where the body was not read, the connection closes."""
    headers = {
        **{name.lower(): value for name, value in answer.headers.items()},
        **({"connection": "close"} if closes else {}),
        **({"content-type": answer.media_type} if answer.body else {}),
        **({"content-length": str(len(answer.body))} if answer.status != 204 else {}),
        "cache-control": _KEPT.format(answer.keep_s) if answer.keep_s else "no-store",
        "x-content-type-options": "nosniff",
        "x-request-id": arrived.request_id,
    }
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    body = answer.body if arrived.method != "HEAD" else b""
    await send({"type": "http.response.body", "body": body})

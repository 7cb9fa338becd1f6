"""A dialect of nobody's, and a listener of it, for tests of the edge's core."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
import msgspec

from pinvault.edge.app import Placed, application
from pinvault.edge.body import decode
from pinvault.edge.clear_pin import ClearPin
from pinvault.edge.dialect import (
    Answer,
    Arrived,
    Code,
    EdgeReason,
    Endpoint,
    Refused,
    total,
)
from pinvault.edge.exchange import SUBJECT, House
from pinvault.edge.log import make_log
from pinvault.edge.metrics import Metrics
from pinvault.edge.rates import Failures, Rate

ARRIVED = Arrived(
    method="POST",
    path="/",
    raw_path_and_query="/",
    query={},
    headers={},
    body=b"",
    request_id="0" * 32,
    clear_pins=True,
    client="",
)


class ToyRequest(msgspec.Struct):
    """What the toy is asked."""

    card: str
    pin: ClearPin


class ToyAnswer(msgspec.Struct):
    """What the toy answers."""

    done: bool


class Toy:
    """Answers as `flow` does; a refusal is its reason and context, in JSON."""

    name = "toy"

    def __init__(self, flow: Callable[[Arrived], Answer] | None = None, base: str = "/toy") -> None:
        self.codes: Mapping[str, Code] = total(
            {
                EdgeReason.UNAUTHENTICATED: Code(401, "who", "Who are you"),
                EdgeReason.NOT_FOUND: Code(404, "gone", "Not here"),
                EdgeReason.METHOD_NOT_ALLOWED: Code(405, "method", "Not so"),
                EdgeReason.RATE_EXCEEDED: Code(429, "slow", "Slow down"),
            },
            default=Code(400, "no", "No"),
        )
        self.flow = flow or self._done
        self.seen: list[Arrived] = []
        self._base = base

    def endpoints(self) -> Sequence[Endpoint]:
        answers = {200: ToyAnswer}
        return (
            Endpoint("POST", f"{self._base}/do", self._run, False, None, answers),
            Endpoint("POST", f"{self._base}/pin", self._run, True, ToyRequest, answers),
            Endpoint("GET", f"{self._base}/do", self._run, False, None, answers),
        )

    def render(self, refused: Refused, arrived: Arrived) -> Answer:
        assert arrived.body == b""
        code = self.codes[refused.reason]
        told = {"reason": refused.reason, "code": code.code, **refused.context}
        return Answer.json(code.status, told)

    def _run(self, arrived: Arrived) -> Answer:
        self.seen.append(arrived)
        return self.flow(arrived)

    def _done(self, arrived: Arrived) -> Answer:
        if arrived.path.endswith("/pin"):
            decode(arrived, ToyRequest)
        return Answer.json(200, ToyAnswer(True))


@dataclass
class Served:
    """A toy on a listener, in process."""

    toy: Any
    clear_pins: bool = False
    clients: frozenset[str] = frozenset()
    base_path: str = ""
    others: Sequence[Placed] = ()
    body_s: float = 5.0
    failures: str = "999999/s"
    stream: io.StringIO = field(default_factory=io.StringIO)
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.house = House(
            listener="test",
            clear_pins=self.clear_pins,
            clients=self.clients,
            body_bytes=16_384,
            body_s=self.body_s,
            threads=anyio.CapacityLimiter(4),
            failures=Failures(Rate.read(self.failures), now=lambda: 0.0),
            metrics=self.metrics,
            log=make_log(self.stream),
        )
        placed = Placed("test", self.base_path, self.toy, "dialects.toy")
        self.app = application(self.house, [placed, *self.others])

    def call(
        self,
        method: str,
        path: str,
        *,
        address: str = "127.0.0.1",
        client: str = "",
        **request: Any,
    ) -> httpx.Response:
        """Make one request, from an address; `client` is a certificate's subject."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "state": {SUBJECT: client}}, receive, send)

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app, client=(address, 1))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://e", verify=False
            ) as client:
                return await client.request(method, path, **request)

        return anyio.run(ask)

    def post(self, path: str, **request: Any) -> httpx.Response:
        return self.call("POST", path, **request)

    def get(self, path: str) -> httpx.Response:
        return self.call("GET", path)

    @property
    def log(self) -> str:
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

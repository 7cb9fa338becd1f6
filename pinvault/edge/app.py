"""Builds the edge: every dialect on its ground, and a Starlette application for each listener.

Rules:
- All that can be wrong with the files is found here, before anything listens.
- A path that nobody has is refused in the words of the dialect whose paths are most like it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pinvault.client import Vault, connect
from pinvault.edge import credentials, dialects, facts, openapi
from pinvault.edge.dialect import Dialect, Endpoint
from pinvault.edge.exchange import Exchange, House
from pinvault.edge.files import Unfit, read_bytes
from pinvault.edge.ground import Ground
from pinvault.edge.log import Log
from pinvault.edge.metrics import Metrics
from pinvault.edge.problems import OwnRoutes
from pinvault.edge.rates import Failures, Rate, Rates
from pinvault.edge.sections import Options
from pinvault.edge.settings import Loaded


@dataclass(frozen=True, slots=True)
class Placed:
    """A dialect, where it is served, and the option that says so."""

    listener: str
    base_path: str
    dialect: Dialect
    option: str

    def paths(self) -> Mapping[str, Mapping[str, Endpoint]]:
        """Give its endpoints, by path with base path, and method."""
        found: dict[str, dict[str, Endpoint]] = {}
        for each in self.dialect.endpoints():
            found.setdefault(self.base_path + each.path, {})[each.method] = each
        return found


def open_vault(loaded: Loaded) -> Vault:
    """Open the channels to the server; nothing is sent yet."""
    server = loaded.settings.server
    return connect(
        server.address,
        ca=read_bytes(loaded.file(server.ca_file)),
        certificate=read_bytes(loaded.file(server.certificate_file)),
        private_key=read_bytes(loaded.file(server.private_key_file), secret=True),
        sealing_profile=server.sealing_profile,
        sealing_key=server.sealing_key,
        thumbprints=server.sealing_thumbprints,
        timeout_s=server.timeout_s,
        channels=server.channels,
    )


def place(
    loaded: Loaded, vault: Vault, log: Log, *, now: Callable[[], float] = time.time
) -> list[Placed]:
    """Build every dialect, and hold that no two answer the same path."""
    placed = [_build(loaded, name, each, vault, log, now) for name, each in loaded.dialects.items()]
    page = loaded.settings.hosted
    if page is not None:
        build = dialects.hosted().build
        dialect = _fit(
            loaded,
            "hosted",
            lambda: build(page, vault, now=now, log=log, folder=loaded.path.parent),
        )
        placed.append(Placed(page.listener, "", dialect, "hosted"))
    taken: set[tuple[str, str]] = set()
    for each in placed:
        paths = {(each.listener, path) for path in each.paths()}
        if taken & paths or (each.listener, "/openapi.json") in paths:
            text = "has a path that another has there: give it a base_path, or another listener"
            raise loaded.wrong(each.option, text)
        taken |= paths
    return placed


def applications(
    loaded: Loaded, placed: Sequence[Placed], *, log: Log, metrics: Metrics
) -> dict[str, Starlette]:
    """Give the application of each listener."""
    limits = loaded.settings.limits
    threads = anyio.CapacityLimiter(limits.threads)
    made = {}
    for name, listener in loaded.settings.listeners.items():
        house = House(
            listener=name,
            clear_pins=listener.clear_pins,
            clients=frozenset(listener.clients),
            body_bytes=limits.body_bytes,
            body_s=limits.body_s,
            threads=threads,
            failures=Failures(Rate.read(listener.failures), now=time.monotonic),
            metrics=metrics,
            log=log,
        )
        made[name] = application(house, [each for each in placed if each.listener == name])
    return made


def application(house: House, placed: Sequence[Placed]) -> Starlette:
    """Give the application of one listener: its dialects, and pinvault's own routes."""
    own = OwnRoutes(openapi.describe([(each.base_path, each.dialect) for each in placed]))
    everything = [*placed, Placed(house.listener, "", own, "")]
    routes = [
        Route(path, Exchange(house, each.dialect, found, route=path, base_path=each.base_path))
        for each in everything
        for path, found in each.paths().items()
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    app.router.default = _Elsewhere(house, everything)
    return app


class _Elsewhere:
    """Refuses a path that nobody has, in the words of the dialect whose paths are most like it."""

    def __init__(self, house: House, placed: Sequence[Placed]) -> None:
        vendors = placed[:-1]
        alone = vendors[0].dialect if len(vendors) == 1 else None
        self._own = Exchange(house, alone or placed[-1].dialect, {})
        self._exchanges = [
            (path.split("/"), Exchange(house, each.dialect, {}))
            for each in vendors
            for path in each.paths()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._most_like(scope["path"].split("/"))(scope, receive, send)

    def _most_like(self, path: list[str]) -> Exchange:
        most, found = 1, self._own  # the empty part before the first slash says nothing
        for known, exchange in self._exchanges:
            alike = sum(1 for _ in takewhile(_are_equal, zip(known, path, strict=False)))
            if alike > most:
                most, found = alike, exchange
        return found


def _are_equal(pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1]


def _build(
    loaded: Loaded,
    name: str,
    options: Options,
    vault: Vault,
    log: Log,
    now: Callable[[], float],
) -> Placed:
    package: Any = dialects.package(options.kind)
    facts_file = options.facts_file
    ground: Ground[Any, Any] = Ground(
        name=name,
        vault=vault,
        settings=options,
        credentials=credentials.load(loaded.file(options.credentials_file), package.Caller),
        facts=facts.load(loaded.file(facts_file) if facts_file is not None else None),
        rates=Rates(
            per_caller=Rate.read(options.per_caller),
            per_card=Rate.read(options.per_card),
            now=time.monotonic,
        ),
        page=loaded.settings.hosted,
        now=now,
        log=log.bound(dialect=name),
    )
    option = f"dialects.{name}"
    dialect = _fit(loaded, option, lambda: package.build(ground))
    return Placed(options.listener, options.base_path, dialect, option)


def _fit(loaded: Loaded, option: str, build: Callable[[], Dialect]) -> Dialect:
    try:
        return build()
    except Unfit as error:
        raise loaded.wrong(f"{option}.{error.option}", error.problem) from None

"""Runs the edge: a uvicorn for each listener and one for the operator, in one process and loop.

Rules:
- Ports are bound and files are read before anything is served.
- On SIGTERM nothing new is taken, and what is under way has `limits.grace_s` to end.
- uvicorn writes no access log, names itself in no header and believes no proxy's headers.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Any, Final

from starlette.applications import Starlette
from uvicorn import Config, Server

from pinvault.client import Vault
from pinvault.edge import admin
from pinvault.edge.app import applications, open_vault, place
from pinvault.edge.connection import Connection
from pinvault.edge.log import Log
from pinvault.edge.metrics import Metrics
from pinvault.edge.settings import Loaded, split_address
from pinvault.edge.tls import Tls, TlsFiles

FOLLOW_EVERY_S: Final = 10.0
HEAD_BYTES: Final = 16_384
ADMIN: Final = "admin"
_BACKLOG = 512


def run(loaded: Loaded, log: Log) -> int:
    """Serve until SIGTERM or SIGINT; give the exit code."""
    with open_vault(loaded) as vault, contextlib.ExitStack() as held:
        servers = []
        for each in _listeners(loaded, vault, log):
            servers.append(_Listening(*each))
            held.callback(servers[-1].socket.close)
        asyncio.run(_serve(servers, log))
    return 0


def check(loaded: Loaded, log: Log) -> int:
    """Read all that a start reads; give the number of paths that would be served."""
    with open_vault(loaded) as vault:
        placed = place(loaded, vault, log)
        _tls(loaded)
        return sum(len(each.paths()) for each in placed)


class _Listening(Server):
    """A uvicorn on a port that is bound already; signals are not its own to handle."""

    def __init__(self, name: str, address: str, config: Config, tls: Tls | None) -> None:
        super().__init__(config)
        self.name, self.tls = name, tls
        self.socket = _bound(*split_address(address))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to `_serve`: there are several servers."""
        yield


def _listeners(
    loaded: Loaded, vault: Vault, log: Log
) -> Iterator[tuple[str, str, Config, Tls | None]]:
    """Give what each listener is made of."""
    metrics = Metrics()
    placed = place(loaded, vault, log)
    tls = _tls(loaded)
    apps = applications(loaded, placed, log=log, metrics=metrics)
    for name, listener in loaded.settings.listeners.items():
        yield name, listener.listen, _config(loaded, apps[name], tls[name]), tls[name]
    app = admin.application(metrics, admin.Readiness(vault))
    yield ADMIN, loaded.settings.admin.listen, _config(loaded, app, None), None


def _tls(loaded: Loaded) -> dict[str, Tls | None]:
    files = {name: TlsFiles.of(loaded, each) for name, each in loaded.settings.listeners.items()}
    return {name: Tls(each) if each is not None else None for name, each in files.items()}


def _config(loaded: Loaded, app: Starlette, tls: Tls | None) -> Config:
    limits = loaded.settings.limits
    secured: dict[str, Any] = {}
    if tls is not None:
        secured["ssl_context_factory"] = lambda _config, _default: tls.context
    return Config(
        app,
        http=type("ListenersConnection", (Connection,), {"HEAD_S": limits.head_s}),
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        workers=1,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=limits.grace_s,
        h11_max_incomplete_event_size=HEAD_BYTES,
        backlog=_BACKLOG,
        **secured,
    )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    # What is accepted here inherits it. Else the body of an answer waits for its head to be seen.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


async def _serve(servers: list[_Listening], log: Log) -> None:
    """Run them all until a signal, or until one ends by itself."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    running = [asyncio.create_task(each.serve(sockets=[each.socket])) for each in servers]
    following = asyncio.create_task(_follow(servers, log))
    while not all(each.started or task.done() for each, task in zip(servers, running, strict=True)):
        await asyncio.sleep(0.01)
    for each in servers:
        log.info("listening", listener=each.name, port=each.socket.getsockname()[1])
    log.info("the edge serves")
    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    stop()
    await asyncio.gather(*running)
    following.cancel()
    log.info("the edge has stopped")


async def _follow(servers: list[_Listening], log: Log) -> None:
    """Take new certificate files as they come."""
    while True:
        await asyncio.sleep(FOLLOW_EVERY_S)
        for server in servers:
            if server.tls is not None:
                server.tls.follow(log)

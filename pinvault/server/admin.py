"""The admin port: liveness, readiness and metrics over plain HTTP, for the operator's network only.

Rules:
- It tells closed-set facts and numbers; it takes no parameter and no body.
- It runs in a process that has no key, no request and no HSM session.
"""

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

StartResponse = Callable[..., Any]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 5

    def log_message(self, *_: object) -> None:
        """Log nothing: paths come from outside."""


def shared_registry(directory: str) -> CollectorRegistry:
    """Collect what the workers of the host leave in a folder."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return registry


def serve(*, host: str, port: int, ready: Callable[[], bool], registry: CollectorRegistry) -> int:
    """Serve in a background thread; give the port that was bound."""
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO"))
        if path == "/metrics":
            return cast("Iterable[bytes]", metrics(environ, start))
        status, text = _STATES.get((path, path == "/healthz" or ready()), _NOT_FOUND)
        start(status, [("Content-Type", "text/plain"), ("Cache-Control", "no-store")])
        return [text]

    server = make_server(host, port, answer, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="admin", daemon=True).start()
    return server.server_port


_NOT_FOUND = ("404 Not Found", b"/healthz, /readyz and /metrics are here\n")
_STATES = {
    ("/healthz", True): ("200 OK", b"alive\n"),
    ("/readyz", True): ("200 OK", b"ready\n"),
    ("/readyz", False): ("503 Service Unavailable", b"not ready\n"),
}

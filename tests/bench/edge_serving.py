"""`python -m tests.bench.edge_serving EDGE.toml SERVER_PORT`: the edge, on plain ports both ways.

Settings, dialects, application and uvicorn are the edge's own. TLS is left out on both sides, as
in `serving`, and the client's certificate is fixed; so is it for the routes that it is held
against: `/bench/empty` answers and does nothing, `/bench/call` makes one gRPC call, SetPin, of
the bytes that it gets.

It prints one JSON line when it serves, and ends when its input ends.
"""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path

import grpc
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pinvault.edge import connection, serve
from pinvault.edge.app import applications, place
from pinvault.edge.log import make_log
from pinvault.edge.metrics import Metrics
from pinvault.edge.settings import Loaded, load
from tests.bench.cards import client
from tests.bench.place import path_of

CLIENT = "CN=issuer"
LISTENER = "issuers"
CALL, EMPTY = "/bench/call", "/bench/empty"
SET_PIN = path_of("CardPinService.SetPin")
TIMEOUT_S = 10.0


def routes(channel: grpc.Channel) -> list[Route]:
    """Give what the edge is held against."""
    set_pin = channel.unary_unary(SET_PIN)

    async def call(request: Request) -> Response:
        body = await request.body()
        await run_sync(lambda: set_pin(body, timeout=TIMEOUT_S))
        return Response(b'{"code":"0"}', media_type="application/json")

    async def empty(_request: Request) -> Response:
        return Response(b'{"code":"0"}', media_type="application/json")

    return [Route(CALL, call, methods=["POST"]), Route(EMPTY, empty, methods=["POST"])]


def listening(loaded: Loaded, channel: grpc.Channel) -> serve._Listening:
    """Give a uvicorn with the edge's application and the other routes."""
    with Path(os.devnull).open("w") as nowhere:
        log = make_log(os.fdopen(os.dup(nowhere.fileno()), "w"), worker="edge")
    placed = place(loaded, client(channel), log)
    app = applications(loaded, placed, log=log, metrics=Metrics())[LISTENER]
    app.router.routes.extend(routes(channel))
    return serve._Listening(LISTENER, "127.0.0.1:0", serve._config(loaded, app, None), None)


def main() -> None:
    """Serve until the input ends."""
    config, port = Path(sys.argv[1]), int(sys.argv[2])
    connection.subject_of = lambda _transport: CLIENT
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        server = listening(load(config), channel)

        def wait_for_the_end() -> None:
            sys.stdin.read()
            server.should_exit = True

        threading.Thread(target=wait_for_the_end, daemon=True).start()
        print(json.dumps({"port": server.socket.getsockname()[1]}), flush=True)
        asyncio.run(server.serve(sockets=[server.socket]))


if __name__ == "__main__":
    main()

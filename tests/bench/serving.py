"""`python -m tests.bench.serving`: the real worker with one more port, for a load generator in C.

h2load cannot present a client certificate. So this process lets `pinvault.bootstrap` build
everything as for `pinvault serve`, then adds a plain port on loopback and fixes the identity
of whoever calls there. TLS is thereby left out, on all sides of every comparison alike; the
rest of the gate is the real one.

It prints one JSON line when it serves, then answers each line of standard input with one, and
ends when the input ends.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from hsm.recovery import Link
from pinvault.bootstrap import worker as bootstrap
from pinvault.config import load
from pinvault.server import gate as gate_module
from pinvault.server import transport
from pinvault.server.gate import Gate, Method
from pinvault.v1 import pin_block_pb2 as pb
from pinvault.v1 import resources_pb2 as resources
from tests.bench.place import (
    BARE_PATH,
    CALLER,
    ENCRYPT_PIN,
    TRANSLATE_PIN,
    gated_path,
    path_of,
)

ADDRESS = "127.0.0.1:0"
AUTH = {"peer_spiffe_id": [CALLER.encode()]}
# What an answer with a TDES block looks like, to the byte count.
_SOURCE_KEY = resources.KeyUse(name="zpk-terminal", version=1, check_value="000000")
_TARGET_KEY = resources.KeyUse(name="zpk-switch", version=1, check_value="000000")
ENCRYPTED = pb.EncryptPinResponse(
    pin_block=bytes(8), source_key=_SOURCE_KEY, target_key=_TARGET_KEY
)
TRANSLATED = pb.TranslatePinResponse(
    pin_block=bytes(8), source_key=_SOURCE_KEY, target_key=_TARGET_KEY
)
EMPTY = (
    Method(ENCRYPT_PIN, pb.EncryptPinRequest, lambda _call, _request: ENCRYPTED),
    Method(TRANSLATE_PIN, pb.TranslatePinRequest, lambda _call, _request: TRANSLATED),
)


@dataclass(slots=True)
class Built:
    """What bootstrap built: the last of each kind, with what it was made from."""

    worker: Any = None
    objects: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)

    def empty_gate(self) -> Gate:
        """Give a gate with the same objects, whose methods do nothing."""
        _, keywords = self.arguments["Gate"]
        return Gate(EMPTY, **keywords)


def build(config: Path, *, index: int = 0) -> Built:
    """Build a worker that listens to nobody yet; the caller is whoever the bench says."""
    built = Built()
    real_identify = gate_module.identify
    gate_module.identify = lambda _auth, kind: real_identify(AUTH, kind)
    pulse = os.open(os.devnull, os.O_WRONLY)
    with _noted(built, "Gate", "ClearZone", "Router", "PinBlockService"):
        built.worker = bootstrap.build_worker(load(config), index=index, pulse_fd=pulse, port=0)
    return built


@contextmanager
def _noted(built: Built, *names: str):
    """Have the constructors of the worker's objects noted."""
    kept = {name: getattr(bootstrap, name) for name in names}
    for name, make in kept.items():
        setattr(bootstrap, name, _noting(built, name, make))
    try:
        yield
    finally:
        for name, make in kept.items():
            setattr(bootstrap, name, make)


def _noting(built: Built, name: str, make: Callable[..., Any]) -> Callable[..., Any]:
    def noting(*arguments: Any, **keywords: Any) -> Any:
        built.arguments[name] = (arguments, keywords)
        built.objects[name] = make(*arguments, **keywords)
        return built.objects[name]

    return noting


class SlowHsm:
    """Makes every call into the token take longer, outside Python's lock, as a network HSM does."""

    def __init__(self) -> None:
        self.seconds = 0.0
        Link.perform = self._slowed(Link.perform)
        Link.random = self._slowed(Link.random)

    def _slowed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def slowed(*arguments: Any, **keywords: Any) -> Any:
            if self.seconds:
                time.sleep(self.seconds)
            return call(*arguments, **keywords)

        return slowed


class Comparison(grpc.GenericRpcHandler):
    """Empty methods: some behind the gate, one bare. `bare` counts the calls of the latter."""

    def __init__(self, empty: Gate) -> None:
        self.bare = 0
        count = itertools.count(1)
        reply = ENCRYPTED.SerializeToString()

        def answer(_raw: bytes, _context: grpc.ServicerContext) -> bytes:
            self.bare = next(count)
            return reply

        self._handlers = {
            **{gated_path(each.name): empty.service(Named(path_of(each.name))) for each in EMPTY},
            BARE_PATH: grpc.unary_unary_rpc_method_handler(answer),
        }

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Find one of them."""
        return self._handlers.get(details.method)


@dataclass(frozen=True, slots=True)
class Named:
    """What gRPC tells a handler of a call: its path."""

    method: str


def serve_sync(built: Built, control: "Control") -> None:
    """Serve as the worker does, on a plain port, beside the empty methods."""
    server = built.worker._server
    comparison = Comparison(built.empty_gate())
    server.add_generic_rpc_handlers((comparison,))
    control.facts["bare"] = lambda: comparison.bare
    port = server.add_insecure_port(ADDRESS)
    control.start(port, stop=lambda: os.kill(os.getpid(), signal.SIGTERM))
    built.worker.run()


def serve_aio(built: Built, control: "Control", *, hop: bool) -> None:
    """Serve with grpc.aio: the gate's work on the loop itself or, with `hop`, in a thread."""
    asyncio.run(_serve_aio(built, control, hop=hop))
    built.worker._close()


async def _serve_aio(built: Built, control: "Control", *, hop: bool) -> None:
    listening = built.worker._listening
    server = grpc.aio.server(
        options=transport.options(max_connection_age_s=600),
        maximum_concurrent_rpcs=listening.threads * 16,
    )
    pool = ThreadPoolExecutor(listening.threads) if hop else None
    server.add_generic_rpc_handlers((_AioGate(built.objects["Gate"], pool),))
    port = server.add_insecure_port(ADDRESS)
    await server.start()
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    control.start(port, stop=lambda: loop.call_soon_threadsafe(stopped.set))
    await stopped.wait()
    await server.stop(1.0)


class _AioGate(grpc.GenericRpcHandler):
    """The gate's synchronous handlers, mounted in an asynchronous server."""

    def __init__(self, gate: Gate, pool: ThreadPoolExecutor | None) -> None:
        self._gate = gate
        self._pool = pool

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Wrap the handler that the gate gives."""
        found = self._gate.service(details)
        if found is None:
            return None
        handler, pool = found.stream_unary, self._pool

        def serve(raw: bytes, context: Any) -> bytes:
            return handler(iter((raw,)), context)

        async def inline(raw: bytes, context: Any) -> bytes:
            return serve(raw, FakeContext(context.time_remaining()))

        async def hopping(raw: bytes, context: Any) -> bytes:
            fake = FakeContext(context.time_remaining())
            return await asyncio.get_running_loop().run_in_executor(pool, serve, raw, fake)

        return grpc.unary_unary_rpc_method_handler(inline if pool is None else hopping)


@dataclass(slots=True)
class FakeContext:
    """What the gate needs of a gRPC context when the call succeeds."""

    seconds: float

    def time_remaining(self) -> float:
        """Give the time that the caller gave, in seconds."""
        return self.seconds

    def auth_context(self) -> dict[str, list[bytes]]:
        """Give the identity that the bench fixed."""
        return AUTH

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"the call was refused: the gate asked for {name}")


class Control:
    """Tells the parent what it asks; ends the process when the parent is gone."""

    def __init__(self, slow: SlowHsm | None) -> None:
        self._slow = slow
        self.facts: dict[str, Callable[[], object]] = {}

    def start(self, port: int, *, stop: Callable[[], object]) -> None:
        """Say the port, then listen in a thread."""
        self._say({"port": port})
        threading.Thread(target=self._listen, args=(stop,), daemon=True).start()

    def _listen(self, stop: Callable[[], object]) -> None:
        for line in sys.stdin:
            told = json.loads(line)
            if self._slow is not None:
                self._slow.seconds = told.get("hsm_s", self._slow.seconds)
            self._say({name: fact() for name, fact in self.facts.items()})
        stop()

    def _say(self, facts: dict[str, object]) -> None:
        print(json.dumps(facts), flush=True)


def main() -> None:
    """Serve until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.serving")
    parser.add_argument("config", type=Path)
    parser.add_argument("--kind", choices=["sync", "aio-inline", "aio-executor"], required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--may-be-slow", action="store_true")
    told = parser.parse_args()
    slow = SlowHsm() if told.may_be_slow else None
    built = build(told.config, index=told.index)
    if told.kind == "sync":
        serve_sync(built, Control(slow))
    else:
        serve_aio(built, Control(slow), hop=told.kind == "aio-executor")


if __name__ == "__main__":
    main()

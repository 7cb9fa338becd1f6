"""One worker process: a gRPC server on the shared port, its health, and its pulse.

Rules:
- Health is SERVING only while the HSM answers rightly and the audit log can be written; that of a
  service, while what it stands on besides is there too.
- A token that hangs cannot be helped from inside: the pulse says so, and the supervisor
  replaces the process.
- On a stop, health goes first, then the calls under way are finished, then the record is closed.
"""

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from pinvault.server.gate import PACKAGE, Gate
from pinvault.server.hardening import die_with_parent
from pinvault.server.logs import Log
from pinvault.server.metrics import Metrics
from pinvault.server.pulse import Pulse

PULSE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where and how a worker listens. `threads` bounds the calls under way at once."""

    address: str
    credentials: grpc.ServerCredentials
    options: Sequence[tuple[str, int]]
    threads: int
    grace_s: float
    reflection: bool


def confine(index: int) -> None:
    """Confine this process to one of the cores that it may use, by its index.

    Threads that hand Python's lock from core to core serve less than on one core (ADR
    0002), so a worker gets one, and a second core a second worker.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[index % len(cores)]})


class Worker:
    """Runs until it is told to stop. `condition` is asked twice a second.

    `services` names what is served, each with whether what it stands on besides is there.
    """

    def __init__(
        self,
        *,
        listening: Listening,
        gate: Gate,
        services: Mapping[str, Callable[[], bool]],
        condition: Callable[[], Pulse],
        close: Callable[[], None],
        pulse_fd: int,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._listening = listening
        self._services = {f"{PACKAGE}.{name}": stands for name, stands in services.items()}
        self._condition = condition
        self._close = close
        self._pulse_fd = pulse_fd
        self._metrics = metrics
        self._log = log
        self._stopping = threading.Event()
        self._health = health.HealthServicer()
        self._server = self._build(gate)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, or until the supervisor is gone."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        die_with_parent(signal.SIGTERM)
        self._server.start()
        self._tell(self._look())
        self._beat(Pulse.READY)
        self._log.info("worker serves")
        while not self._stopping.wait(PULSE_S):
            self._tell(self._look())
        self._stop()

    def _build(self, gate: Gate) -> grpc.Server:
        listening = self._listening
        server = grpc.server(
            ThreadPoolExecutor(listening.threads, thread_name_prefix="call"),
            options=listening.options,
            maximum_concurrent_rpcs=listening.threads * 16,
        )
        server.add_generic_rpc_handlers((gate,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if listening.reflection:
            names = [*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME]
            reflection.enable_server_reflection(names, server)
        server.add_secure_port(listening.address, listening.credentials)
        return server

    def _look(self) -> Pulse:
        """Ask how the worker is; whatever goes wrong in asking is an answer too."""
        try:
            return self._condition()
        except Exception as error:  # noqa: BLE001 - a worker whose condition is unknown is ailing
            self._log.fault("condition unknown", error)
            return Pulse.AILING

    def _tell(self, condition: Pulse) -> None:
        """Carry the condition to health, metrics and the supervisor."""
        serves = condition is Pulse.SERVING
        self._health.set("", _status(serves))
        for name, stands in self._services.items():
            self._health.set(name, _status(serves and stands()))
        self._metrics.serving(serves)
        self._beat(condition)

    def _beat(self, pulse: Pulse) -> None:
        try:
            os.write(self._pulse_fd, pulse.value)
        except BlockingIOError:
            pass  # the supervisor is busy; a missed beat is no loss
        except OSError:
            self._stopping.set()  # the supervisor is gone

    def _stop(self) -> None:
        self._log.info("worker stops")
        self._health.enter_graceful_shutdown()
        self._server.stop(self._listening.grace_s).wait()
        self._close()


def _status(serves: bool) -> int:
    status = health_pb2.HealthCheckResponse
    return status.SERVING if serves else status.NOT_SERVING

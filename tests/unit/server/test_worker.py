"""A worker's health: its own, and that of each service with what it stands on."""

import io
import os
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry

from pinvault.server.logs import make_log
from pinvault.server.metrics import Metrics
from pinvault.server.pulse import Pulse
from pinvault.server.worker import Listening, Worker

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Serving:
    """A worker of two services, one of which stands on a store."""

    def __init__(self, pulse_fd: int) -> None:
        self.store_is_up = True
        self.worker = Worker(
            listening=Listening(
                address="localhost:0",
                credentials=grpc.local_server_credentials(),
                options=(),
                threads=1,
                grace_s=0,
                reflection=True,
            ),
            gate=_Nothing(),
            services={
                "PinBlockService": lambda: True,
                "CardPinService": lambda: self.store_is_up,
            },
            condition=lambda: Pulse.SERVING,
            close=lambda: None,
            pulse_fd=pulse_fd,
            metrics=Metrics(CollectorRegistry()),
            log=make_log(count=lambda: None, stream=io.StringIO()),
        )

    def told(self, pulse: Pulse) -> list[int]:
        self.worker._tell(pulse)
        names = ("", "pinvault.v1.PinBlockService", "pinvault.v1.CardPinService")
        asked = (health_pb2.HealthCheckRequest(service=name) for name in names)
        return [self.worker._health.Check(each, None).status for each in asked]


class _Nothing(grpc.GenericRpcHandler):
    def service(self, _: grpc.HandlerCallDetails) -> None:
        return None


@pytest.fixture
def serving() -> Iterator[Serving]:
    reading, writing = os.pipe()
    yield Serving(writing)
    os.close(reading)
    os.close(writing)


def test_a_store_that_is_away_takes_the_health_of_its_service_alone(serving: Serving) -> None:
    assert serving.told(Pulse.SERVING) == [SERVING, SERVING, SERVING]
    serving.store_is_up = False
    assert serving.told(Pulse.SERVING) == [SERVING, SERVING, NOT_SERVING]
    serving.store_is_up = True
    assert serving.told(Pulse.SERVING) == [SERVING, SERVING, SERVING]


@pytest.mark.parametrize("pulse", [Pulse.AILING, Pulse.HUNG])
def test_an_ailing_worker_serves_nothing(serving: Serving, pulse: Pulse) -> None:
    assert serving.told(pulse) == [NOT_SERVING] * 3

"""A server as clients and operators see it: handshakes, identity, health, metrics, log, mode."""

import json
import os
import re
import subprocess
import sys
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from pinvault.client import PinvaultError, Vault
from pinvault.config import load
from pinvault.development.configuration import Settings
from pinvault.development.server import RunningServer
from tests.conftest import PAN
from tests.e2e.conftest import WORKERS
from tests.support import zone
from tests.support.running import (
    TARGET,
    MakeEnvironment,
    admin,
    block,
    channel,
    records,
    until,
)


@pytest.mark.parametrize(
    ("client", "cause"), [(None, "no-certificate"), ("foreign", "foreign-certificate")]
)
def test_a_missing_or_foreign_certificate_ends_the_handshake_and_is_recorded(
    server: RunningServer, client: str | None, cause: str
) -> None:
    def seen() -> int:
        return sum(record.cause == cause for record in records(server, "tls-refused"))

    before = seen()
    with channel(server, client) as refused, pytest.raises(grpc.RpcError) as failed:
        refused.unary_unary("/pinvault.v1.KeyService/ListKeys")(b"", timeout=5)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    until(lambda: seen() > before)
    until(lambda: "pinvault_tls_handshakes_refused_total 0" not in admin(server, "/metrics")[1])


def test_health_is_told_to_every_known_client_for_every_service(server: RunningServer) -> None:
    with channel(server, "nobody") as known:
        stub = health_pb2_grpc.HealthStub(known)
        for service in ("", "pinvault.v1.PinBlockService", "pinvault.v1.KeyService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_is_there_when_it_is_configured(server: RunningServer) -> None:
    with channel(server) as known:
        stub = reflection_pb2_grpc.ServerReflectionStub(known)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (answer,) = stub.ServerReflectionInfo(asked, timeout=5)
        names = {service.name for service in answer.list_services_response.service}
    assert "pinvault.v1.PinBlockService" in names


def test_the_admin_port_tells_readiness_and_metrics_of_all_workers(server: RunningServer) -> None:
    assert admin(server, "/healthz") == (200, "alive\n")
    assert admin(server, "/readyz") == (200, "ready\n")
    assert admin(server, "/etc/passwd")[0] == 404
    with server.connect() as vault:
        vault.list_keys()
    text = admin(server, "/metrics")[1]
    assert f"pinvault_worker_serving {float(WORKERS)}" in text
    served = 'grpc_method="KeyService.ListKeys",reason="OK"'
    assert any(served in line for line in text.splitlines())


@pytest.mark.parametrize(
    ("identity", "name"), [("dns", "card-app.test"), ("cn", "card-app")], ids=["dns", "cn"]
)
def test_identity_is_read_from_where_it_is_configured(
    make_environment: MakeEnvironment, identity: str, name: str
) -> None:
    with RunningServer(make_environment(Settings(identity=identity))) as running:
        with running.connect() as vault:
            assert vault.list_keys()
        with running.connect("switch") as vault, pytest.raises(PinvaultError) as refused:
            vault.list_keys()
        assert refused.value.reason == "METHOD_NOT_GRANTED"
        assert {record.caller for record in records(running, "call")} >= {name}


def test_two_hundred_callers_at_once_are_all_answered(server: RunningServer) -> None:
    key = server.environment.zone_key("zpk-switch")
    source = block(server)
    pins: list[str] = []

    def one_call(vault: Vault) -> None:
        made = vault.encrypt_pin(source, to=TARGET, timeout_s=30)
        assert made.pin_block is not None
        pins.append(zone.pin_of(made.pin_block, pan=PAN, form="ISO_3", key=key))

    with server.connect(timeout_s=30) as vault:
        threads = [threading.Thread(target=one_call, args=(vault,)) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert pins == ["4831"] * 200


def test_the_log_holds_json_lines_and_nothing_was_redacted(server: RunningServer) -> None:
    """Whatever the tests before have sent."""
    with server.connect() as vault:
        vault.encrypt_pin(block(server), to=TARGET)
    text = admin(server, "/metrics")[1]
    whole, _, _ = server.log.read_text().rpartition("\n")
    events = [json.loads(line)["event"] for line in whole.splitlines()]
    assert all(events)
    assert len(events) > WORKERS
    redactions = re.findall(r"^pinvault_log_redactions_total (\S+)", text, re.MULTILINE)
    assert redactions == ["0.0"]


def test_production_mode_serves_with_every_protection_and_refuses_without(
    make_environment: MakeEnvironment,
) -> None:
    environment = make_environment(Settings(mode="production", reflection=False))
    with RunningServer(environment) as running:
        with running.connect() as vault:
            assert vault.list_keys()
        with channel(running) as known:
            stub = reflection_pb2_grpc.ServerReflectionStub(known)
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            with pytest.raises(grpc.RpcError) as failed:
                list(stub.ServerReflectionInfo(asked, timeout=5))
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    reading, writing = os.pipe()
    without = subprocess.run(
        [
            *(sys.executable, "-m", "pinvault", "worker", str(environment.config)),
            *("--index", "0", "--port", "0", "--pulse-fd", str(writing)),
            *("--digest", load(environment.config).sha256),
        ],
        env={**os.environ, **environment.variables()},
        pass_fds=(writing,),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(reading)
    os.close(writing)
    assert without.returncode == 2
    assert "production mode refuses to start" in without.stderr

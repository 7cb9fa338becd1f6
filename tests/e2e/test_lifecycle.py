"""A server's life: handshakes, health, changing certificates, dying workers, an orderly end."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from pinvault.audit.record import Entry
from pinvault.audit.tail import newest
from pinvault.cli.serve import digest_of
from pinvault.client import PinBlock, PinvaultError, ToPinBlock, Vault
from pinvault.config import load
from pinvault.development.certificates import Authority, write_pair
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.conftest import PAN
from tests.support import zone

MakeEnvironment = Callable[[Settings], Environment]
WORKERS = 2


@pytest.fixture
def own(make_environment: MakeEnvironment) -> Iterator[RunningServer]:
    """A server that a test may hurt."""
    settings = Settings(workers=WORKERS, per_caller="100000/s", per_pan="100000/s")
    with RunningServer(make_environment(settings)) as running:
        yield running


def channel(server: RunningServer, client: str | None = "card-app") -> grpc.Channel:
    tls = server.environment.tls
    pair = (
        ((tls / f"{client}.key").read_bytes(), (tls / f"{client}.pem").read_bytes())
        if client
        else (None, None)
    )
    credentials = grpc.ssl_channel_credentials((tls / "ca.pem").read_bytes(), *pair)
    return grpc.secure_channel(f"localhost:{server.port}", credentials)


def records(server: RunningServer, event: str) -> list[Entry]:
    found = newest(server.environment.root / "audit", count=100_000)
    return [tailed.entry for tailed in found if tailed.entry.event == event]


def admin(server: RunningServer, path: str) -> tuple[int, str]:
    try:
        url = f"http://127.0.0.1:{server.admin_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)


def workers_of(server: RunningServer) -> set[int]:
    assert server.process is not None
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return {int(pid) for pid in path.read_text().split()}


def block(server: RunningServer) -> PinBlock:
    key = server.environment.zone_key("zpk-terminal")
    ciphertext = zone.block("4831", pan=PAN, form="ISO_3", key=key)
    return PinBlock(key="zpk-terminal", format="ISO_3", ciphertext=ciphertext, pan=PAN)


TARGET = ToPinBlock(key="zpk-switch", format="ISO_3", pan=PAN)


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


def test_new_certificates_are_served_without_a_restart_and_bad_ones_are_not(
    own: RunningServer,
) -> None:
    tls = own.environment.tls
    authority = Authority.make("the next CA")
    write_pair(tls, "server", authority.issue_server("the next server"))
    pair = authority.issue_client("card-app", spiffe="spiffe://pinvault.test/card-app")
    with (
        pytest.raises(PinvaultError),
        own.connect() as old,
    ):  # the old CA does not know the new leaf
        old.list_keys()
    (tls / "ca.pem").write_bytes(authority.pem())
    write_pair(tls, "card-app", pair)
    for _ in range(20):  # so that both workers have met the new files
        with own.connect() as vault:
            assert vault.list_keys()
    (tls / "server.pem").write_text("garbage")
    with own.connect() as vault:
        assert vault.list_keys()


def test_both_workers_serve_the_one_port_and_each_keeps_its_own_chain(own: RunningServer) -> None:
    def served() -> int:
        with own.connect() as vault:
            vault.list_keys()
        return len(list((own.environment.root / "audit").glob("worker-*.audit.jsonl")))

    until(lambda: served() == WORKERS)
    calls = {t.worker for t in newest(own.environment.root / "audit", count=1000)}
    assert calls == set(range(WORKERS))


class Callers:
    """Eight callers who go on calling until they are stopped."""

    def __init__(self, server: RunningServer) -> None:
        self.answered = 0
        self.faults: list[PinvaultError] = []
        self._stop = threading.Event()
        self._counting = threading.Lock()
        self._threads = [
            threading.Thread(target=self._go_on, args=(server, block(server))) for _ in range(8)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, server: RunningServer, source: PinBlock) -> None:
        with server.connect(timeout_s=2) as vault:
            while not self._stop.is_set():
                try:
                    vault.encrypt_pin(source, to=TARGET)
                    with self._counting:
                        self.answered += 1
                except PinvaultError as error:
                    self.faults.append(error)
                    self._stop.wait(0.05)


def test_a_killed_worker_loses_no_answered_record_and_is_replaced(own: RunningServer) -> None:
    """Callers go on throughout; every call that was answered has its record."""
    first = workers_of(own)
    with Callers(own) as callers:
        for pid in first:
            time.sleep(1.0)
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(workers_of(own) - first) == WORKERS)
        until(lambda: admin(own, "/readyz")[0] == 200)
        before = callers.answered
        until(lambda: callers.answered > before + 20)
    assert {fault.code for fault in callers.faults} <= {grpc.StatusCode.UNAVAILABLE}
    recorded = [r for r in records(own, "call") if r.outcome == "OK"]
    assert len(recorded) >= callers.answered > 40
    assert own.stop() == 0
    assert verify(own.environment).returncode == 0


def test_a_stop_under_load_finishes_what_is_under_way(own: RunningServer) -> None:
    with Callers(own) as callers:
        until(lambda: callers.answered > 50)
        assert own.stop() == 0
    assert {fault.code for fault in callers.faults} <= {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,  # had not begun
        grpc.StatusCode.DEADLINE_EXCEEDED,  # while nothing listens any more
    }
    recorded = [r for r in records(own, "call") if r.outcome == "OK"]
    assert len(recorded) == callers.answered
    assert len(records(own, "shutdown")) == WORKERS


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


def test_two_hundred_callers_at_once_are_all_answered(own: RunningServer) -> None:
    key = own.environment.zone_key("zpk-switch")
    source = block(own)
    pins: list[str] = []

    def one_call(vault: Vault) -> None:
        made = vault.encrypt_pin(source, to=TARGET, timeout_s=30)
        assert made.pin_block is not None
        pins.append(zone.pin_of(made.pin_block, pan=PAN, form="ISO_3", key=key))

    with own.connect(timeout_s=30) as vault:
        threads = [threading.Thread(target=one_call, args=(vault,)) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert pins == ["4831"] * 200


def test_an_orderly_stop_ends_the_log_orderly(own: RunningServer) -> None:
    with own.connect() as vault:
        vault.list_keys()
    assert own.stop() == 0
    assert not own.environment.notice.exists()
    assert len(records(own, "shutdown")) == WORKERS
    done = verify(own.environment)
    assert done.returncode == 0, done.stderr
    assert "intact" in done.stdout


def test_a_tampered_log_is_found(own: RunningServer) -> None:
    with own.connect() as vault:
        vault.list_keys()
    own.stop()
    for log in (own.environment.root / "audit").glob("*.jsonl"):
        log.write_text(log.read_text().replace("KeyService.ListKeys", "KeyService.GetKey"))
    assert verify(own.environment).returncode == 1


def test_the_log_holds_json_lines_and_nothing_was_redacted(own: RunningServer) -> None:
    with own.connect() as vault:
        vault.encrypt_pin(block(own), to=TARGET)
    text = admin(own, "/metrics")[1]
    own.stop()
    for line in own.log.read_text().splitlines():
        assert json.loads(line)["event"]
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
            *("--digest", digest_of(load(environment.config))),
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


def verify(environment: Environment) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pinvault", "audit", "verify", str(environment.config)],
        env={**os.environ, **environment.variables(), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_token_that_goes_away_is_told_and_comes_back_by_itself(own: RunningServer) -> None:
    source = block(own)
    tokens = own.environment.root / "token" / "tokens"
    away = tokens.with_name("away")
    with own.connect() as vault:
        assert vault.encrypt_pin(source, to=TARGET)
        tokens.rename(away)
        try:
            until(lambda: admin(own, "/readyz")[0] == 503)
            with pytest.raises(PinvaultError) as refused:
                vault.encrypt_pin(source, to=TARGET)
            assert refused.value.reason == "HSM_UNAVAILABLE"
            assert refused.value.retry_after_s
            with channel(own) as known:
                answer = health_pb2_grpc.HealthStub(known).Check(
                    health_pb2.HealthCheckRequest(service=""), timeout=5
                )
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        finally:
            away.rename(tokens)
        until(lambda: admin(own, "/readyz")[0] == 200, seconds=60)
        until(lambda: encrypts(vault, source), seconds=60)


def encrypts(vault: Vault, source: PinBlock) -> bool:
    try:
        return vault.encrypt_pin(source, to=TARGET).pin_block is not None
    except PinvaultError:
        return False


def test_an_audit_log_that_cannot_be_written_stops_every_answer(
    make_environment: MakeEnvironment,
) -> None:
    """A limit on file sizes makes the kernel refuse the write, as a full disk would."""
    environment = make_environment(Settings(workers=1, slots=1024))
    limited = f"ulimit -f 128; exec {sys.executable} -m pinvault serve {environment.config}"
    with environment.root.joinpath("server.log").open("ab") as log:
        process = subprocess.Popen(
            ["bash", "-c", limited],
            env={**os.environ, **environment.variables()},
            stdout=log,
            stderr=log,
        )
    try:
        until(environment.notice.exists, seconds=60)
        facts = json.loads(environment.notice.read_text())
        running = RunningServer(environment)
        running.port, running.admin_port = facts["port"], facts["admin_port"]
        reasons: list[str] = []
        with running.connect() as vault:
            while len(reasons) < 5:
                try:
                    vault.list_keys()
                except PinvaultError as error:
                    reasons.append(error.reason)
        assert set(reasons) == {"AUDIT_UNAVAILABLE"}
        until(lambda: admin(running, "/readyz")[0] == 503)
    finally:
        process.terminate()
        process.wait(20)

"""A server's life: new certificates, dying workers, lost tokens, full disks, an orderly end."""

import json
import os
import signal
import subprocess
import sys
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pinvault.audit.tail import newest
from pinvault.client import PinvaultError
from pinvault.development.certificates import Authority, write_pair
from pinvault.development.configuration import Settings
from pinvault.development.server import RunningServer
from tests.e2e.conftest import WORKERS
from tests.support.running import (
    TARGET,
    Callers,
    MakeEnvironment,
    admin,
    block,
    channel,
    encrypts,
    records,
    until,
    verify,
    workers_of,
)


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


def test_both_workers_serve_the_one_port_and_each_keeps_its_own_chain(
    server: RunningServer,
) -> None:
    audit = server.environment.root / "audit"

    def served() -> set[int]:
        with server.connect() as vault:
            vault.list_keys()
        return {t.worker for t in newest(audit, count=1000) if t.entry.event == "call"}

    until(lambda: served() == set(range(WORKERS)))
    assert len(list(audit.glob("worker-*.audit.jsonl"))) == WORKERS


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


def test_an_orderly_stop_ends_the_log_orderly_and_tampering_with_it_is_found(
    own: RunningServer,
) -> None:
    with own.connect() as vault:
        vault.list_keys()
    assert own.stop() == 0
    assert not own.environment.notice.exists()
    assert len(records(own, "shutdown")) == WORKERS
    done = verify(own.environment)
    assert done.returncode == 0, done.stderr
    assert "intact" in done.stdout
    for log in (own.environment.root / "audit").glob("*.jsonl"):
        log.write_text(log.read_text().replace("KeyService.ListKeys", "KeyService.GetKey"))
    assert verify(own.environment).returncode == 1


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
        until(lambda: admin(own, "/readyz")[0] == 200)
        until(lambda: encrypts(vault, source))


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
        until(environment.notice.exists)
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

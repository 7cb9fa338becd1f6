"""The command line as an operator meets it: what it prints, and what it says of mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pinvault.cli import main
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer

MakeEnvironment = Callable[[Settings], Environment]


def pinvault(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pinvault", *arguments],
        env={**os.environ, **environment.variables(), "COLUMNS": "180"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def quiet(make_environment: MakeEnvironment) -> Environment:
    """An environment on which nothing runs."""
    return make_environment(Settings())


@pytest.fixture
def spoilt(make_environment: MakeEnvironment) -> Environment:
    """An environment that a test may spoil."""
    return make_environment(Settings())


def spoil(file: Path, right: str, wrong: str) -> None:
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))


def test_help_names_the_commands(quiet: Environment) -> None:
    done = pinvault(quiet, "--help")
    for command in ("serve", "config", "doctor", "key", "audit"):
        assert command in done.stdout
    assert "worker" not in done.stdout


def test_config_check_says_what_it_found(quiet: Environment) -> None:
    done = pinvault(quiet, "config", "check", str(quiet.config))
    assert (done.returncode, done.stderr) == (0, "")
    assert "good: 29 keys, 9 profiles, 14 grants" in done.stdout


Check = Callable[[Environment], tuple[object, str, str]]


@pytest.fixture
def config_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run the command in this process, which is quicker; give its code and both texts."""

    def check(environment: Environment) -> tuple[object, str, str]:
        monkeypatch.setenv("COLUMNS", "180")
        monkeypatch.setattr(sys, "argv", ["pinvault", "config", "check", str(environment.config)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return ended.value.code, told.out, told.err

    return check


def test_config_check_says_when_the_table_may_be_too_small(
    spoilt: Environment, config_check: Check
) -> None:
    spoil(spoilt.config, "slots = 65536", "slots = 2048")
    code, told, _ = config_check(spoilt)
    assert code == 0
    assert "state.slots: callers who use their rates up need" in told


@pytest.mark.parametrize(
    ("file", "right", "wrong", "said"),
    [
        ("pinvault.toml", 'index = "index"', 'index = "idx"', "keys.index: the key ring has no"),
        ("pinvault.toml", 'index = "index"', 'index = "pin-seal"', "not M7"),
        ("pinvault.toml", 'key = "pin-seal"', 'key = "seal"', "profiles.sealed-pin.key"),
        ("pinvault.toml", 'keys = ["zpk-terminal"', 'keys = ["zpk-t"', "no key named zpk-t"),
        ("pinvault.toml", "sqlite:////", "sqlite:///", "the store's address is none"),
        ("keyring.toml", 'usage = "P0"', 'usage = "P9"', "keyring.toml"),
    ],
)
def test_config_check_names_what_does_not_fit(
    spoilt: Environment, config_check: Check, file: str, right: str, wrong: str, said: str
) -> None:
    spoil(spoilt.root / file, right, wrong)
    code, _, told = config_check(spoilt)
    assert code == 2
    assert said in told
    assert "Traceback" not in told


def test_key_list_shows_attributes_and_check_values(quiet: Environment) -> None:
    table = pinvault(quiet, "key", "list", str(quiet.config))
    assert "zpk-switch/1" in table.stdout
    keys = json.loads(pinvault(quiet, "key", "list", "--json", str(quiet.config)).stdout)
    found = {key["key"]: key for key in keys}
    assert found["zpk-switch/1"]["usage"] == "P0"
    assert found["zpk-switch/1"]["mode"] == "E"
    assert len(found["pin-seal/1"]["check_value"]) == 64


def test_doctor_is_content_with_a_good_environment(quiet: Environment) -> None:
    done = pinvault(quiet, "doctor", "--json", str(quiet.config))
    assert done.returncode == 0
    assert {row["verdict"] for row in json.loads(done.stdout)} == {"ok"}


def test_doctor_names_a_key_that_differs_from_the_ring(spoilt: Environment) -> None:
    ring = spoilt.root / "keyring.toml"
    value = next(line for line in ring.read_text().splitlines() if "check_value" in line)
    spoil(ring, value, value.split('"')[0] + '"' + "0" * len(value.split('"')[1]) + '"')
    done = pinvault(spoilt, "doctor", str(spoilt.config))
    assert done.returncode == 1
    assert "FAIL" in done.stdout
    refused = pinvault(spoilt, "serve", str(spoilt.config))
    assert refused.returncode == 2
    assert "does not agree with the key ring" in refused.stderr
    assert "check value" in refused.stderr


def test_serve_says_why_it_does_not_start(spoilt: Environment) -> None:
    spoil(spoilt.config, "server.pem", "nowhere.pem")
    done = pinvault(spoilt, "serve", str(spoilt.config))
    assert done.returncode == 2
    assert "nowhere.pem" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_certificate_of_another_key_is_told(spoilt: Environment) -> None:
    spoil(spoilt.config, "server.key", "switch.key")
    for command in ("doctor", "serve"):
        done = pinvault(spoilt, command, str(spoilt.config))
        assert done.returncode in {1, 2}
        assert "the key is not the certificate's" in " ".join((done.stdout + done.stderr).split())


def test_a_tls_key_that_every_user_can_read_is_told(spoilt: Environment) -> None:
    key = spoilt.tls / "server.key"
    key.chmod(0o640)
    assert pinvault(spoilt, "doctor", str(spoilt.config)).returncode == 0
    key.chmod(0o604)
    for command in ("doctor", "serve"):
        done = pinvault(spoilt, command, str(spoilt.config))
        assert done.returncode in {1, 2}
        assert "every user can read the key" in " ".join((done.stdout + done.stderr).split())


def test_a_second_server_on_one_directory_leaves_the_first_alone(server: RunningServer) -> None:
    first = server.environment
    second = pinvault(first, "serve", str(first.config))
    assert second.returncode == 2
    assert "another server uses this directory" in second.stderr
    assert first.notice.exists()
    with server.connect() as vault:
        assert vault.list_keys()


def test_a_worker_does_not_take_what_was_edited_under_the_server(spoilt: Environment) -> None:
    """A successor that reads other rules than the server began with does not serve."""
    with RunningServer(spoilt) as running:
        assert running.process is not None
        spoil(spoilt.config, 'per_caller = "500/s"', 'per_caller = "501/s"')
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
        os.kill(int(children.read_text()), signal.SIGKILL)
        deadline = time.monotonic() + 20
        while "changed since the server started" not in running.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_audit_tail_prints_records_as_json_lines(
    server: RunningServer, make_environment: MakeEnvironment
) -> None:
    with server.connect() as vault:
        vault.list_keys()
    config = str(server.environment.config)
    done = pinvault(server.environment, "audit", "tail", "-n", "3", config)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == 3
    assert any(record.get("method") == "KeyService.ListKeys" for record in records)


def test_audit_verify_works_beside_a_running_server(server: RunningServer) -> None:
    with server.connect() as vault:
        vault.list_keys()
    beside = pinvault(server.environment, "audit", "verify", str(server.environment.config))
    assert beside.returncode == 0, beside.stderr


def test_audit_verify_finds_a_cut_where_it_is_told_the_head(spoilt: Environment) -> None:
    with RunningServer(spoilt) as running, running.connect() as vault:
        vault.list_keys()
    whole = pinvault(spoilt, "audit", "verify", str(spoilt.config))
    (head,) = (line.split(": ")[1] for line in whole.stdout.splitlines() if "head of" in line)
    log = spoilt.root / "audit" / "worker-0.audit.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-2]))
    assert pinvault(spoilt, "audit", "verify", str(spoilt.config)).returncode == 0
    noticed = pinvault(spoilt, "audit", "verify", "--expect", head, str(spoilt.config))
    assert noticed.returncode == 1
    assert "Traceback" not in noticed.stderr


def test_a_bad_expectation_is_told(quiet: Environment) -> None:
    done = pinvault(quiet, "audit", "verify", "--expect", "0:x", str(quiet.config))
    assert done.returncode == 2
    assert "WORKER:SIZE:HASH" in done.stderr

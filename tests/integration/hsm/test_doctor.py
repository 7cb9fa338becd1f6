"""The doctor: its exit codes, and that its table and JSON name the fault and the remedy."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from hsm import keyring as keyrings
from hsm.doctor import Question, Verdict, diagnose, exit_code
from tests.integration.hsm.support import use


def run(*arguments, environment):
    return subprocess.run(
        [sys.executable, "-m", "hsm", "doctor", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "160", **environment},
    )


@pytest.fixture
def named(every_role, tmp_path):
    """The arguments that name the token and a key ring file."""
    path = tmp_path / "keyring.toml"
    path.write_text(keyrings.dump(every_role.keyring))
    location = every_role.location
    token = ["--token-label", location.label, "--token-serial", location.serial]
    return [
        *("--module", location.module, *token),
        *("--pin-file", location.pin_file, "--keyring", path),
    ]


def test_all_is_well(every_role, named):
    done = run(*named, environment=every_role.token.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"agrees with all {len(every_role.keyring.keys)} keys in use" in done.stdout
    assert "mechanism AES_ECB" in done.stdout
    assert "label every-role" in done.stdout


def test_a_wrong_check_value_is_named_with_its_remedy(every_role, named):
    path = named[-1]
    path.write_text(path.read_text().replace("6FB1C8", "6FB1C9", 1))
    done = run(*named, "--json", environment=every_role.token.environment)
    assert done.returncode == 1
    faults = [each for each in json.loads(done.stdout) if each["verdict"] == "fault"]
    assert [each["subject"] for each in faults] == ["key tdes-e/1"]
    assert "check value: 6FB1C8, expected 6FB1C9" in faults[0]["detail"]
    assert faults[0]["remedy"]


def test_a_missing_module_comes_with_the_way_to_install_it(tmp_path):
    done = run("--module", tmp_path / "none.so", environment={})
    assert done.returncode == 2
    assert "does not exist" in done.stdout
    assert "softhsm2" in done.stdout


def test_something_that_is_no_module(tmp_path):
    path = tmp_path / "text.so"
    path.write_text("text")
    (check,) = diagnose(Question(module=path))
    assert check.verdict is Verdict.BLOCKED
    assert check.remedy


def test_half_named_tokens_are_wrong_usage(every_role):
    done = run("--module", every_role.location.module, "--token-label", "x", environment={})
    assert done.returncode == 2
    assert "go together" in done.stderr
    done = run("--module", every_role.location.module, "--keyring", "x", environment={})
    assert done.returncode == 2


def ask(every_role, **changes):
    location = replace(every_role.location, **changes)
    return diagnose(
        Question(
            module=location.module,
            label=location.label,
            serial=location.serial,
            pin_file=location.pin_file,
        )
    )


def test_which_oaep_hashes_really_work(every_role, monkeypatch):
    use(monkeypatch, every_role.token)
    checks = {check.subject: check for check in ask(every_role)}
    assert checks["RSA OAEP_SHA1"].verdict is Verdict.GOOD
    assert checks["RSA OAEP_SHA256"].verdict in (Verdict.GOOD, Verdict.NOTE)
    assert exit_code(tuple(checks.values())) == 0


def test_another_serial_number_cannot_be_looked_at(every_role, monkeypatch):
    use(monkeypatch, every_role.token)
    checks = ask(every_role, serial="0000000000000000")
    assert exit_code(checks) == 2
    assert checks[-1].detail.startswith("not exactly one token")
    assert checks[-1].remedy


def test_a_wrong_pin_cannot_be_looked_at(every_role, monkeypatch, tmp_path):
    use(monkeypatch, every_role.token)
    path = tmp_path / "pin"
    path.write_text("wrong")
    path.chmod(0o600)
    checks = ask(every_role, pin_file=path)
    assert exit_code(checks) == 2
    assert "refused the login" in checks[-1].detail
    assert "wrong" not in checks[-1].detail


def test_without_a_token_it_lists_what_is_there(every_role, monkeypatch):
    use(monkeypatch, every_role.token)
    checks = diagnose(Question(module=every_role.location.module))
    assert exit_code(checks) == 0
    assert any(every_role.location.serial in check.detail for check in checks)

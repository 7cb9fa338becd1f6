"""`pinvault webhook` and `pinvault notify`, as an operator runs them."""

import base64
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from standardwebhooks import Webhook

from pinvault.cli import cli
from pinvault.config import ConfigError, load
from pinvault.store import Store, outbox
from tests.store.samples import NOW, message, write
from tests.support.receiver import SECRET, Receiver, says, says_in_turn, write_secret

EXAMPLE = Path(__file__).parents[2] / "pinvault.example.toml"
RAPYD_SECRET = "d8e9f0a1b2c3d4e5f60718293a4b5c6d"
BODY = '{"type":"pin.set","data":{"card_id":"card_ghijklmnop"}}'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening


@pytest.fixture
def config(address: str, receiver: Receiver, tmp_path: Path) -> Path:
    """The example, for development: another store, and one receiver for all, on this host."""
    write_secret(tmp_path / "secrets" / "webhook-erp")
    write_secret(tmp_path / "secrets" / "webhook-rapyd", RAPYD_SECRET)
    text = EXAMPLE.read_text()
    for option, value in (
        ("mode", '"development"'),
        ("address", f'"{address}"'),
        ("url", f'"http://localhost:{receiver.port}/hooks"'),
        ("private_networks", '["127.0.0.0/8", "::1/128"]'),
        ("events", '["pin.set"]'),
    ):
        text, count = re.subn(rf"(?m)^{option} = .*$", f"{option} = {value}", text)
        assert count == (2 if option in ("url", "private_networks") else 1), option
    text = re.sub(r"(?m)^ca_file = .*$", "", text).replace(":9444", ":0")
    path = tmp_path / "pinvault.toml"
    path.write_text(text)
    return path


def pinvault(config: Path, *words: str) -> Result:
    group, verb, *rest = words
    return CliRunner().invoke(cli, [group, verb, str(config), *rest])


def add(store: Store, *ids: str, dead: tuple[str, ...] = ()) -> None:
    with store.write() as db:
        for number, each in enumerate(ids):
            sent = replace(message(each), endpoint="erp", body=BODY)
            outbox.add(db, sent, now=NOW + number)
    if dead:
        claimed = write(store, outbox.claim, now=NOW + 9, until=NOW + 10, count=100)
        for each in claimed:
            if each.id in dead:
                assert write(store, outbox.give_up, each.id, attempt=1, now=NOW + 20)


def listed(config: Path, *options: str) -> list[str]:
    result = pinvault(config, "webhook", "list", *options, "--json")
    assert result.exit_code == 0, result.output
    return [row["id"] for row in json.loads(result.output)]


def test_messages_are_listed_by_what_becomes_of_them(store: Store, config: Path) -> None:
    add(store, "a", "b", "c", dead=("b",))
    assert listed(config) == listed(config, "--pending") == ["a", "c"]
    assert listed(config, "--dead") == ["b"]
    assert listed(config, "-n", "1") == ["a"]
    text = pinvault(config, "webhook", "list", "--dead").output
    assert "2 pending, 2 of these due, 1 dead" in text
    assert "2023-11-14T22:13:20Z" in text


def test_a_message_is_shown_with_its_body(store: Store, config: Path) -> None:
    add(store, "a")
    shown = json.loads(pinvault(config, "webhook", "show", "a", "--json").output)
    assert shown[0]["body"] == BODY
    missing = pinvault(config, "webhook", "show", "b")
    assert missing.exit_code == 1
    assert "no such message" in missing.output


def test_dead_messages_are_sent_again(store: Store, config: Path) -> None:
    names = tuple(f"m{number}" for number in range(9))
    add(store, *names, dead=names)
    result = pinvault(config, "webhook", "resend", "m3", "m5")
    assert (result.exit_code, result.output) == (0, "2 will be sent again\n")
    again = pinvault(config, "webhook", "resend", "m3", "m4")
    assert again.exit_code == 1
    assert "m3: is not dead" in again.output
    assert pinvault(config, "webhook", "resend", "--all-dead").output == "6 will be sent again\n"
    assert sorted(listed(config)) == sorted(names)
    assert listed(config, "--dead") == []


def test_dead_messages_are_discarded_and_no_others(store: Store, config: Path) -> None:
    names = tuple(f"m{number}" for number in range(9))
    add(store, *names, dead=names[:6])
    result = pinvault(config, "webhook", "discard", "m3", "m5")
    assert (result.exit_code, result.output) == (0, "2 discarded\n")
    again = pinvault(config, "webhook", "discard", "m3", "m4", "m8")
    assert (again.exit_code, again.stdout) == (1, "1 discarded\n")
    for each in ("m3", "m8"):
        assert f"{each}: is not dead" in again.stderr
    assert pinvault(config, "webhook", "discard", "--all-dead").output == "3 discarded\n"
    assert pinvault(config, "webhook", "discard", "--all-dead").output == "0 discarded\n"
    assert listed(config, "--dead") == []
    assert listed(config) == list(names[6:])


@pytest.mark.parametrize(
    ("verb", "done", "pending"),
    [("resend", "will be sent again", ["a", "b"]), ("discard", "discarded", [])],
)
def test_of_all_that_is_dead_one_endpoint_can_be_named(
    store: Store, config: Path, verb: str, done: str, pending: list[str]
) -> None:
    """Also one that is no longer in the configuration."""
    with store.write() as db:
        for each, endpoint in (("a", "removed"), ("b", "removed"), ("c", "erp")):
            outbox.add(db, replace(message(each), endpoint=endpoint), now=NOW)
            outbox.claim(db, now=NOW, until=NOW + 10, count=1)
            outbox.give_up(db, each, attempt=1, now=NOW + 20)
    told = pinvault(config, "webhook", verb, "--all-dead", "--endpoint", "removed")
    assert (told.exit_code, told.output) == (0, f"2 {done}\n")
    assert listed(config, "--dead") == ["c"]
    assert sorted(listed(config)) == pending
    named = pinvault(config, "webhook", verb, "c", "--endpoint", "erp")
    assert named.exit_code == 2
    assert "is for --all-dead" in named.output
    assert listed(config, "--dead") == ["c"]


@pytest.mark.parametrize("verb", ["resend", "discard"])
@pytest.mark.parametrize("words", [[], ["a", "--all-dead"], ["--endpoint", "erp"]])
def test_which_dead_messages_is_said(
    store: Store, config: Path, verb: str, words: list[str]
) -> None:
    told = pinvault(config, "webhook", verb, *words)
    assert told.exit_code == 2
    assert "or --all-dead" in told.output


def test_an_endpoint_can_be_tried(config: Path, receiver: Receiver) -> None:
    result = pinvault(config, "webhook", "test", "erp")
    assert (result.exit_code, result.output) == (0, "erp: delivered: status-204\n")
    (got,) = receiver.received
    assert Webhook(SECRET).verify(got.body, got.headers)["type"] == "webhook.test"
    receiver.answer = says("500 Oops")
    result = pinvault(config, "webhook", "test", "erp")
    assert (result.exit_code, result.output) == (1, "erp: failed: status-500\n")
    assert "no [webhooks.core]" in pinvault(config, "webhook", "test", "core").output


def test_an_endpoint_of_rapyds_gets_its_signature_and_no_other(
    config: Path, receiver: Receiver
) -> None:
    result = pinvault(config, "webhook", "test", "rapyd")
    assert (result.exit_code, result.output) == (0, "rapyd: delivered: status-204\n")
    (got,) = receiver.received
    assert not [name for name in got.headers if name.startswith("webhook-")]
    signed = f"http://localhost:{receiver.port}/hooks{got.headers['salt']}"
    signed += f"{got.headers['timestamp']}AC0E5B1D7F3A2C4E6890{RAPYD_SECRET}{got.body}"
    digest = hmac.new(RAPYD_SECRET.encode(), signed.encode(), "sha256").hexdigest()
    assert base64.b64decode(got.headers["signature"]).decode() == digest


def test_what_is_missing_is_told(config: Path) -> None:
    rapyds = config.parent / "secrets" / "webhook-rapyd"
    rapyds.chmod(0o644)
    fault = pinvault(config, "webhook", "test", "erp").exception
    assert isinstance(fault, ConfigError)
    assert fault.option == "webhooks.rapyd.secret_file"
    assert RAPYD_SECRET not in str(fault)
    rapyds.chmod(0o600)
    secret = config.parent / "secrets" / "webhook-erp"
    secret.chmod(0o644)
    fault = pinvault(config, "webhook", "test", "erp").exception
    assert isinstance(fault, ConfigError)
    assert fault.option == "webhooks.erp.secret_files"
    assert SECRET not in str(fault)
    secret.chmod(0o600)
    config.write_text(config.read_text().replace("timeout_s = 15.0", 'ca_file = "nowhere.pem"'))
    fault = pinvault(config, "webhook", "test", "erp").exception
    assert isinstance(fault, ConfigError)
    assert fault.option == "webhooks.erp.ca_file"


def test_a_configuration_is_read_without_its_secrets(config: Path) -> None:
    """Servers and checks need not be able to read them."""
    for name in ("erp", "rapyd"):
        (config.parent / "secrets" / f"webhook-{name}").unlink()
    assert list(load(config).webhooks()) == ["erp", "rapyd"]


def ask(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def test_the_process_delivers_tells_and_stops(
    store: Store, config: Path, receiver: Receiver
) -> None:
    """One failure, then all is delivered; neither body nor secret nor URL stands in its log."""
    receiver.answer = says_in_turn(says("503 t0ps3cret"), says("204 No Content"))
    command = [sys.executable, "-m", "pinvault", "notify", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline()]
        while '"notifying"' not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], lines
        port = json.loads(lines[-1])["admin_port"]
        add(store, *(str(uuid.uuid4()) for _ in range(5)))
        deadline = time.monotonic() + 20
        while len(receiver.received) < 5 or 'delivered"} 4' not in ask(port, "/metrics"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ask(port, "/healthz") == "alive\n"
        assert ask(port, "/readyz") == "ready\n"
        metrics = ask(port, "/metrics")
        assert 'pinvault_webhook_attempts_total{endpoint="erp",state="pending"} 1.0' in metrics
        assert "pinvault_log_redactions_total 0.0" in metrics
        assert 'pinvault_webhook_messages{state="dead"} 0.0' in metrics
        process.send_signal(signal.SIGTERM)
        lines += process.stderr.readlines()
    assert process.returncode == 0
    log = "".join(lines)
    assert json.loads(lines[-1])["event"] == "stopped"
    (failure,) = (json.loads(line) for line in lines if "not delivered" in line)
    assert (failure["endpoint"], failure["cause"]) == ("erp", "status-503")
    assert failure["message"] in receiver.ids()
    for hidden in (SECRET, SECRET[6:], "card_ghijklmnop", "/hooks", "t0ps3cret", "v1,"):
        assert hidden not in log
    for got in receiver.received:
        Webhook(SECRET).verify(got.body, got.headers)


def test_nobody_to_notify_is_told(config: Path) -> None:
    text = config.read_text()
    begin, end = text.index("[webhooks.erp]"), text.index("[notify]")
    config.write_text(text[:begin] + text[end:])
    command = [sys.executable, "-m", "pinvault", "notify", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "add [webhooks.NAME]" in done.stderr


def test_endpoints_that_have_no_place_are_told(config: Path) -> None:
    config.write_text(config.read_text().replace("at_once = 64", "at_once = 1"))
    command = [sys.executable, "-m", "pinvault", "notify", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "notify.at_once: each of 2 endpoints needs a place of its own" in done.stderr
    assert "Traceback" not in done.stderr

"""A key ring goes on under a running server: taken, refused, worn out, ended; never a restart."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hsm import keyring
from hsm.keyring import KeyEntry, State
from pinvault.client import PinBlock, PinvaultError, ToPinBlock
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.conftest import PAN
from tests.e2e.conftest import WORKERS
from tests.support import operators, zone
from tests.support.running import (
    TARGET,
    MakeEnvironment,
    admin,
    block,
    records,
    until,
    verify,
    workers_of,
)

NAME = "zpk-acme"
ACME = ToPinBlock(key=NAME, format="ISO_3", pan=PAN)
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
LIFE = """
[key_life]
warn_days = 10
tdes_warn_blocks = 20
tdes_refuse_blocks = 60
"""


@pytest.fixture(scope="module")
def live(make_environment: MakeEnvironment) -> Iterator[RunningServer]:
    settings = Settings(workers=WORKERS, per_caller="100000/s", per_pan="100000/s")
    with RunningServer(make_environment(settings)) as running:
        yield running


def made_on_every_worker(running: RunningServer, to: ToPinBlock = ACME) -> list[PinBlock]:
    """The same call over so many connections that every worker has answered."""
    made = []
    for _ in range(4 * WORKERS):
        with running.connect() as vault:
            done = vault.encrypt_pin(block(running), to=to)
        assert done.pin_block is not None
        assert done.target_key is not None
        key = f"{done.target_key.name}/{done.target_key.version}"
        made.append(PinBlock(key=key, format=to.format, ciphertext=done.pin_block, pan=PAN))
    return made


def reason_of(running: RunningServer, source: PinBlock, to: ToPinBlock = TARGET) -> str:
    """Ask every worker; they agree."""
    reasons = set()
    for _ in range(4 * WORKERS):
        with running.connect() as vault:
            try:
                vault.translate_pin(source, to=to)
                reasons.add("OK")
            except PinvaultError as error:
                reasons.add(error.reason)
    (reason,) = reasons
    return reason


def gauge(running: RunningServer, name: str) -> dict[str, float]:
    lines = [x for x in admin(running, "/metrics")[1].splitlines() if x.startswith(name)]
    return {label: float(value) for label, _, value in (x.rpartition(" ") for x in lines)}


def test_a_key_made_beside_the_server_serves_at_once_and_the_next_version_takes_over(
    live: RunningServer,
) -> None:
    pids = workers_of(live)
    operators.generate(live.environment, NAME)
    (first, *_) = made = made_on_every_worker(live)
    assert {each.key for each in made} == {f"{NAME}/1"}
    operators.generate(live.environment, NAME)
    assert {each.key for each in made_on_every_worker(live)} == {f"{NAME}/2"}
    assert reason_of(live, first) == "OK"
    assert reason_of(live, block(live), replace(ACME, key=f"{NAME}/1")) == "KEY_STATE"
    operators.retire(live.environment, f"{NAME}/1")
    assert reason_of(live, first) == "KEY_STATE"
    assert workers_of(live) == pids
    taken = records(live, "keyring")
    assert {record.outcome for record in taken} == {"OK"}
    acts = [record for record in records(live, "custody") if record.method == "Key.Generate"]
    assert [use.key for record in acts for use in record.keys] == [f"{NAME}/1", f"{NAME}/2"]
    assert {record.caller for record in acts} == {acts[0].caller}
    assert acts[0].caller.startswith("operator:")
    assert verify(live.environment).returncode == 0


def test_a_key_ring_that_is_refused_leaves_the_old_one_serving(live: RunningServer) -> None:
    path = operators.ring_of(live.environment)
    good = path.read_text()
    operators.put(path, good.replace('name = "index"', 'name = "another"'))
    try:
        until(lambda: gauge(live, "pinvault_keyring_refused")["pinvault_keyring_refused"] == 1)
        assert reason_of(live, block(live)) == "OK"
        assert admin(live, "/readyz")[0] == 200
    finally:
        operators.put(path, good)
    until(lambda: gauge(live, "pinvault_keyring_refused")["pinvault_keyring_refused"] == 0)
    refused = [record for record in records(live, "keyring") if record.outcome == "REFUSED"]
    assert {record.cause for record in refused} == {"does-not-fit"}
    assert len(refused) == WORKERS
    assert '"event": "key ring refused"' in live.log.read_text()


def test_a_key_that_the_token_does_not_have_is_refused_as_at_a_start(live: RunningServer) -> None:
    path = operators.ring_of(live.environment)
    good, ring = path.read_text(), keyring.load(path)
    ghost = replace(ring.entry("zpk-switch/1"), name="ghost", check_value="ABCDEF")
    operators.put(path, keyring.dump(keyring.Keyring(keys=(*ring.keys, ghost))))
    try:
        until(lambda: gauge(live, "pinvault_keyring_refused")["pinvault_keyring_refused"] == 1)
        assert reason_of(live, block(live)) == "OK"
    finally:
        operators.put(path, good)
    until(lambda: gauge(live, "pinvault_keyring_refused")["pinvault_keyring_refused"] == 0)
    causes = {r.cause for r in records(live, "keyring") if r.outcome == "REFUSED"}
    assert "token-differs" in causes


def test_a_worker_that_is_replaced_comes_up_with_the_key_ring_of_today(
    live: RunningServer,
) -> None:
    pids = workers_of(live)
    (key_id,) = operators.generate(live.environment, NAME)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(workers_of(live) - pids) == WORKERS)
    until(lambda: gauge(live, "pinvault_worker_serving").get("pinvault_worker_serving") == WORKERS)
    assert {each.key for each in made_on_every_worker(live)} == {key_id}


def test_the_last_day_of_a_key_ends_what_its_state_says(live: RunningServer) -> None:
    """An active key past its end still opens what was made in time, a former one does not."""
    operators.generate(live.environment, NAME)
    (source, *_) = made_on_every_worker(live)

    def ended(key: KeyEntry, *, back: bool) -> KeyEntry:
        if key.id != source.key:
            return key
        state = State.DECIPHER_ONLY if back else State.ACTIVE
        return replace(key, state=state, valid_from=YESTERDAY, valid_until=YESTERDAY)

    before = keyring.load(operators.ring_of(live.environment))
    operators.edit(live.environment, lambda key: ended(key, back=False))
    assert reason_of(live, block(live), ACME) == "KEY_STATE"
    assert reason_of(live, source) == "OK"
    label = f'pinvault_key_days_left{{key="{source.key}"}}'
    until(lambda: gauge(live, "pinvault_key_days_left").get(label) == -1)
    operators.edit(live.environment, lambda key: ended(key, back=True))
    assert reason_of(live, source) == "KEY_STATE"
    operators.put(operators.ring_of(live.environment), keyring.dump(before))
    assert reason_of(live, source) == "OK"


def test_a_tdes_key_wears_out_over_all_workers_and_over_their_ends(
    make_environment: MakeEnvironment,
) -> None:
    settings = Settings(workers=WORKERS, per_caller="100000/s", per_pan="100000/s")
    environment = make_environment(settings)
    with environment.config.open("a") as config:
        config.write(LIFE)

    def soon(key: KeyEntry) -> KeyEntry:
        until_then = datetime.now(UTC).date() + timedelta(days=5)
        return replace(key, valid_until=until_then) if key.name == "zpk-switch" else key

    operators.edit(environment, soon)
    assert "zpk-switch/1 ends in 5 days" in _config_check(environment)
    with RunningServer(environment) as running:
        made = _encipher_until_refused(running, at_most=30)
        assert made == 30
        pids = workers_of(running)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(workers_of(running) - pids) == WORKERS)
        until(lambda: admin(running, "/readyz")[0] == 200)
        made += _encipher_until_refused(running, at_most=100)
        assert 40 <= made <= 60, "what a worker had drawn when it died counts as enciphered"
        assert reason_of(running, block(running)) == "KEY_WORN_OUT"
        aes = ToPinBlock(key="zpk-switch-aes", format="ISO_4", pan=PAN)
        assert reason_of(running, block(running), aes) == "OK"
        said = running.log.read_text()
        assert said.count('"event": "key wears out"') == 1
        assert said.count('"event": "key ends"') >= 1
        assert "zpk-switch/1 ends in 5 days" in said
        counted = gauge(running, "pinvault_key_tdes_blocks")
        assert counted['pinvault_key_tdes_blocks{key="zpk-switch/1"}'] <= 60


def _config_check(environment: Environment) -> str:
    return subprocess.run(
        [sys.executable, "-m", "pinvault", "config", "check", str(environment.config)],
        env={**os.environ, **environment.variables()},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def _encipher_until_refused(running: RunningServer, *, at_most: int) -> int:
    """How many blocks were made before both workers refused."""
    made = refused = 0
    while made < at_most and refused < 4 * WORKERS:
        with running.connect() as vault:
            try:
                done = vault.encrypt_pin(block(running), to=TARGET)
            except PinvaultError as error:
                refused += error.reason == "KEY_WORN_OUT"
                continue
        assert done.pin_block is not None
        key = running.environment.zone_key("zpk-switch")
        assert zone.pin_of(done.pin_block, pan=PAN, form="ISO_3", key=key) == "4831"
        made += 1
    return made

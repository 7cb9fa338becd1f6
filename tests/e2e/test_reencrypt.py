"""`pinvault reencrypt` on a token, from the rotation to the retirement, beside a running server."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from hsm import keyring
from pinvault.audit.tail import newest
from pinvault.client import PinBlock, Vault
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from pinvault.store import Store, upgrade
from pinvault.store.reencrypt import CIPHERTEXTS
from pinvault.store.schema import pin
from tests.support import zone
from tests.support.databases import QUICK, PostgresServer
from tests.support.running import MakeEnvironment, records, until
from tests.support.stored import id_of, pan_of

ROWS = 300
NAMES = ("pan-store", "pin-reference", "pin-reveal")
COLUMNS = dict(zip(("card.pan", "pin.reference", "pin.reveal"), NAMES, strict=True))
FILL = """
import sys
from pathlib import Path
from pinvault.bootstrap.inputs import active_key
from pinvault.bootstrap.reencrypt import open_reencryption
from pinvault.bootstrap.token import Secrets
from pinvault.config import load
from pinvault.operations.cards.seals import Seals
from tests.support.stored import Maker

loaded = load(Path(sys.argv[1]))
with open_reencryption(loaded, size=1, rest_s=0.0, pause=print) as job:
    zone = job.work.zone
    secrets = Secrets.derive(zone._device, active_key(loaded, job.work.keys, "index").id)
    seal = Seals(secrets.store_seal).of_card
    pan, reference, reveal = (key.id for key in job.columns.values())
    keys = {"pan_key": pan, "reference_key": reference, "reveal_key": reveal}
    maker = Maker(device=zone._device, index=zone._index, seal=seal, **keys)
    maker.fill(job.work.store, range(int(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def environment(make_environment: MakeEnvironment, repository: Path) -> Environment:
    """One with cards in its store, whose keys were rotated."""
    made = make_environment(Settings(per_caller="100000/s", per_pan="100000/s"))
    fill(made, repository)
    for name in NAMES:
        rotate(made, f"{name}/1")
    return made


def fill(environment: Environment, repository: Path) -> None:
    """Put cards into the store under the active versions."""
    command = [sys.executable, "-c", FILL, str(environment.config), str(ROWS)]
    subprocess.run(command, env=variables(environment), cwd=repository, check=True, timeout=60)


def rotate(environment: Environment, key_id: str) -> None:
    rotated = pinvault(environment, "key", "rotate", key_id, *check_value(environment, key_id))
    assert rotated.returncode == 0, rotated.stderr


def variables(environment: Environment) -> dict[str, str]:
    return {**os.environ, **environment.variables()}


def pinvault(environment: Environment, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command; the configuration comes after the command's own words."""
    count = 2 if words[0] == "key" else 1
    arguments = [*words[:count], str(environment.config), *words[count:]]
    return subprocess.run(
        [sys.executable, "-m", "pinvault", *arguments],
        env=variables(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def check_value(environment: Environment, key_id: str) -> tuple[str, str]:
    ring = keyring.load(environment.root / "keyring.toml")
    return "--check-value", ring.entry(key_id).check_value


def reencrypt(environment: Environment, *options: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the columns by name, and what was said."""
    done = pinvault(environment, "reencrypt", *options, "--json")
    told = json.loads(done.stdout) if done.stdout else []
    return done.returncode, {row.pop("column"): row for row in told}, done.stderr


def check_pin(server: RunningServer, vault: Vault, number: int) -> bool:
    pan = pan_of(number).digits()
    key = server.environment.zone_key("zpk-terminal-aes")
    ciphertext = zone.block("4829", pan=pan, form="ISO_4", key=key)
    source = PinBlock(key="zpk-terminal-aes", format="ISO_4", ciphertext=ciphertext, pan=pan)
    return vault.cards.check_pin(id_of(number), source).matches


def keys_of(environment: Environment) -> dict[str, set[str]]:
    """Under which versions the rows of each column are."""
    store = Store.open(f"sqlite:///{environment.store}")
    try:
        with store.read() as db:
            return {column: set(db.scalars(select(CIPHERTEXTS[column].key))) for column in COLUMNS}
    finally:
        store.close()


def newest_outcome(environment: Environment) -> str:
    """What the operators' log says last of a re-encryption."""
    found = newest(environment.root / "audit", count=20)
    told = [at.entry.outcome for at in found if at.entry.method == "Store.Reencrypt"]
    return told[-1] if told else ""


def all_under(version: int) -> dict[str, set[str]]:
    return {column: {f"{name}/{version}"} for column, name in COLUMNS.items()}


def test_from_the_rotation_to_the_retirement(environment: Environment) -> None:
    """The commands of docs/store.md, in their order; beside a server that goes on answering."""
    with RunningServer(environment) as server:
        answers, done = [], threading.Event()

        def check() -> None:
            with server.connect() as vault:
                while not done.is_set():
                    number = len(answers) % ROWS
                    answers.append(check_pin(server, vault, number))

        service = threading.Thread(target=check)
        service.start()
        try:
            refused = pinvault(environment, "key", "retire", "pan-store/1")
            assert refused.returncode == 2
            assert f"{ROWS} rows of card.pan open under pan-store/1 alone" in refused.stderr

            code, columns, said = reencrypt(environment, "--dry-run", "--chunk", "50")
            assert (code, said) == (0, "")
            assert {row["looked_at"] for row in columns.values()} == {str(ROWS)}
            assert keys_of(environment) == all_under(1)

            code, columns, said = reencrypt(environment, "--chunk", "50")
            assert (code, said) == (0, "")
            assert {row["moved"] for row in columns.values()} == {str(ROWS)}
            assert keys_of(environment) == all_under(2)

            code, columns, _ = reencrypt(environment, "--verify")
            assert code == 0
            which = check_value(environment, "pan-store/1")
            retired = pinvault(environment, "key", "retire", "pan-store/1", *which)
            assert retired.returncode == 0, retired.stderr
        finally:
            done.set()
            service.join()
        assert answers
        assert set(answers) == {True}
        told = [r for r in records(server, "custody") if r.method == "Store.Reencrypt"]
    assert [(r.outcome, r.cause) for r in told] == [
        *(("BEGUN", "dry-run"), ("OK", "dry-run")),
        *(("BEGUN", ""), ("OK", "")),
        *(("BEGUN", "verify"), ("OK", "verify")),
    ]
    assert {use.key for use in told[0].keys} == {f"{name}/2" for name in NAMES}


def test_a_damaged_row_is_told_by_its_card(environment: Environment) -> None:
    """By `--verify`, and nothing of what it holds is shown."""
    store = Store.open(f"sqlite:///{environment.store}")
    with store.write() as db:
        change = update(pin).where(pin.c.card_id == id_of(7)).values(reveal=bytes(16))
        db.execute(change)
    store.close()
    code, columns, said = reencrypt(environment, "--verify")
    assert code == 1
    assert columns["pin.reveal"]["left"] == "1"
    assert f"pin.reveal of {id_of(7)}, pin-reveal/2: does not open" in said
    assert pan_of(7).digits() not in said


def test_it_stops_after_the_chunk(environment: Environment) -> None:
    """And says that it may be started again; one process has a store in SQLite."""
    command = [sys.executable, "-m", "pinvault", "reencrypt", str(environment.config)]
    command += ["--verify", "--chunk", "1", "--rest", "3000"]
    with subprocess.Popen(
        command, env=variables(environment), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        until(lambda: newest_outcome(environment) == "BEGUN")
        other = pinvault(environment, "reencrypt")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert other.returncode == 2
    assert "another process is at the store" in other.stderr
    assert process.returncode == 3
    assert b"start it again" in said


def test_commands_share_a_store_in_postgresql(environment: Environment, repository: Path) -> None:
    """Any number at once: together they move every row once, and each is on record."""
    postgres = PostgresServer(*QUICK)
    config = environment.config.read_text()
    try:
        address = postgres.create()
        upgrade(address)
        environment.config.write_text(config.replace(f"sqlite:///{environment.store}", address))
        fill(environment, repository)
        rotate(environment, "pin-reference/2")
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda _: reencrypt(environment, "--chunk", "20"), range(2)))
    finally:
        environment.config.write_text(config)
        postgres.stop()
    assert [(code, said) for code, _, said in both] == [(0, "")] * 2
    assert sum(int(columns["pin.reference"]["moved"]) for _, columns, _ in both) == ROWS
    told = newest(environment.root / "audit", count=20)
    outcomes = [at.entry.outcome for at in told if at.entry.method == "Store.Reencrypt"]
    assert sorted(outcomes[-4:]) == ["BEGUN", "BEGUN", "OK", "OK"]

"""Keys rotate under load: no call is lost, and every answer is under the key that it names."""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest

from pinvault.client import PinBlock, ToPinBlock, Vault
from pinvault.development.configuration import Settings
from pinvault.development.server import RunningServer
from tests.conftest import PAN
from tests.support import operators, zone
from tests.support.running import (
    MakeEnvironment,
    block,
    records,
    until,
    verify,
    workers_of,
)

WORKERS = 2
ROTATIONS = 3
PIN = "4831"
BETWEEN_S = 0.5
NAME = "zpk-acme"
ROTATING = ToPinBlock(key=NAME, format="ISO_3", pan=PAN)
SWITCH = ToPinBlock(key="zpk-switch", format="ISO_3", pan=PAN)


@dataclass
class Load:
    """Callers who go on until they are stopped; what they were answered, and what went wrong."""

    server: RunningServer
    answered: int = 0
    versions: set[int] = field(default_factory=set)
    opened: set[int] = field(default_factory=set)
    sealed_for: set[int] = field(default_factory=set)
    made: deque[PinBlock] = field(default_factory=lambda: deque(maxlen=2000))
    faults: list[Exception] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        roles = [self._make, self._make, self._open, self._open, self._seal]
        self._threads = [threading.Thread(target=self._go_on, args=(role,)) for role in roles]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, role: Callable[[Vault], None]) -> None:
        while not self._stop.is_set() and not self.faults:
            with self.server.connect() as vault:  # now and then another worker
                for _ in range(25):
                    if self._stop.is_set():
                        return
                    try:
                        role(vault)
                    except Exception as error:  # noqa: BLE001 - the test tells
                        self.faults.append(error)
                        return
                    self.answered += 1

    def _make(self, vault: Vault) -> None:
        """To the rotating key by its name; the answer names the version."""
        done = vault.translate_pin(block(self.server), to=ROTATING)
        assert done.target_key.name == NAME
        self.versions.add(done.target_key.version)
        key = f"{NAME}/{done.target_key.version}"
        ciphertext = done.pin_block
        self.made.append(PinBlock(key=key, format="ISO_3", ciphertext=ciphertext, pan=PAN))

    def _open(self, vault: Vault) -> None:
        """From the rotating key, by the version that an answer named: by any worker, however old.

        A block opens under the one key that it was made under.
        """
        if not self.made:
            time.sleep(0.01)
            return
        source = random.choice(self.made)
        done = vault.translate_pin(source, to=SWITCH)
        assert f"{NAME}/{done.source_key.version}" == source.key
        self._require_pin(done.pin_block)
        self.opened.add(done.source_key.version)

    def _seal(self, vault: Vault) -> None:
        """Sealed for the rotating key that a client fetched by name some time ago."""
        done = vault.encrypt_pin(vault.seal(PIN, pan=PAN), to=SWITCH)
        assert done.pin_block is not None
        assert done.source_key is not None
        self._require_pin(done.pin_block)
        self.sealed_for.add(done.source_key.version)

    def _require_pin(self, ciphertext: bytes) -> None:
        key = self.server.environment.zone_key("zpk-switch")
        assert zone.pin_of(ciphertext, pan=PAN, form="ISO_3", key=key) == PIN


@pytest.fixture
def running(make_environment: MakeEnvironment) -> Iterator[RunningServer]:
    settings = Settings(workers=WORKERS, per_caller="100000/s", per_pan="100000/s")
    with RunningServer(make_environment(settings)) as server:
        yield server


def test_keys_rotate_under_load_and_no_call_is_lost(running: RunningServer) -> None:
    pids = workers_of(running)
    assert operators.generate(running.environment, NAME) == [f"{NAME}/1"]
    with Load(running) as load, running.connect("key-manager") as keeper:
        for version in range(2, ROTATIONS + 2):
            before = load.answered
            until(lambda n=before: load.answered > n + 50 or bool(load.faults))
            rotated = keeper.keys.rotate(NAME)
            assert (rotated.key.version, rotated.previous.version) == (version, version - 1)
            _require_everywhere(running, version)
            if version == 3:
                assert keeper.keys.rotate("pin-seal").key.version == 2
            time.sleep(BETWEEN_S)
    assert not load.faults, load.faults
    assert load.versions == set(range(1, ROTATIONS + 2))
    assert len(load.opened) > 1
    assert load.sealed_for == {1, 2}
    with running.connect() as vault:  # every version still opens, on whichever worker
        oldest = {source.key: source for source in load.made}
        for source in oldest.values():
            load._require_pin(vault.translate_pin(source, to=SWITCH).pin_block)
    assert workers_of(running) == pids, "nobody was restarted for it"
    calls = records(running, "call")
    assert {call.outcome for call in calls} == {"OK"}
    assert len(records(running, "keyring")) >= WORKERS * (ROTATIONS + 2)
    assert running.stop() == 0
    assert verify(running.environment).returncode == 0


def _require_everywhere(running: RunningServer, version: int) -> None:
    """Every call that begins after a rotation ended is under the new version, on every worker."""
    for _ in range(3 * WORKERS):
        with running.connect() as vault:
            done = vault.encrypt_pin(block(running), to=ROTATING)
            assert done.target_key is not None
            assert done.target_key.version == version

"""Two servers on one token and one store, behind the load balancer of deploy/; one is killed.

What was answered stays: it stands in the audit log of the server that answered, and the other goes
by it too. What was not answered fails as a server that is away does, and can be asked again.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import grpc
import pytest

from pinvault.audit.record import Entry
from pinvault.client import PinBlock, PinvaultError, Vault
from pinvault.development.configuration import Settings
from pinvault.development.server import RunningServer
from pinvault.store import upgrade
from tests.conftest import PAN
from tests.support import zone
from tests.support.card_load import FIRST, PANS, TRY_LIMIT, Answered, CardLoad, card_with_pin
from tests.support.databases import QUICK, PostgresServer
from tests.support.running import TARGET, MakeEnvironment, block, records, until, verify
from tests.support.several import Gaps, LoadBalancer, at_fixed_ports, beside, kill

PIN = "4831"
CALLERS = 6
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
WITHOUT_SERVICE_S = 5.0
"""A bound for slow machines; what was measured stands in docs/deployment.md."""


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of a store on a PostgreSQL server of its own."""
    database = PostgresServer(*QUICK)
    try:
        address = database.create()
        upgrade(address)
        yield address
    finally:
        database.stop()


@pytest.fixture(scope="module")
def pair(make_environment: MakeEnvironment, store: str) -> Iterator[list[RunningServer]]:
    settings = Settings(workers=1, threads=16, per_caller="100000/s", per_pan="100000/s")
    first = at_fixed_ports(make_environment(settings), store=store)
    with RunningServer(first) as one, RunningServer(beside(first)) as two:
        yield [one, two]


@pytest.fixture
def balancer(pair: list[RunningServer], tmp_path: Path) -> Iterator[LoadBalancer]:
    with LoadBalancer(tmp_path, pair) as running:
        yield running


def test_wrong_pins_on_two_servers_share_the_tries(pair: list[RunningServer]) -> None:
    with pair[0].connect() as one, pair[1].connect() as two:
        card = card_with_pin(one, sequence="901")
        wrong = [vault.seal("7777", pan=PANS[-1]) for vault in (one, two) * 50]

        def check(vault: Vault, pin: object) -> str:
            return _reason_of(lambda: vault.cards.check_pin(card, pin)) or "MISMATCH"

        told = Counter(_at_once(check, (one, two) * 50, wrong))
        assert told == {"MISMATCH": TRY_LIMIT, "PIN_BLOCKED": 100 - TRY_LIMIT}
        for vault in (one, two):
            right = vault.seal(FIRST, pan=PANS[-1])
            assert check(vault, right) == "PIN_BLOCKED"
            assert vault.cards.get(card).pin.blocked


def test_a_token_is_good_once_for_two_servers(pair: list[RunningServer]) -> None:
    with pair[0].connect() as one, pair[1].connect() as two:
        card = card_with_pin(one, sequence="902", pin=None)
        token = one.cards.issue_control_token(card, "SET_PIN").token
        pins = [f"48{number}" for number in range(20, 36)]

        def redeem(vault: Vault, pin: str) -> str:
            return _reason_of(lambda: _redeem(vault, token, pin=pin)) or pin

        told = _at_once(redeem, (one, two) * 8, pins)
        (set_pin,) = [pin for pin in told if pin in pins]
        assert told.count("CONTROL_TOKEN_REFUSED") == 15
        assert two.cards.check_pin(card, two.seal(set_pin, pan=PANS[-1])).matches


def test_an_envelope_is_good_once_for_two_servers(pair: list[RunningServer]) -> None:
    with pair[0].connect() as one, pair[1].connect() as two:
        card = card_with_pin(one, sequence="903")
        for _ in range(5):
            pin = one.seal(FIRST, pan=PANS[-1])

            def check(vault: Vault, pin: object) -> str:
                return _reason_of(lambda: vault.cards.check_pin(card, pin)) or "MATCH"

            told = Counter(_at_once(check, (one, two), (pin, pin)))
            assert told == {"MATCH": 1, "ENVELOPE_REPLAYED": 1}


def test_no_card_loses_what_was_answered(pair: list[RunningServer], balancer: LoadBalancer) -> None:
    victim = pair[1]
    zone_key = victim.environment.zone_key("zpk-terminal")
    with CardLoad(balancer, zone_key=zone_key, callers=CALLERS) as load:
        longest_s = _kill_and_start_again(victim, balancer, load.gaps)
    failed = Counter(error.reason or error.code.name for error in load.failed)
    print(load.gaps.count, "answered, failed:", dict(failed), "longest", longest_s, "s")
    assert not load.faults, load.faults[:3]
    assert len(load.answered) > CALLERS
    assert longest_s < WITHOUT_SERVICE_S
    with pair[0].connect() as one, pair[1].connect() as two, ThreadPoolExecutor(4) as pool:
        list(pool.map(_require_kept, (one, two) * len(load.answered), load.answered))


def _require_kept(vault: Vault, card: Answered) -> None:
    """What a card's caller was answered still holds, whichever server is asked."""
    pin = vault.seal(card.pin, card=card.card_id, profile="sealed-card")
    assert vault.cards.check_pin(card.card_id, pin).matches
    assert _reason_of(lambda: _redeem(vault, card.token)) == "CONTROL_TOKEN_REFUSED"
    for again, answer in card.again:
        assert again() == answer


def _at_once(
    call: Callable[[Vault, object], str], vaults: Sequence[Vault], given: Sequence[object]
) -> list[str]:
    with ThreadPoolExecutor(len(vaults)) as pool:
        return list(pool.map(call, vaults, given))


def _redeem(vault: Vault, token: str, *, pin: str = "4820") -> None:
    new = vault.seal(pin, pan=PANS[-1])
    vault.cards.set_pin(control_token=token, new_pin=new)


def _reason_of(call: Callable[[], object]) -> str:
    """The reason of a refusal; "" when it was done."""
    try:
        call()
    except PinvaultError as error:
        return error.reason
    return ""


class Translations:
    """Callers who go on until they are stopped; how often they were answered, and what failed."""

    def __init__(self, balancer: LoadBalancer, source: PinBlock, key: bytes) -> None:
        self.gaps = Gaps()
        self.failed: list[PinvaultError] = []
        self.wrong: list[object] = []
        self._balancer, self._source, self._key = balancer, source, key
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._go_on) for _ in range(CALLERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self) -> None:
        with self._balancer.connect(channels=2) as vault:
            while not self._stop.is_set():
                try:
                    made = vault.translate_pin(self._source, to=TARGET).pin_block
                except PinvaultError as error:
                    self.failed.append(error)
                    self._stop.wait(0.02)
                    continue
                except Exception as error:  # noqa: BLE001 - the test tells
                    self.wrong.append(error)
                    return
                self.gaps.note()
                if zone.pin_of(made, pan=PAN, form="ISO_3", key=self._key) != PIN:
                    self.wrong.append(made)


def test_what_was_answered_is_in_the_record_of_a_server_that_was_killed(
    pair: list[RunningServer], balancer: LoadBalancer
) -> None:
    """The last one: the servers are stopped, and their records verified."""
    key = pair[0].environment.zone_key("zpk-switch")
    with Translations(balancer, block(pair[0]), key) as load:
        longest_s = _kill_and_start_again(pair[0], balancer, load.gaps)
    print(load.gaps.count, "answered,", len(load.failed), "failed, longest", longest_s, "s")
    assert not load.wrong, load.wrong[:3]
    assert {error.code for error in load.failed} <= AWAY, load.failed
    assert longest_s < WITHOUT_SERVICE_S
    recorded = [sum(map(_is_answered, records(server, "call"))) for server in pair]
    assert all(recorded)
    assert sum(recorded) >= load.gaps.count
    for server in pair:
        assert server.stop() == 0
        assert verify(server.environment).returncode == 0


def _is_answered(call: Entry) -> bool:
    return (call.method, call.outcome) == ("PinBlockService.TranslatePin", "OK")


def _kill_and_start_again(victim: RunningServer, balancer: LoadBalancer, gaps: Gaps) -> float:
    """Kill a server that answers; give the longest time without an answer until it does again."""
    before = _recorded_bytes(victim)
    until(lambda: gaps.count > 60 and _recorded_bytes(victim) > before)
    kill(victim)
    killed_at = gaps.count
    until(lambda: gaps.count > killed_at + 60)
    victim.__enter__()
    until(lambda: _serves_through(balancer, victim))
    return gaps.longest_s()


def _serves_through(balancer: LoadBalancer, server: RunningServer) -> bool:
    """Whether the load balancer gives clients to a server again."""
    before = _recorded_bytes(server)
    with balancer.connect(channels=4) as vault:
        for _ in range(4):
            vault.encrypt_pin(block(server), to=TARGET)
    return _recorded_bytes(server) > before


def _recorded_bytes(server: RunningServer) -> int:
    """The size of its audit log, which grows with every call that it answers."""
    return sum(file.stat().st_size for file in (server.environment.root / "audit").iterdir())

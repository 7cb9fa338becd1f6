"""The token's process is killed, stopped and exchanged under load: right answers, or none.

`-rP` shows how long each took to serve again.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Self

import grpc
import pytest

from pinvault.client import PinBlock, PinvaultError, ToPinBlock, Vault
from pinvault.development.server import RunningServer
from tests.conftest import OTHER_PAN, PAN
from tests.support import zone
from tests.support.p11kit import Remote, TokenProcess, make_remote, required_client
from tests.support.running import admin, until, workers_of

WORKERS = 2
HANG_AFTER_S = 1.0
BACK_S = 1.0
"""Seconds after the token in which the service is back."""
MOST_ROUNDS = 5
LOST = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
"""What a call may end in that is not answered."""


@pytest.fixture(scope="module")
def remote(tmp_path_factory) -> Remote:
    root = tmp_path_factory.mktemp("remote") / "service"
    return make_remote(root, client=required_client(), workers=WORKERS, hang_after_s=HANG_AFTER_S)


@pytest.fixture(scope="module")
def token(remote: Remote) -> Iterator[TokenProcess]:
    with remote.token_process() as running:
        yield running


@pytest.fixture(scope="module")
def server(remote: Remote, token: TokenProcess) -> Iterator[RunningServer]:
    with RunningServer(remote) as running:
        yield running


class Caller(threading.Thread):
    """Calls on and on, and reads each answer as the other end of the key does."""

    def __init__(self, server: RunningServer, number: int, ask: "Ask") -> None:
        super().__init__(daemon=True)
        self.answered: list[float] = []
        self.wrong: list[str] = []
        self.lost: Counter[grpc.StatusCode] = Counter()
        self.ending = threading.Event()
        self._server, self._number, self._ask = server, number, ask

    def run(self) -> None:
        environment = self._server.environment
        count = self._number * 1_000
        with self._server.connect(timeout_s=2) as vault:
            while not self.ending.is_set():
                count += 1
                pin = f"{count % 10_000:04d}"
                try:
                    found = self._ask(vault, environment, pin)
                except PinvaultError as error:
                    self.lost[error.code] += 1
                    self.ending.wait(0.02)
                else:
                    self.answered.append(time.monotonic())
                    if found != pin:
                        self.wrong.append(f"{pin} became {found}")


Ask = Callable[[Vault, Remote], str]


def through_tdes(vault: Vault, remote: Remote, pin: str) -> str:
    """A TDES block for another key, read there."""
    key = remote.zone_key("terminal")
    block = zone.block(pin, pan=PAN, form="ISO_3", key=key)
    source = PinBlock(key="terminal", format="ISO_3", ciphertext=block, pan=PAN)
    answer = vault.encrypt_pin(source, to=ToPinBlock(key="switch", format="ISO_3", pan=PAN))
    assert answer.pin_block is not None
    return zone.pin_of(answer.pin_block, pan=PAN, form="ISO_3", key=remote.zone_key("switch"))


def through_aes(vault: Vault, remote: Remote, pin: str) -> str:
    """An AES block for another key, read there."""
    key = remote.zone_key("terminal-aes")
    block = zone.block(pin, pan=OTHER_PAN, form="ISO_4", key=key)
    source = PinBlock(key="terminal-aes", format="ISO_4", ciphertext=block, pan=OTHER_PAN)
    target = ToPinBlock(key="switch-aes", format="ISO_4", pan=OTHER_PAN)
    answer = vault.encrypt_pin(source, to=target)
    assert answer.pin_block is not None
    other = remote.zone_key("switch-aes")
    return zone.pin_of(answer.pin_block, pan=OTHER_PAN, form="ISO_4", key=other)


def sealed(vault: Vault, remote: Remote, pin: str) -> str:
    """A sealed PIN, opened by the RSA key, for a TDES key."""
    source = vault.seal(pin, pan=PAN)
    answer = vault.encrypt_pin(source, to=ToPinBlock(key="switch", format="ISO_3", pan=PAN))
    assert answer.pin_block is not None
    return zone.pin_of(answer.pin_block, pan=PAN, form="ISO_3", key=remote.zone_key("switch"))


class Load:
    """Callers of every kind, for the length of a `with` block; at its end they are judged."""

    def __init__(self, server: RunningServer) -> None:
        asks = (through_tdes, through_tdes, through_aes, through_aes, sealed, sealed)
        self._callers = [Caller(server, number, ask) for number, ask in enumerate(asks)]

    def __enter__(self) -> Self:
        for caller in self._callers:
            caller.start()
        self.until_all_serve(time.monotonic())
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for caller in self._callers:
            caller.ending.set()
        for caller in self._callers:
            caller.join()
        if kind is None:
            assert [wrong for caller in self._callers for wrong in caller.wrong] == []
            assert set(self.lost) <= LOST

    @property
    def lost(self) -> Counter[grpc.StatusCode]:
        """How many calls were not answered, by code."""
        return sum((caller.lost for caller in self._callers), Counter())

    @property
    def answered(self) -> int:
        """How many calls were answered."""
        return sum(len(caller.answered) for caller in self._callers)

    def until_all_serve(self, since: float) -> float:
        """Wait until every caller has an answer that is younger; how many seconds that took."""

        def first(caller: Caller) -> float | None:
            return next((at for at in reversed(caller.answered) if at > since), None)

        until(lambda: all(first(caller) for caller in self._callers))
        return max(
            min(at for at in caller.answered if at > since) - since for caller in self._callers
        )


def tell(what: str, seconds: float, load: Load) -> None:
    print(f"{what}: serves all after {seconds:.2f} s; {load.answered} answered, {dict(load.lost)}")


@pytest.mark.parametrize("away_s", [0, 3])
def test_a_killed_token_is_found_again_in_a_second(server, token, away_s) -> None:
    first = workers_of(server)
    with Load(server) as load:
        rounds = []
        while not rounds or (min(rounds) >= BACK_S and len(rounds) < MOST_ROUNDS):
            token.kill()
            time.sleep(away_s)
            token.start()
            rounds.append(load.until_all_serve(time.monotonic()))
            tell(f"killed, away for {away_s} s", rounds[-1], load)
        assert min(rounds) < BACK_S  # the best, since a busy machine can only slow it down
        assert load.lost or not away_s  # one that is back at once may be missed by none
    assert workers_of(server) == first


def test_a_token_that_pauses_loses_no_call(server, token) -> None:
    first = workers_of(server)
    with Load(server) as load:
        token.stop()
        time.sleep(HANG_AFTER_S / 2)
        token.go_on()
        back = load.until_all_serve(time.monotonic())
        tell("paused", back, load)
        assert load.lost == {}
    assert workers_of(server) == first


def test_workers_of_a_token_that_hangs_are_replaced_and_serve_when_it_goes_on(
    server, token
) -> None:
    first = workers_of(server)
    with Load(server) as load:
        token.stop()
        until(lambda: len(workers_of(server) - first) == WORKERS)
        until(lambda: admin(server, "/readyz")[0] == 503)
        token.go_on()
        back = load.until_all_serve(time.monotonic())
        tell("hung", back, load)
        until(lambda: admin(server, "/readyz")[0] == 200)
    assert len(workers_of(server)) == WORKERS
    assert not workers_of(server) & first


def test_exchanged_keys_are_never_used(server, remote, token) -> None:
    """The token that comes back is the same, but two of its keys hold each other's value."""
    token.kill()
    remote.tokens.rename(remote.tokens.with_name("right"))
    remote.swapped_tokens.rename(remote.tokens)
    token.start()
    key = remote.zone_key("terminal")
    block = zone.block("4831", pan=PAN, form="ISO_3", key=key)
    source = PinBlock(key="terminal", format="ISO_3", ciphertext=block, pan=PAN)
    with server.connect() as vault:
        until(lambda: _serves(vault, remote))
        for name in ("switch", "scheme") * 3:
            with pytest.raises(PinvaultError) as refused:
                vault.encrypt_pin(source, to=ToPinBlock(key=name, format="ISO_3", pan=PAN))
            assert refused.value.reason == "HSM_UNAVAILABLE"
        until(lambda: _sealed_keys(server) == 2)
        assert admin(server, "/readyz")[0] == 200
        assert _serves(vault, remote)


def _serves(vault: Vault, remote: Remote) -> bool:
    try:
        return through_aes(vault, remote, "4831") == "4831"
    except PinvaultError:
        return False


def _sealed_keys(server: RunningServer) -> float:
    lines = admin(server, "/metrics")[1].splitlines()
    return max(float(line.split()[-1]) for line in lines if line.startswith("pinvault_keys_sealed"))

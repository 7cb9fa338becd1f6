"""Attack: encipher every PIN of a card through the service, for a book to look blocks up in.

Format 0 is deterministic: whoever may have PINs enciphered for a PAN can collect the card's
10,000 blocks. The grant's rate per PAN is what stops it, across methods, connections,
workers and restarts.
"""

from collections.abc import Callable, Iterator

import pytest

from pinvault.client import PinBlock, PinvaultError, ToPinBlock, Vault
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.conftest import OTHER_PAN, PAN
from tests.support import zone
from tests.support.audit import record_of

LIMIT = 10


@pytest.fixture(scope="module")
def limited(make_environment: Callable[[Settings], Environment]) -> Environment:
    return make_environment(Settings(workers=2, per_pan=f"{LIMIT}/h", per_caller="100000/s"))


def guess(vault: Vault, environment: Environment, number: int, pan: str) -> bytes:
    """Have one PIN of the book enciphered."""
    key = environment.zone_key("zpk-terminal")
    known = zone.block(f"{number:04}", pan=pan, form="ISO_0", key=key)
    source = PinBlock(key="zpk-terminal", format="ISO_0", ciphertext=known, pan=pan)
    made = vault.encrypt_pin(source, to=ToPinBlock(key="zpk-switch", format="ISO_0", pan=pan))
    assert made.pin_block is not None
    return made.pin_block


def collect(server: RunningServer, tries: range, pan: str = PAN) -> tuple[set[bytes], list[str]]:
    """Collect as much of the book as the server gives, over a new connection each time."""
    book: set[bytes] = set()
    refusals: list[PinvaultError] = []
    for number in tries:
        with server.connect() as vault:
            try:
                book.add(guess(vault, server.environment, number, pan))
            except PinvaultError as error:
                refusals.append(error)
    for error in refusals:
        assert (error.retry_after_s or 0) > 60
        assert record_of(server.environment, error.call_id).outcome == error.reason
    return book, [error.reason for error in refusals]


Collected = tuple[set[bytes], list[str]]


@pytest.fixture(scope="module")
def books(limited: Environment) -> tuple[Collected, Collected]:
    """What a first server gives of the books of two cards."""
    with RunningServer(limited) as server:
        return collect(server, range(2 * LIMIT)), collect(server, range(3), pan=OTHER_PAN)


@pytest.fixture(scope="module")
def again(limited: Environment, books: tuple[Collected, Collected]) -> Iterator[RunningServer]:
    """The server after a restart; each test has a card of its own there."""
    with RunningServer(limited) as running:
        yield running


def test_the_book_of_a_card_ends_at_the_limit(books: tuple[Collected, Collected]) -> None:
    (book, refusals), (other, none) = books
    assert len(book) == LIMIT
    assert refusals == ["PAN_RATE_EXCEEDED"] * LIMIT
    assert (len(other), none) == (3, [])


def test_it_has_ended_after_a_restart_too(again: RunningServer) -> None:
    more, refusals = collect(again, range(5))
    assert (more, refusals) == (set(), ["PAN_RATE_EXCEEDED"] * 5)


# Published test PANs that nothing else here asks about.
PREFIXED, OVERLAID, BY_METHOD = "4000001234562000", "5555555551234567", "432198765432109870"
ALIASES = tuple(f"{prefix}{PREFIXED[3:-1]}{digit}" for prefix, digit in zip(
    ("506099", "999", "0", ""), "3210", strict=True
))  # fmt: skip


def test_another_prefix_or_check_digit_is_the_same_account(again: RunningServer) -> None:
    """A format 0 block depends on twelve digits of the PAN; PANs that share them share its book."""
    with again.connect() as vault:
        block = guess(vault, again.environment, 0, PREFIXED)
        for alias in ALIASES:
            assert guess(vault, again.environment, 0, alias) == block
    _, refusals = collect(again, range(LIMIT), pan=ALIASES[0])
    assert refusals == ["PAN_RATE_EXCEEDED"] * (1 + len(ALIASES))


def test_a_pan_that_overlays_the_pin_otherwise_is_the_same_account(again: RunningServer) -> None:
    """PIN 12cd for one PAN and 12c'd' for another can be one block: a hundred ways to ask."""
    book: set[bytes] = set()
    refusals: list[str] = []
    with again.connect() as vault:
        for a in range(10):
            for b in range(10):
                pin = f"12{(3 ^ a):x}{(4 ^ b):x}"
                if pin.isdigit():
                    pan = f"{OVERLAID[:3]}{a}{b}{OVERLAID[5:]}"
                    try:
                        book.add(guess(vault, again.environment, int(pin), pan))
                    except PinvaultError as error:
                        refusals.append(error.reason)
    assert len(refusals) > 3 * LIMIT
    assert set(refusals) == {"PAN_RATE_EXCEEDED"}
    assert len(book) == 1, "the aliases do give one block"


def test_another_method_does_not_open_another_account(again: RunningServer) -> None:
    with again.connect() as vault:
        for number in range(LIMIT):
            guess(vault, again.environment, number, BY_METHOD)
        sealed = vault.seal("4831", pan=BY_METHOD)
        with pytest.raises(PinvaultError) as refused:
            vault.encrypt_pin_change(
                profile="interswitch", pan=BY_METHOD, new_pin=sealed, old_pin=None
            )
        assert refused.value.reason == "PAN_RATE_EXCEEDED"


def test_a_block_has_one_account_whichever_worker_it_reaches(again: RunningServer) -> None:
    """A format 3 block opens under these PANs too: each would have tries of its own."""
    pan, key = "4012888888881881", again.environment.zone_key("zpk-terminal")
    stolen = zone.block("4831", pan=pan, form="ISO_3", key=key)
    shown = []
    for alias in ("4012888888881891", "4012888888889881", pan, "4012888888899891") * 2:
        with again.connect() as vault:
            source = PinBlock(key="zpk-terminal", format="ISO_3", ciphertext=stolen, pan=alias)
            try:
                vault.encrypt_pin(
                    source, to=ToPinBlock(key="zpk-switch", format="ISO_3", pan=alias)
                )
                shown.append("OK")
            except PinvaultError as error:
                shown.append(error.reason)
    assert shown == ["OK", *["PAN_RATE_EXCEEDED"] * 3] * 2


@pytest.fixture(scope="module")
def stingy(make_environment: Callable[[Settings], Environment]) -> Iterator[RunningServer]:
    """A server with a rate of the caller's own for each method."""
    settings = Settings(workers=2, per_caller="5/h", per_pan="1000/s")
    with RunningServer(make_environment(settings)) as running:
        yield running


def test_a_callers_own_rate_holds_across_workers(stingy: RunningServer) -> None:
    book, refusals = collect(stingy, range(12))
    assert len(book) == 5
    assert refusals == ["CALLER_RATE_EXCEEDED"] * 7


def test_calls_that_are_refused_use_up_the_callers_rate_too(stingy: RunningServer) -> None:
    """Else one could feel for names and write to the log without end."""
    reasons = []
    for _ in range(8):
        with stingy.connect() as vault, pytest.raises(PinvaultError) as refused:
            vault.encrypt_pin_change(
                profile="nowhere", pan=PAN, new_pin=vault.seal("4831", pan=PAN), old_pin=None
            )
        reasons.append(refused.value.reason)
    assert reasons == ["PROFILE_UNKNOWN"] * 5 + ["CALLER_RATE_EXCEEDED"] * 3

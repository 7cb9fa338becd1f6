"""Attack: encipher every PIN of a card through the service, for a book to look blocks up in.

Format 0 is deterministic: whoever may have PINs enciphered for a PAN can collect the card's
10,000 blocks. The grant's rate per PAN is what stops it, across methods, connections,
workers and restarts.
"""

from collections.abc import Callable

import pytest

from pinvault.client import PinBlock, PinvaultError, ToPinBlock, Vault
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.conftest import OTHER_PAN, PAN
from tests.support import zone
from tests.support.audit import record_of

LIMIT = 10


@pytest.fixture
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


def test_the_book_of_a_card_ends_at_the_limit_even_after_a_restart(limited: Environment) -> None:
    with RunningServer(limited) as server:
        book, refusals = collect(server, range(2 * LIMIT))
        assert len(book) == LIMIT
        assert refusals == ["PAN_RATE_EXCEEDED"] * LIMIT
        other, none = collect(server, range(3), pan=OTHER_PAN)
        assert (len(other), none) == (3, [])
    with RunningServer(limited) as again:
        more, refusals = collect(again, range(5))
        assert (more, refusals) == (set(), ["PAN_RATE_EXCEEDED"] * 5)


# Another PIN for a PAN that differs where it overlays the PIN's third and fourth digit.
OVERLAID = [(f"12{(3 ^ a):x}{(4 ^ b):x}", a, b) for a in range(10) for b in range(10)]
ALIASES = ("5060990000000151003", "9990990000000151002", "0990000000151009", "990000000151001")


def test_another_prefix_or_check_digit_is_the_same_account(limited: Environment) -> None:
    """A format 0 block depends on twelve digits of the PAN; PANs that share them share its book."""
    with RunningServer(limited) as server, server.connect() as vault:
        block = guess(vault, limited, 0, PAN)
        for alias in ALIASES:
            assert guess(vault, limited, 0, alias) == block
        _, refusals = collect(server, range(LIMIT), pan=ALIASES[0])
    assert refusals == ["PAN_RATE_EXCEEDED"] * (1 + len(ALIASES))


def test_a_pan_that_overlays_the_pin_otherwise_is_the_same_account(limited: Environment) -> None:
    """PIN 12cd for one PAN and 12c'd' for another can be one block: a hundred ways to ask."""
    twelve = "000000015100"
    book: set[bytes] = set()
    refusals: list[str] = []
    with RunningServer(limited) as server, server.connect() as vault:
        for pin, a, b in OVERLAID:
            if pin.isdigit():
                try:
                    book.add(guess(vault, limited, int(pin), f"506099{a}{b}{twelve[2:]}2"))
                except PinvaultError as error:
                    refusals.append(error.reason)
    assert len(refusals) > 3 * LIMIT
    assert set(refusals) == {"PAN_RATE_EXCEEDED"}
    assert len(book) == 1, "the aliases do give one block"


def test_another_method_does_not_open_another_account(limited: Environment) -> None:
    with RunningServer(limited) as server, server.connect() as vault:
        for number in range(LIMIT):
            guess(vault, limited, number, PAN)
        with pytest.raises(PinvaultError) as refused:
            vault.encrypt_pin_change(
                profile="interswitch", pan=PAN, new_pin=vault.seal("4831", pan=PAN), old_pin=None
            )
        assert refused.value.reason == "PAN_RATE_EXCEEDED"


def test_a_callers_own_rate_holds_across_workers(
    make_environment: Callable[[Settings], Environment],
) -> None:
    environment = make_environment(Settings(workers=2, per_caller="5/h", per_pan="1000/s"))
    with RunningServer(environment) as server:
        book, refusals = collect(server, range(12))
    assert len(book) == 5
    assert refusals == ["CALLER_RATE_EXCEEDED"] * 7


def test_calls_that_are_refused_use_up_the_callers_rate_too(
    make_environment: Callable[[Settings], Environment],
) -> None:
    """Else one could feel for names and write to the log without end."""
    environment = make_environment(Settings(per_caller="5/h", per_pan="1000/s"))
    nowhere = ToPinBlock(key="nowhere", format="ISO_0", pan=PAN)
    reasons = []
    with RunningServer(environment) as server, server.connect() as vault:
        for _ in range(8):
            with pytest.raises(PinvaultError) as refused:
                vault.encrypt_pin(vault.seal("4831", pan=PAN), to=nowhere)
            reasons.append(refused.value.reason)
    assert reasons == ["KEY_UNKNOWN"] * 5 + ["CALLER_RATE_EXCEEDED"] * 3

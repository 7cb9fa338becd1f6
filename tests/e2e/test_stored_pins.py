"""Stored PINs on their way out and over the rotation of their keys, through the running server."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from pinvault.client import Card, RevealKey, SealedPin, StoredCard, Vault, VisaPvvScheme
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.e2e.other_ends import at_the_switch, reason_of, switch
from tests.support.running import records

PAN, OTHER_PAN = "5555555551234567", "4111111111111111"
PIN, NEW, WRONG = "4831", "9027", "6184"
NUMBERS = itertools.count(100)


@pytest.fixture(scope="module")
def vault(server: RunningServer) -> Iterator[Vault]:
    with server.connect() as connected:
        yield connected


def seal(vault: Vault, card: Card, digits: str) -> SealedPin:
    return vault.seal(digits, card=card.card_id, profile="sealed-card")


def card_with_pin(vault: Vault, program: str) -> Card:
    number = f"{next(NUMBERS):03}"
    card = vault.cards.register(
        program=program, pan=PAN, expiry="2812", status="ACTIVE", sequence_number=number
    )
    vault.cards.set_pin(card.card_id, new_pin=seal(vault, card, PIN))
    return card


def has(vault: Vault, card: Card, digits: str) -> bool:
    return bool(vault.cards.check_pin(card.card_id, seal(vault, card, digits)))


# A stored PIN as a source


def test_a_stored_pin_becomes_the_field_of_a_partner(vault: Vault, server: RunningServer) -> None:
    card = card_with_pin(vault, "credit")
    made = vault.encrypt_pin_change(
        profile="interswitch", pan=PAN, new_pin=StoredCard(card.card_id), old_pin=None
    )
    assert server.environment.partner().open_field(made.pin_field) == PIN
    assert [each.name for each in made.source_keys] == ["pin-reveal"]
    assert made.old_pin_field == ""
    record = records(server, "call")[-1]
    assert (record.card, record.program, record.source) == (card.card_id, "credit", "card")


def test_a_stored_pin_becomes_a_pin_block_and_a_value(vault: Vault, server: RunningServer) -> None:
    card = card_with_pin(vault, "prepaid")
    stored = StoredCard(card.card_id)
    made = vault.encrypt_pin(stored, to=switch("ISO_4", PAN))
    assert at_the_switch(server.environment, made.pin_block, "ISO_4", pan=PAN) == PIN
    scheme = VisaPvvScheme(name="visa", key_index=1)
    value = vault.generate_verification_value(stored, pan=PAN, scheme=scheme).value
    assert vault.verify_pin(vault.seal(PIN, pan=PAN), pan=PAN, reference=value)
    assert not vault.verify_pin(vault.seal(NEW, pan=PAN), pan=PAN, reference=value)


def test_reveals_and_stored_pins_that_go_out_are_counted_together(vault: Vault) -> None:
    card = card_with_pin(vault, "credit")
    token = vault.cards.issue_control_token(card.card_id, "REVEAL_PIN").token
    with RevealKey() as key:
        vault.cards.reveal_pin(token, key=key, verified_by="OTP")
    stored, to = StoredCard(card.card_id), switch("ISO_4", PAN)
    for _ in range(4):
        vault.encrypt_pin(stored, to=to)
    assert reason_of(lambda: vault.encrypt_pin(stored, to=to)) == "CARD_RATE_EXCEEDED"


def test_what_may_not_be_had_is_refused(vault: Vault, server: RunningServer) -> None:
    card, silent = card_with_pin(vault, "credit"), card_with_pin(vault, "debit")
    stored = StoredCard(card.card_id)
    with server.connect("switch") as stranger:
        foreign = reason_of(lambda: stranger.encrypt_pin(stored, to=switch("ISO_3", PAN)))
    told = (
        foreign,
        reason_of(lambda: vault.encrypt_pin(stored, to=switch("ISO_4", OTHER_PAN))),
        reason_of(lambda: vault.encrypt_pin(StoredCard(silent.card_id), to=switch("ISO_4", PAN))),
        reason_of(
            lambda: vault.encrypt_pin_change(
                profile="interswitch", pan=PAN, new_pin=vault.seal(NEW, pan=PAN), old_pin=stored
            )
        ),
    )
    assert told == ("CARD_UNKNOWN", "PAN_MISMATCH", "PIN_NOT_REVEALABLE", "NOT_SUPPORTED")


# Rotation


@pytest.fixture
def rotating(make_environment: Callable[[Settings], Environment]) -> Iterator[RunningServer]:
    """A server whose keeper of keys may rotate those that verify PINs."""
    made = make_environment(Settings(workers=2, per_caller="100000/s", per_pan="100000/s"))
    mine = 'keys = ["pan-store", "pin-reference", "pin-reveal"]'
    text = made.config.read_text()
    assert text.count(mine) == 1
    made.config.write_text(text.replace(mine, f'{mine[:-1]}, "pvk-visa", "pvk-ibm"]'))
    with RunningServer(made) as running:
        yield running


def retire(environment: Environment, key: str) -> str:
    """What the command line says to the retirement of a key version."""
    done = subprocess.run(
        [sys.executable, "-m", "pinvault", "key", "retire", str(environment.config), key],
        env={**os.environ, **environment.variables()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    return done.stderr


def test_a_rotation_of_a_verification_key_breaks_no_pin(rotating: RunningServer) -> None:
    programs = {"debit": "pvk-visa", "prepaid": "pvk-ibm"}
    with rotating.connect() as vault, rotating.connect("key-manager") as keeper:
        cards = {program: card_with_pin(vault, program) for program in programs}
        for program, name in programs.items():
            rotated = keeper.keys.rotate(name)
            assert (rotated.previous.state, rotated.key.version) == ("DECIPHER_ONLY", 2)
            card = cards[program]
            assert not has(vault, card, WRONG)
            assert has(vault, card, PIN)
            needed = f"1 rows of pin.value open under {name}/1 alone: have these PINs set anew"
            assert needed in retire(rotating.environment, f"{name}/1")
            changed = vault.cards.change_pin(
                card.card_id,
                current_pin=seal(vault, card, PIN),
                new_pin=seal(vault, card, NEW),
            )
            assert changed
            used = {f"{each.name}/{each.version}" for each in changed.stored_keys}
            assert {f"{name}/1", f"{name}/2"} <= used
            assert not has(vault, card, PIN)
            assert has(vault, card, NEW)
        fresh = {program: card_with_pin(vault, program) for program in programs}
        for program, card in fresh.items():
            checked = vault.cards.check_pin(card.card_id, seal(vault, card, PIN))
            assert (bool(checked), checked.stored_keys[0].version) == (True, 2), program

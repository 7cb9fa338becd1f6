"""Keys that verify PINs are rotated: what a version made it verifies on, and the next one makes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pinvault.model.errors import Reason
from pinvault.model.keys import State
from pinvault.store import Store
from tests.support import vault as support
from tests.support.software_device import key
from tests.support.vault import KEYS, TODAY, Vault, reason_of

PIN, NEW, WRONG = "7392", "8264", "4821"
WORDS = {"debit": ("pvk", "pvv:visa:1@pvk/"), "prepaid": ("offset", "offset:ibm@offset/")}
"""By program: the key that verifies, and how a row says which version made its value."""
Rotate = Callable[..., Vault]


@pytest.fixture
def rotate(opened: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rotate:
    """Makes the next vault on the store, after a rotation of a key; `former` is what is left."""

    def rotated(name: str, **former: object) -> Vault:
        old = next(each for each in KEYS if each.name == name)
        monkeypatch.setattr(
            support,
            "KEYS",
            (
                *(each for each in KEYS if each.name != name),
                replace(old, **({"state": State.DECIPHER_ONLY} | former)),
                key(name, old.usage, old.algorithm, old.mode, version=2),
            ),
        )
        return Vault("", tmp_path, store=opened)

    return rotated


def word(vault: Vault, card: str) -> str:
    with vault.store.read() as db:
        found = db.exec_driver_sql(f"SELECT method FROM pin WHERE card_id = '{card}'")
        return str(found.scalar_one())


@pytest.mark.parametrize("program", WORDS)
def test_what_a_version_made_it_verifies_on(vault: Vault, rotate: Rotate, program: str) -> None:
    name, words = WORDS[program]
    card = vault.add_with_pin(PIN, program=program).card_id
    assert word(vault, card) == f"{words}1"
    after = rotate(name, valid_until=TODAY)
    for digits in (WRONG, PIN):
        verdict = after.checks(card, digits)
        assert verdict.matches is (digits == PIN)
        assert [each.id for each in verdict.stored_keys] == [f"{name}/1"]
    # Another PIN may have the same PVV: what was entered never takes the place of what is kept.
    assert word(after, card) == f"{words}1"


@pytest.mark.parametrize("program", WORDS)
def test_the_next_version_makes_what_is_new(vault: Vault, rotate: Rotate, program: str) -> None:
    name, words = WORDS[program]
    changed, reset = (
        vault.add_with_pin(PIN, program=program, sequence_number=number).card_id
        for number in ("01", "02")
    )
    after = rotate(name)
    wrong = after.changes(changed, WRONG, NEW)
    assert (wrong.matches, word(after, changed)) == (False, f"{words}1")
    right = after.changes(changed, PIN, NEW)
    stored = [each.id for each in right.stored_keys]
    assert (right.matches, stored[:2]) == (True, [f"{name}/1", f"{name}/2"])
    after.resets(reset, NEW)
    for card in (changed, reset):
        assert word(after, card) == f"{words}2"
        assert after.checks(card, NEW).matches
        assert not after.checks(card, PIN).matches


@pytest.mark.parametrize("program", WORDS)
@pytest.mark.parametrize(
    "former",
    [
        {"valid_until": TODAY - timedelta(days=1)},
        {"state": State.RETIRED},
    ],
    ids=["past its last day", "retired"],
)
def test_a_version_that_is_over_verifies_nothing_and_costs_no_try(
    vault: Vault, rotate: Rotate, program: str, former: dict[str, object]
) -> None:
    card = vault.add_with_pin(PIN, program=program).card_id
    after = rotate(WORDS[program][0], **former)
    for work in (lambda: after.checks(card, PIN), lambda: after.changes(card, PIN, NEW)):
        assert reason_of(work) is Reason.KEY_STATE
    assert after.card(card).pin.tries_left == 3
    after.resets(card, NEW)
    assert after.checks(card, NEW).matches


@pytest.mark.parametrize(
    ("made_by", "reason"),
    [
        ("offset/1", Reason.SCHEME_MISMATCH),
        ("pin-reveal/1", Reason.SCHEME_MISMATCH),
        ("pvk/3", Reason.KEY_UNKNOWN),
    ],
)
def test_a_row_names_versions_of_its_schemes_key_alone(
    vault: Vault, made_by: str, reason: Reason
) -> None:
    """Who writes to the store does not choose the key; a version may be one to come, though."""
    card = vault.add_with_pin(PIN).card_id
    with vault.store.write() as db:
        db.exec_driver_sql(f"UPDATE pin SET method = 'pvv:visa:1@{made_by}'")
    assert reason_of(lambda: vault.checks(card, PIN)) is reason
    assert vault.card(card).pin.tries_left == 3

"""The PIN vault to attack: a SQLite file for the session, emptied for every test."""

from tests.unit.operations.cards.conftest import make_vault, opened, vault

__all__ = ["make_vault", "opened", "vault"]

"""Passphrase hashes that cost little, for tests that are about something else."""

from collections.abc import Iterator

import pytest

from pinvault.ceremony import people
from tests.unit.ceremony import support


@pytest.fixture(scope="module")
def cheap_hashes() -> Iterator[None]:
    """Let 2^2 turns do; only for as long as a module's tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "_LOG_N", range(2, 21))
        patch.setattr(support, "LOG_N", 2)
        yield

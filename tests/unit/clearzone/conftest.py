"""A clear zone of its own for every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.clearzone.support import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.table.close()

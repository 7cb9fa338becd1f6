"""A world for every test that sends requests, in which the caller may do everything."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.operations.support import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.table.close()

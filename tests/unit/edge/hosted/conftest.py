"""A page for each test."""

import pytest

from tests.unit.edge.hosted.asking import Page


@pytest.fixture
def site() -> Page:
    return Page()

"""A server of their own, for tests that hurt it."""

from collections.abc import Callable, Iterator

import pytest

from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer

WORKERS = 2


@pytest.fixture
def own(make_environment: Callable[[Settings], Environment]) -> Iterator[RunningServer]:
    """A server that a test may hurt."""
    settings = Settings(workers=WORKERS, per_caller="100000/s", per_pan="100000/s")
    with RunningServer(make_environment(settings)) as running:
        yield running

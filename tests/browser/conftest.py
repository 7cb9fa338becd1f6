"""One site and one browser for all tests of the hosted page.

They end before other tests begin: while Playwright is up, nothing else in its thread can run
asyncio.
"""

from collections.abc import Iterator

import pytest

from pinvault.development.server import RunningServer
from tests.browser.site import Site, running


@pytest.fixture(scope="package")
def site(server: RunningServer) -> Iterator[Site]:
    """Server, edge and Chromium."""
    with running(server) as up:
        yield up

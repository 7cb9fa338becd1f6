"""What the edge says of its API and what it answers are one, over a real server."""

import io
from collections.abc import Iterator

import msgspec
import pytest

from pinvault.client import Vault
from pinvault.development.edge import VENDORS, Ports, Vendor, write
from pinvault.development.server import RunningServer
from pinvault.edge.app import applications, open_vault, place
from pinvault.edge.log import make_log
from pinvault.edge.metrics import Metrics
from pinvault.edge.settings import Loaded, load
from tests.support.openapi import call_all

EXAMPLES = 10


@pytest.fixture(scope="module")
def loaded(server: RunningServer) -> Loaded:
    return load(write(server.environment, server_port=server.port, ports=Ports()))


@pytest.fixture(scope="module")
def vault(loaded: Loaded) -> Iterator[Vault]:
    with open_vault(loaded) as opened:
        yield opened


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.kind)
@pytest.mark.parametrize("is_known", [True, False], ids=["caller", "stranger"])
def test_what_is_answered_is_what_is_described(
    loaded: Loaded, vault: Vault, vendor: Vendor, is_known: bool
) -> None:
    stream = io.StringIO()
    log, listeners = make_log(stream), loaded.settings.listeners
    only = msgspec.structs.replace(listeners[vendor.listener], clients=(), failures="999999/s")
    settings = msgspec.structs.replace(loaded.settings, listeners={vendor.listener: only})
    alone = Loaded(loaded.path, settings, {vendor.kind: loaded.dialects[vendor.kind]})
    app = applications(alone, place(alone, vault, log), log=log, metrics=Metrics())
    headers = dict(vendor.headers) if is_known else {}
    assert call_all(app[vendor.listener], headers=headers, examples=EXAMPLES) > 0
    assert '"level": "error"' not in stream.getvalue()

"""Asks a dialect as the edge's core does, and gives what it answers."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pinvault.edge.credentials import Credentials
from pinvault.edge.dialect import Answer, Arrived, Dialect
from pinvault.edge.facts import Facts
from pinvault.edge.ground import Ground
from pinvault.edge.log import Log
from pinvault.edge.rates import Rate, Rates
from pinvault.edge.refusals import refusal_of
from tests.unit.edge.connectfi.fake_vault import FakeVault

ASSETS = Path(__file__).parents[3] / "assets" / "edge"
REQUEST_ID = "b0603380819c11ee9b7427220cc6c212"


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def ground(
    vault: FakeVault,
    options: Any,
    *callers: Any,
    facts: Facts | None = None,
    per_card: str = "999/s",
) -> Ground[Any, Any]:
    return Ground(
        name=options.kind,
        vault=vault.face,
        settings=options,
        credentials=Credentials(callers),
        facts=facts or Facts({}, {}),
        rates=Rates(per_caller=Rate.read("9999/s"), per_card=Rate.read(per_card), now=lambda: 0.0),
        page=None,
        now=time.time,
        log=Log(None),
    )


def arrived(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Arrived:
    return Arrived(
        method=method,
        path=path,
        raw_path_and_query=path,
        query={},
        headers=headers,
        body=body,
        request_id=REQUEST_ID,
        clear_pins=True,
        client="CN=processor",
    )


def ask(dialect: Dialect, request: Arrived) -> Answer:
    """Answer a request, or render why not, without its body."""
    (endpoint,) = (
        each
        for each in dialect.endpoints()
        if (each.method, each.path) == (request.method, request.path)
    )
    try:
        return endpoint.flow(request)
    except Exception as error:  # noqa: BLE001 - as the core does
        return dialect.render(refusal_of(error), replace(request, body=b""))

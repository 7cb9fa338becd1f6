"""Attack: write messages into the outbox, and have the sender say or show what one likes.

Who writes rows can have any body signed and sent, to a receiver of the configuration: the sender
has no key that would tell it from one of the service. More than that is not to be had.
"""

import asyncio
import io
import json
import random
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from sqlalchemy import update
from standardwebhooks import Webhook

from pinvault.bootstrap.notify import Told
from pinvault.cli import common
from pinvault.notify.delivery import Courier
from pinvault.notify.endpoints import Endpoint
from pinvault.notify.guard import read_network, read_url
from pinvault.operations.deliver import Deliveries
from pinvault.server.logs import make_log
from pinvault.server.notify_metrics import NotifyMetrics
from pinvault.store import outbox, schema
from tests.support.receiver import SECRET, Receiver, write_secret
from tests.support.vault import Vault

REAL = outbox.Message(id="m-1", endpoint="core", type="pin.set", card_id="card", body="{}")
FORGED = {
    "a header in the id": {"id": "m-1\r\nx-evil: 1"},
    "a request in the id": {"id": "m-1\r\n\r\nGET /evil HTTP/1.1"},
    "an id that is no ASCII": {"id": "m-\u00fc\u2028"},
    "an id with an escape": {"id": "m-\x1b[2J"},
    "an endpoint of another name": {"endpoint": 'x"}\n{"event": "forged"}'},
    "a type with a newline": {"type": "pin.set\nforged"},
    "a body that is no JSON": {"body": "\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"},
}


def delivered(vault: Vault, folder: Path, receiver: Receiver) -> str:
    """Run the sender until the message was tried; give its log."""
    log = io.StringIO()
    registry = CollectorRegistry()
    metrics = NotifyMetrics(registry)
    endpoint = Endpoint(
        name="core",
        target=read_url(f"http://127.0.0.1:{receiver.port}/"),
        secret_files=(write_secret(folder / "secret"),),
        programs=frozenset(),
        events=frozenset(),
        private=(read_network("127.0.0.0/8"),),
        timeout_s=2,
    )
    stopping = asyncio.Event()
    told = Told(make_log(count=metrics.redacted, stream=log), metrics, frozenset({"core"}))
    settled = told.settled

    def end(*what: object) -> None:
        settled(*what)  # type: ignore[arg-type]
        stopping.set()

    told.settled = end  # type: ignore[method-assign]
    deliveries = Deliveries(
        store=vault.store,
        senders={"core": Courier.of(endpoint, now=time.time).deliver},
        watch=told,
        now=lambda: time.time_ns() // 1000,
        draw=random.uniform,
        poll_s=0.05,
    )

    async def run() -> None:
        await asyncio.wait_for(deliveries.run(stopping, grace_s=3), 10)

    asyncio.run(run())
    return log.getvalue()


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_message_is_one_request_and_one_line_of_the_log(
    vault: Vault, tmp_path: Path, what: str
) -> None:
    with vault.store.write() as db:
        outbox.add(db, REAL, now=1)
        db.execute(update(schema.outbox), FORGED[what])
    with Receiver() as receiver:
        log = delivered(vault, tmp_path, receiver)
        assert len(receiver.received) <= 1
        for request in receiver.received:
            assert request.line == "POST / HTTP/1.1"
            assert "x-evil" not in request.headers
    lines = log.splitlines()
    assert {json.loads(line)["event"] for line in lines} <= {
        "message not delivered",
        "message dead",
        "attempt broken",
    }
    assert "\x1b" not in log


def test_a_forged_body_is_signed(vault: Vault, tmp_path: Path) -> None:
    """So a receiver asks the service before it acts on what it was told."""
    with vault.store.write() as db:
        outbox.add(db, REAL, now=1)
        db.execute(update(schema.outbox), {"body": '{"type":"pin.revealed"}'})
    with Receiver() as receiver:
        delivered(vault, tmp_path, receiver)
        (got,) = receiver.received
    Webhook(SECRET).verify(got.body, got.headers)


def test_what_is_shown_of_a_message_steers_no_terminal() -> None:
    body = "\x1b]0;evil\x07[link=https://evil.example]x[/link][/]\x9b2J\u202e"

    @click.command()
    def show() -> None:
        common.show("Message", ("Body",), [(body,)], as_json=False)

    shown = CliRunner().invoke(show, color=True)
    assert shown.exit_code == 0, shown.exception
    assert "[link=https://evil.example]x[/link][/]" in shown.output
    assert not {"\x1b", "\x07", "\x9b", "\u202e"}.intersection(shown.output)

"""`pinvault webhook`: what waits to be delivered, and what is dead, to be sent again or not."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from pinvault.bootstrap.notify import couriers, open_store
from pinvault.cli.common import config_argument, json_option, show
from pinvault.config import load
from pinvault.notify.delivery import Verdict
from pinvault.store import Store, outbox
from pinvault.store.outbox import State, StoredMessage

FAILED = 1
PAGE = 500
ADVICE = {
    "address-forbidden": ": name its network in private_networks, if it is yours",
    "connect": ": see that the receiver listens there, and that this host may reach it",
    "name-unknown": ": see that the name in its url resolves on this host",
    "tls": ": see that ca_file vouches for its certificate, and that its url has the name in it",
}
F = TypeVar("F", bound=Callable[..., Any])
COLUMNS = ("ID", "Endpoint", "Type", "Card", "Created", "Attempts", "State", "At")


@click.group()
def webhook() -> None:
    """Look after messages to others; "At" says when one is due, or when it was settled."""


@webhook.command(name="list")
@config_argument
@click.option("--pending", "state", flag_value="pending", default="pending", help="What waits.")
@click.option("--dead", "state", flag_value="dead", help="What was given up.")
@click.option("-n", "--count", type=click.IntRange(1, 100_000), default=100, show_default=True)
@json_option
def list_messages(config_file: Path, state: State, count: int, as_json: bool) -> None:
    """List messages that wait, or that are dead."""
    with _store(config_file) as store, store.read() as db:
        found = outbox.page(db, state=state, after=None, count=count)
        queue = outbox.queue(db, now=_now())
    show(f"Messages: {state}", COLUMNS, list(map(_row, found)), as_json=as_json)
    if not as_json:
        click.echo(f"{queue.pending} pending, {queue.due} of these due, {queue.dead} dead")


@webhook.command(name="show")
@config_argument
@click.argument("message_id")
@json_option
@click.pass_context
def show_message(context: click.Context, config_file: Path, message_id: str, as_json: bool) -> None:
    """Show a message with its body."""
    with _store(config_file) as store, store.read() as db:
        found = outbox.get(db, message_id)
    if found is None:
        click.echo("there is no such message: see pinvault webhook list", err=True)
        context.exit(FAILED)
    show("Message", (*COLUMNS, "Body"), [(*_row(found), found.body)], as_json=as_json)


def dead_arguments(command: F) -> F:
    """Take which dead messages: their ids, or all, or all of an endpoint."""
    command = click.argument("message_ids", nargs=-1)(command)
    command = click.option("--all-dead", is_flag=True, help="All that is dead by now.")(command)
    return click.option("--endpoint", help="Of all that is dead, what is for this one.")(command)


@webhook.command()
@config_argument
@dead_arguments
@click.pass_context
def resend(context: click.Context, /, config_file: Path, **which: Any) -> None:
    """Send dead messages again: at once, and as often as their attempts leave, or once."""
    _settle_dead(context, config_file, _resend, "will be sent again", **which)


@webhook.command()
@config_argument
@dead_arguments
@click.pass_context
def discard(context: click.Context, /, config_file: Path, **which: Any) -> None:
    """Remove dead messages for good: nobody gets them any more."""
    _settle_dead(context, config_file, _discard, "discarded", **which)


@webhook.command()
@config_argument
@click.argument("name")
@click.pass_context
def test(context: click.Context, config_file: Path, name: str) -> None:
    """Send an endpoint a signed `webhook.test` at once, past the outbox."""
    loaded = load(config_file.absolute())
    known = couriers(loaded)
    if name not in known:
        raise click.UsageError(f"there is no [webhooks.{name}]")
    sent = loaded.webhooks()[name].test_body(at=time.time())
    outcome = asyncio.run(known[name].deliver(f"test_{uuid.uuid4()}", sent))
    click.echo(f"{name}: {outcome.verdict.value}: {outcome.cause}{ADVICE.get(outcome.cause, '')}")
    if outcome.verdict is not Verdict.DELIVERED:
        context.exit(FAILED)


@contextmanager
def _store(config_file: Path) -> Iterator[Store]:
    store = open_store(load(config_file.absolute()))
    try:
        yield store
    finally:
        store.close()


def _settle_dead(
    context: click.Context,
    config_file: Path,
    settle: Callable[[Store, str], bool],
    done: str,
    *,
    message_ids: tuple[str, ...],
    all_dead: bool,
    endpoint: str | None,
) -> None:
    """Settle dead messages, each in a transaction; tell how many, and which of those named not."""
    if bool(message_ids) is all_dead:
        raise click.UsageError("give the ids of dead messages, or --all-dead")
    if endpoint is not None and not all_dead:
        raise click.UsageError("--endpoint is for --all-dead: ids say which messages")
    with _store(config_file) as store:
        wanted = _dead(store, endpoint) if all_dead else iter(message_ids)
        settled = {each: settle(store, each) for each in wanted}
    click.echo(f"{sum(settled.values())} {done}")
    refused = [each for each, was_dead in settled.items() if not was_dead]
    for each in () if all_dead else refused:
        click.echo(f"{each}: is not dead, or not there: see pinvault webhook show", err=True)
    if refused and not all_dead:
        context.exit(FAILED)


def _dead(store: Store, endpoint: str | None) -> Iterator[str]:
    """Give what is dead by now; what dies meanwhile comes later in the order, and is left."""
    until = _now()
    after: StoredMessage | None = None
    while True:
        with store.read() as db:
            found = outbox.page(db, state="dead", after=after, count=PAGE)
        for each in found:
            if each.next_at > until:
                return
            if endpoint in (None, each.endpoint):
                yield each.id
        if not found:
            return
        after = found[-1]


def _resend(store: Store, message: str) -> bool:
    return store.transact(partial(outbox.resend, message=message, now=_now()))


def _discard(store: Store, message: str) -> bool:
    return store.transact(partial(outbox.discard, message=message))


def _row(message: StoredMessage) -> tuple[str, ...]:
    return (
        message.id,
        message.endpoint,
        message.type,
        message.card_id,
        _time(message.created_at),
        str(message.attempts),
        message.state,
        _time(message.next_at),
    )


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def _now() -> int:
    return time.time_ns() // 1000

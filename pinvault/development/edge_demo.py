"""The edge, end to end: all five vendors' sample requests by curl, and what is audited of them.

Server and edge run as they would, on loopback; the store is empty at first. Each answer is held
against the vendor's documents. PINs that are seen are the vendors' own public ones.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from pinvault.audit.record import rfc3339
from pinvault.audit.tail import newest
from pinvault.client import Card
from pinvault.development import samples
from pinvault.development.curl import Reply, Request, ask
from pinvault.development.edge import Ports, RunningEdge
from pinvault.development.environment import Environment
from pinvault.development.ports import free_port
from pinvault.development.samples import CONNECTFI_PIN, MARQETA_PIN, Samples, interswitch_field
from pinvault.development.server import RunningServer

_HEX32, _UUID = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DONE = {"code": "00", "description": "Successful", "correlationId": _HEX32}
_SHOWN_RECORDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A request, its answer, and the record of the call that did it."""

    vendor: str
    title: str
    command: str
    status: int
    answer: str
    audit: Any
    as_documented: bool


@dataclass(slots=True)
class Story:
    """Runs requests one by one, and tells each when it is over."""

    audit: Path
    console: Console | None
    told: list[Told] = field(default_factory=list)

    def ask(self, vendor: str, title: str, request: Request, status: int, documented: Any) -> Any:
        """Run a request; give the members of its answer."""
        began = rfc3339(datetime.now(UTC))
        reply = ask(request)
        members = _members(reply)
        told = Told(
            vendor=vendor,
            title=title,
            command=request.command(),
            status=reply.status,
            answer=reply.body,
            audit=self._record_since(began),
            as_documented=reply.status == status and is_like(members, documented),
        )
        self.told.append(told)
        if self.console is not None:
            tell(self.console, told)
        return members

    def _record_since(self, began: str) -> Any:
        """Give the last record of a call about cards: the ones before only looked."""
        for tailed in reversed(newest(self.audit, count=_SHOWN_RECORDS)):
            record = msgspec.to_builtins(tailed.entry)
            if record["time"] < began:
                break
            if record.get("method", "").startswith("CardPinService."):
                return record
        return None


def forget(root: Path) -> None:
    """Remove the store of an environment, so that the story begins at its beginning."""
    for file in root.glob("store.db*"):
        file.unlink()


def run(environment: Environment, *, only_json: bool) -> int:
    """Run the demonstration; give the exit code."""
    console = None if only_json else Console(file=sys.stdout, highlight=False, soft_wrap=True)
    story = Story(environment.root / "audit", console)
    with (
        RunningServer(environment) as server,
        RunningEdge(server, ports=Ports(public=free_port()), page=True) as edge,
    ):
        with server.connect() as vault:
            cards = samples.register(vault)
        if console is not None:
            tell_cards(console, cards)
        requests = Samples(edge)
        _connectfi(story, requests)
        _marqeta(story, requests)
        _rapyd(story, requests)
        _interswitch(story, requests, server)
        _hashdt(story, requests)
    if console is None:
        print(msgspec.json.format(msgspec.json.encode(story.told)).decode())
    else:
        tell_end(console, story.told)
    return 0 if all(told.as_documented for told in story.told) else 1


def _connectfi(story: Story, requests: Samples) -> None:
    facts = samples.facts("connectfi", samples.CONNECTFI_CARD)
    data = {"cFiCardId": samples.CONNECTFI_CARD, "cFiStatus": "Complete", **facts}
    done = {"code": "0", "data": data, "requestId": _HEX32}
    story.ask("ConnectFi", "set the PIN", requests.connectfi("set-pin"), 200, done)
    story.ask("ConnectFi", "check it", requests.connectfi("check-pin"), 200, done)


def _marqeta(story: Story, requests: Samples) -> None:
    def token(kind: str, title: str) -> str:
        request = requests.marqeta_token(kind)
        issued = story.ask("Marqeta", title, request, 201, {"control_token": _UUID})
        return str(issued.get("control_token"))

    to_set = token("SET_PIN", "a control token, to set the PIN")
    story.ask("Marqeta", "set the PIN by it", requests.marqeta_set(to_set), 204, {})
    to_see = token("REVEAL_PIN", "a control token, to see the PIN")
    revealed = requests.marqeta_reveal(to_see)
    story.ask("Marqeta", "see the PIN by it", revealed, 200, {"pin": MARQETA_PIN})


def _rapyd(story: Story, requests: Samples) -> None:
    status = {"error_code": "", "status": "SUCCESS", "message": "", "response_code": ""}
    about = {"id": re.compile("ci_[0-9a-f]{32}"), "status": "ACT", "card_id": samples.RAPYD_CARD}
    done = {
        "status": {**status, "operation_id": _UUID},
        "data": {**about, **samples.facts("rapyd", samples.RAPYD_CARD), "created_at": int},
    }
    by_id, by_number = samples.RAPYD_CARD, samples.RAPYD_NUMBER
    story.ask("Rapyd", "set the PIN of a card by id", requests.rapyd(by_id), 200, done)
    story.ask("Rapyd", "change it, by the card's number", requests.rapyd(by_number), 200, done)


def _interswitch(story: Story, requests: Samples, server: RunningServer) -> None:
    key = samples.interswitch_key(server)

    def change(title: str, new: str, old: str) -> None:
        fields = [interswitch_field(key, pin) if pin else "" for pin in (new, old)]
        request = requests.interswitch_change(*fields, is_active_active=bool(old))
        story.ask("Interswitch", title, request, 200, _DONE)

    change("set a PIN that comes in cipher", CONNECTFI_PIN, "")
    change("change it, with the current one", MARQETA_PIN, CONNECTFI_PIN)
    fields = {"pin": re.compile("[0-9a-f]{512}"), "pinOffset": re.compile("[0-9]{4}")}
    reissue = requests.interswitch_reissue()
    story.ask("Interswitch", "have a new PIN drawn", reissue, 200, {**_DONE, **fields})


def _hashdt(story: Story, requests: Samples) -> None:
    for action in ("set", "reset", "change"):
        page = rf"{re.escape(requests.edge.url('public'))}/pin/debit/{action}#[\w-]+\.[\w-]+"
        done = {
            "status": "Success",
            "message": f"{action.capitalize()} PIN URL fetched successfully.",
            "code": 200,
            "data": [{"set_pin_url": re.compile(page)}],
        }
        title = f"the address of a page to {action} the PIN"
        story.ask("HashDT", title, requests.hashdt(action), 200, done)


def is_like(found: Any, documented: Any) -> bool:
    """Whether an answer is as documented: patterns match, types fit, all else is equal.

    >>> is_like({"code": "00", "at": 17}, {"code": re.compile("[0-9]{2}"), "at": int})
    True
    >>> is_like({"code": "00", "more": 1}, {"code": "00"})
    False
    """
    match documented:
        case re.Pattern():
            return isinstance(found, str) and documented.fullmatch(found) is not None
        case type():
            return isinstance(found, documented)
        case Mapping():
            return (
                isinstance(found, dict)
                and found.keys() == documented.keys()
                and all(is_like(found[name], documented[name]) for name in documented)
            )
        case list():
            return (
                isinstance(found, list)
                and len(found) == len(documented)
                and all(map(is_like, found, documented))
            )
    return bool(found == documented)


def _members(reply: Reply) -> Any:
    """Give an answer's members; of what is no JSON none, and of an empty answer too."""
    try:
        return json.loads(reply.body or "{}")
    except ValueError:
        return {}


def tell_cards(console: Console, cards: Mapping[str, Card]) -> None:
    """Say which cards there are at the beginning."""
    console.print("\n[bold]The issuer registers cards, over gRPC[/bold]")
    for card in cards.values():
        text = f"{card.card_id}  program {card.program}, known to the vendor as {card.external_id}"
        console.print(text, markup=False)


def tell(console: Console, told: Told) -> None:
    """Say what was asked, answered and audited."""
    console.print(f"\n[bold]{told.vendor}: {told.title}[/bold]")
    console.print(told.command, markup=False)
    console.print("\n[dim]answers[/dim]")
    console.print(f"{told.status} {told.answer}".rstrip(), markup=False)
    console.print("[dim]and leaves in the audit log[/dim]")
    console.print(json.dumps(told.audit), markup=False)
    if not told.as_documented:
        console.print("[bold red]NOT AS DOCUMENTED[/bold red]")


def tell_end(console: Console, told: Sequence[Told]) -> None:
    """Say how it went."""
    right = sum(each.as_documented for each in told)
    console.print(f"\n[bold]{right} of {len(told)} answers are as documented.[/bold]")

"""The page as cardholders meet it: real server, edge and Chromium, and a shop that embeds it."""

import contextlib
import itertools
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    BrowserContext,
    Frame,
    Page,
    Request,
    Route,
    sync_playwright,
)

from pinvault.client import Card, Vault
from pinvault.client.card_values import SessionAction
from pinvault.development.edge import Ports, RunningEdge
from pinvault.development.ports import free_port
from pinvault.development.server import RunningServer

SHOP = "http://localhost:8080"  # the origin of the sessions; nothing listens there
NEIGHBOUR = "http://localhost:8081"  # may embed the page too, and is no session's origin
STRANGER = "http://localhost:8082"
CURRENT, NEW, OTHER, WEAK = "529470", "938274", "741903", "111111"
PAN = "5555555551234567"
ARGUMENTS = (
    *("--disable-gpu", "--no-first-run", "--disable-sync", "--hide-scrollbars"),
    # What a test answers for a shop has no network address, and counts as from the internet.
    "--disable-features=LocalNetworkAccessChecks",
)
MISSING = (
    "tests of the hosted page need Chromium: ./dev test gets it on Debian; elsewhere install it, or"
    " name it in PINVAULT_CHROMIUM"
)
UNTOLD = re.compile(r"^pin_length = .*\n", re.MULTILINE)
_NUMBERS = itertools.count(700)
_BARE = """<!doctype html><html lang=en><title>A shop</title>
<meta name=viewport content='width=device-width'><meta name=color-scheme content='light dark'>
<style>body {margin: 0}</style><main id=place></main>"""
_MOUNT = """async ([url, origin]) => {
  const { mount } = await import(origin + "/static/pinvault.js");
  window.heard = [];
  window.ended = null;
  addEventListener("message", ({ origin, data }) => heard.push([origin, data]));
  const ended = mount(document.getElementById("place"), { url, origin });
  ended.then((outcome) => (window.ended = outcome));
}"""


@dataclass
class Visit:
    """A cardholder's way to the page: a card with a PIN or without, and a session's address."""

    vault: Vault
    card: Card
    url: str

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.url.rpartition("#")[2].partition(".")[0]

    @property
    def secret(self) -> str:
        """The secret that opens it, once."""
        return self.url.rpartition(".")[2]

    def has(self, pin: str) -> bool:
        """Tell whether this is the card's PIN, as the server judges it."""
        sealed = self.vault.seal(pin, card=self.card.card_id, profile="sealed-card")
        return bool(self.vault.cards.check_pin(self.card.card_id, sealed))


@dataclass
class Watch:
    """All that a browser page asked for, said, and let its embedder hear."""

    page: Page
    requests: list[Request] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))

    def origins(self) -> set[str]:
        return {"/".join(each.url.split("/")[:3]) for each in self.requests}

    def asked(self, path: str) -> list[Request]:
        return [each for each in self.requests if each.url.split("?")[0].endswith(path)]

    def bodies(self) -> list[str]:
        return [each.post_data or "" for each in self.requests]

    def heard(self) -> list[Any]:
        found: list[Any] = self.page.evaluate("window.heard")
        return found


@dataclass
class Site:
    """What is up, and how to come to the page."""

    edge: RunningEdge
    vault: Vault
    browser: Browser

    @property
    def origin(self) -> str:
        """The page's own origin."""
        return self.edge.url("public")

    def visit(self, action: SessionAction, *, program: str = "credit", pin: str = "") -> Visit:
        """Register a card, with its PIN for what needs one, and have a session made."""
        card = self.vault.cards.register(
            program=program,
            pan=PAN,
            expiry="2812",
            status="ACTIVE",
            sequence_number=f"{next(_NUMBERS) % 1000:03}",
            external_id=f"icrd_{uuid.uuid4()}",
        )
        if action != "SET":
            sealed = self.vault.seal(pin or CURRENT, card=card.card_id, profile="sealed-card")
            self.vault.cards.set_pin(card.card_id, new_pin=sealed)
        session = self.vault.cards.create_session(card.card_id, action, origin=SHOP)
        path = f"/pin/{program}/{action.lower()}"
        url = f"{self.origin}{path}#{session.session_id}.{session.secret}"
        return Visit(self.vault, card, url)

    @contextlib.contextmanager
    def page(self, **how: Any) -> Iterator[Page]:
        """Open a browser page on a phone, with the shops' pages at hand."""
        options = {"viewport": {"width": 390, "height": 844}, "locale": "en-GB", **how}
        with self.browser.new_context(**options) as context:
            context.set_default_timeout(15_000)
            shops(context)
            yield context.new_page()

    def mount(self, page: Page, url: str, *, at: str = SHOP) -> Frame:
        """Embed the page in a shop, as its script does, and give the frame."""
        page.goto(at)
        page.evaluate(_MOUNT, [url, self.origin])
        frame = page.wait_for_selector("iframe", state="attached").content_frame()
        assert frame is not None
        return frame

    def open(self, page: Page, visit: Visit, *, query: str = "") -> Frame:
        """Embed a visit's page and wait until its session is open."""
        frame = self.mount(page, visit.url.replace("#", f"{query}#"))
        is_open(frame)
        return frame


def shops(context: BrowserContext) -> None:
    """Answer for the shops; nothing listens at their addresses."""

    def answer(route: Route) -> None:
        route.fulfill(body=_BARE, content_type="text/html; charset=utf-8")

    for origin in (SHOP, NEIGHBOUR, STRANGER):
        context.route(f"{origin}/", answer)


def fill(frame: Frame, *, new: str = NEW, confirm: str = "", current: str = CURRENT) -> None:
    """Enter PINs, without sending them."""
    if frame.locator("#current").is_visible():
        frame.fill("#current", current)
    frame.fill("#new", new)
    frame.fill("#confirm", confirm or new)


def send(frame: Frame, **pins: str) -> None:
    """Enter PINs and press the button."""
    fill(frame, **pins)
    frame.click("#submit")


def is_in(frame: Frame, state: str) -> None:
    """Wait for a state. (The page's policy forbids what waits for functions.)"""
    frame.wait_for_selector(f"html[data-state='{state}']", state="attached")


def is_open(frame: Frame) -> None:
    """Wait until the session is open: then the time is told."""
    frame.wait_for_selector("#time:visible")


def is_refused(frame: Frame, *, at: str) -> str:
    """Wait for a text of an error, such as `new-error`, and give it."""
    frame.wait_for_selector(f"#{at}:not(:empty)")
    return frame.inner_text(f"#{at}")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser that was set up; RuntimeError, with the remedy, when there is none."""
    path = os.environ.get("PINVAULT_CHROMIUM") or shutil.which("chromium")
    if not path:
        raise RuntimeError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def running(server: RunningServer) -> Iterator[Site]:
    """Run an edge with the page, and a browser."""
    edge = RunningEdge(server, ports=Ports(public=free_port()), page=True)
    allow(edge.config)
    with edge, server.connect() as vault, chromium() as browser:
        yield Site(edge, vault, browser)


def allow(config: Path) -> None:
    """Let a neighbour embed the page too, and foretell no form of prepaid cards."""
    head, *programs = config.read_text().split("[hosted.programs.")
    origins = json.dumps([SHOP, NEIGHBOUR])
    changed = [each.replace(f'["{SHOP}"]', origins) for each in programs]
    changed = [UNTOLD.sub("", each) if each.startswith("prepaid") else each for each in changed]
    assert len(changed) > 1
    assert len({*changed} - {*programs}) == len(programs)
    config.write_text("[hosted.programs.".join([head, *changed]))

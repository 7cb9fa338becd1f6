"""Debian's own Firefox, driven by what it speaks itself: WebDriver BiDi over a WebSocket.

Playwright drives nothing but a build of its own, which cardholders do not have. Methods, parameters
and events have the standard's names: https://w3c.github.io/webdriver-bidi
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from websockets.sync.client import ClientConnection, connect

MISSING = (
    "tests of the hosted page need Firefox: ./dev test gets it on Debian; elsewhere install it, or"
    " name it in PINVAULT_FIREFOX"
)
WAIT_S = 30.0
POLL_S = 0.05
HEARD = ("log.entryAdded", "network.beforeRequestSent")
# Firefox calls home: here by a proxy that is not there, and that localhost is not asked of.
ALONE = """\
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "localhost");
user_pref("network.proxy.http_port", 1);
user_pref("network.proxy.ssl", "localhost");
user_pref("network.proxy.ssl_port", 1);
"""
Found = TypeVar("Found")


@dataclass
class Firefox:
    """A browser that runs, and what it told. At the addresses of `sites`, pages are made up."""

    socket: ClientConnection
    sites: Mapping[str, str]
    events: list[dict[str, Any]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def ask(self, method: str, **params: Any) -> Any:
        """Give a method's result; RuntimeError when it has none."""
        number = self._send(method, params)
        while (said := json.loads(self.socket.recv(timeout=WAIT_S))).get("id") != number:
            if said["type"] == "event":
                self._hear(said)
        if said["type"] == "error":
            raise RuntimeError(f"{method}: {said['message']}")
        return said["result"]

    def heard(self, event: str) -> list[Any]:
        """Give what was told of a kind until now."""
        self.ask("session.status")  # what came before its answer is read first
        return [each["params"] for each in self.events if each["method"] == event]

    def _hear(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if not event["params"].get("isBlocked"):
            return
        request = event["params"]["request"]
        answer = {
            "request": request["request"],
            "statusCode": 200,
            "reasonPhrase": "OK",
            "headers": [{"name": "Content-Type", "value": _text("text/html; charset=utf-8")}],
            "body": _text(self.sites[request["url"]]),
        }
        self._send("network.provideResponse", answer)

    def _send(self, method: str, params: Mapping[str, Any]) -> int:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        return number


@dataclass
class Tab:
    """A page, or a frame in one."""

    firefox: Firefox
    context: str

    def goto(self, url: str) -> None:
        """Load a page and all that it loads."""
        self.firefox.ask("browsingContext.navigate", context=self.context, url=url, wait="complete")

    def frame(self) -> Self:
        """Give the frame that the page has; IndexError when it has none."""
        tree = self.firefox.ask("browsingContext.getTree", root=self.context)
        return type(self)(self.firefox, tree["contexts"][0]["children"][0]["context"])

    def call(self, function: str, *texts: str) -> Any:
        """Give what a function gives in the page, as JSON has it."""
        answer = self.firefox.ask(
            "script.callFunction",
            functionDeclaration=f"async (...all) => JSON.stringify(await ({function})(...all))",
            arguments=[_text(text) for text in texts],
            target={"context": self.context},
            awaitPromise=True,
        )
        if answer["type"] == "exception":
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"].get("value", "null"))

    def click(self, selector: str) -> None:
        """Move the mouse to the one element of a CSS selector, and click."""
        (node,) = self.firefox.ask(
            "browsingContext.locateNodes",
            context=self.context,
            locator={"type": "css", "value": selector},
        )["nodes"]
        origin = {"type": "element", "element": {"sharedId": node["sharedId"]}}
        move = {"type": "pointerMove", "x": 0, "y": 0, "origin": origin}
        click = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        self._act({"type": "pointer", "id": "mouse", "actions": [move, *click]})

    def type(self, text: str) -> None:
        """Press a key for each character, where the focus is."""
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._act({"type": "key", "id": "keyboard", "actions": keys})

    def _act(self, source: dict[str, Any]) -> None:
        self.firefox.ask("input.performActions", context=self.context, actions=[source])


@contextlib.contextmanager
def running(profile: Path, sites: Mapping[str, str]) -> Iterator[Firefox]:
    """Start the browser that was set up; RuntimeError, with the remedy, when there is none."""
    program = os.environ.get("PINVAULT_FIREFOX") or shutil.which("firefox")
    if not program:
        raise RuntimeError(MISSING)
    (profile / "user.js").write_text(ALONE)
    log = profile / "firefox.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [program, "--headless", "--remote-debugging-port", "0", "--profile", profile],
            env={**os.environ, "HOME": str(profile), "MOZ_CRASHREPORTER_DISABLE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        (address,) = until(lambda: re.findall(r"BiDi listening on (ws:\S+)\n", log.read_text()))
        with connect(f"{address}/session", proxy=None, max_size=None) as socket:
            firefox = Firefox(socket, sites)
            firefox.ask("session.new", capabilities={})
            firefox.ask("session.subscribe", events=HEARD)
            patterns = [{"type": "string", "pattern": site} for site in sites]
            firefox.ask("network.addIntercept", phases=["beforeRequestSent"], urlPatterns=patterns)
            yield firefox
    finally:
        process.terminate()
        process.wait(WAIT_S)
        print(log.read_text())  # shown where a test fails


def until(find: Callable[[], Found]) -> Found:
    """Wait until something is found, and give it; TimeoutError when nothing is."""
    latest = time.monotonic() + WAIT_S
    while not (found := find()):
        if time.monotonic() > latest:
            raise TimeoutError("it does not happen")
        time.sleep(POLL_S)
    return found


def _text(value: str) -> dict[str, str]:
    return {"type": "string", "value": value}

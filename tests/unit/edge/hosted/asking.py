"""The page on a listener in process, over a server that answers as it is told."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa

from pinvault.client import OpenedSession, PinVerdict, SealingKey
from pinvault.edge import hosted
from pinvault.edge.log import Log
from pinvault.edge.sections import HostedPage, PageProgram
from tests.support.toy_edge import Served

ORIGIN, SHOP = "https://pin.example.com", "https://shop.example.com"
SESSION, SECRET = "s" * 22, "x" * 43
PAGE_SECRET = "p" * 43
ENVELOPE = "aa.bb.cc.dd.ee"
ROOT = Path(hosted.__file__).parent
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
LANGUAGES = ("en", "fr", "ar")


class FakeVault:
    """The server at the SDK's face: it answers what it is given to answer, and notes the calls."""

    sealing_profile = "sealed-card"

    def __init__(self) -> None:
        self.cards = self
        self.calls: list[Any] = []
        self.fails: Exception | None = None
        self.verdict = verdict(matches=True)

    def sealing_key(self) -> SealingKey:
        return SealingKey(kid="pin-seal.1", alg="RSA-OAEP", thumbprint="", public_key=KEY)

    def open_session(self, session_id: str, *, secret: str) -> OpenedSession:
        self._call(session_id, secret)
        return OpenedSession(
            page_secret=PAGE_SECRET,
            card_id="card_" + "g" * 26,
            last_four="2000",
            action="CHANGE",
            min_pin_length=4,
            max_pin_length=6,
            origin=SHOP,
            expires_at=datetime.fromtimestamp(1_700_000_000, UTC),
        )

    def submit_pin(self, session_id: str, **given: Any) -> PinVerdict:
        self._call(session_id, given)
        return self.verdict

    def _call(self, *call: Any) -> None:
        self.calls.append(call)
        if self.fails is not None:
            raise self.fails


def verdict(*, matches: bool, tries_left: int = 3, blocked: bool = False) -> PinVerdict:
    return PinVerdict(
        matches=matches,
        tries_left=tries_left,
        blocked=blocked,
        set_at=None,
        source_keys=(),
        stored_keys=(),
    )


def settings(**how: Any) -> HostedPage:
    program = PageProgram(origins=(SHOP, "https://other.example.com"), **how.pop("program", {}))
    return HostedPage(
        listener="x", public_url=how.pop("url", ORIGIN), programs={"debit": program}, **how
    )


class Page:
    """The page on a listener, in process."""

    def __init__(self, folder: Path = ROOT, **how: Any) -> None:
        self.vault: Any = FakeVault()
        made = hosted.build(
            settings(**how), self.vault, now=time.time, log=Log(None), folder=folder
        )
        self.served = Served(made)

    def get(self, path: str, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.served.call("GET", path, headers=named)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"origin": ORIGIN, "content-type": "application/json", **headers}
        return self.served.call("POST", path, content=content, headers=named)

    def open(self, session_id: str = SESSION) -> httpx.Response:
        return self.post("/pin/open", {"session_id": session_id, "secret": SECRET})

    def submit(self, **more: str) -> httpx.Response:
        body = {"session_id": SESSION, "page_secret": PAGE_SECRET, "new": ENVELOPE, **more}
        return self.post("/pin/submit", body)

"""A shop with cards of its own: how a program's site embeds the page on which PINs are entered.

Its one card is registered when it starts. `/session?action=` is all that its server does: it has a
session made, with a certificate that browsers never see, and gives the address of the page.
"""

import json
import secrets
import threading
import uuid
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from pinvault.client import Card, PinvaultError, Vault
from pinvault.client.card_values import SessionAction

HOST, PORT = "localhost", 8080
ORIGIN: Final = f"http://{HOST}:{PORT}"
"""What the development server's programs and the edge's page let embed it."""
PROGRAM: Final = "debit"
_PAN: Final = "4000001234562000"
_ACTIONS: Final[dict[str, SessionAction]] = {"set": "SET", "reset": "RESET", "change": "CHANGE"}
_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; connect-src 'self'; script-src 'self' {page}; "
    "frame-src {page}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class RunningShop:
    """The shop, for the length of a `with` block; `page_origin` is that of the PIN page."""

    def __init__(self, vault: Vault, *, page_origin: str, port: int = PORT) -> None:
        self._vault, self._page_origin = vault, page_origin
        self._card = _register(vault)
        shop = self

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_GET(self) -> None:
                """Answer it."""
                shop.answer(self)

            def log_message(self, *_: Any) -> None:
                """Keep still."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where browsers find it."""
        return f"http://{HOST}:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Give the page, one of its files, or a session's address."""
        address = urlsplit(request.path)
        name = address.path.strip("/") or "shop.html"
        if name == "session":
            action = _ACTIONS.get(parse_qs(address.query).get("action", [""])[0])
            _send(request, *self._session(action), "application/json")
        elif name in {"shop.html", "shop.css", "shop.js"}:
            body = resources.files(__name__).joinpath(name).read_bytes()
            kind = f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8"
            policy = _POLICY.format(page=self._page_origin)
            _send(request, HTTPStatus.OK, body, kind, ("Content-Security-Policy", policy))
        else:
            _send(request, HTTPStatus.NOT_FOUND, b"", "text/plain")

    def _session(self, action: SessionAction | None) -> tuple[HTTPStatus, bytes]:
        if action is None:
            return HTTPStatus.BAD_REQUEST, b"{}"
        cards, card_id = self._vault.cards, self._card.card_id
        if action != "SET" and cards.get(card_id).pin is None:
            return HTTPStatus.CONFLICT, b"{}"
        made = cards.create_session(card_id, action, origin=ORIGIN)
        path = f"/pin/{PROGRAM}/{action.lower()}"
        url = f"{self._page_origin}{path}#{made.session_id}.{made.secret}"
        return HTTPStatus.OK, json.dumps({"url": url, "origin": self._page_origin}).encode()


def _register(vault: Vault) -> Card:
    """Register a card that nobody has; a card number takes 1,000 of them here."""
    while True:
        try:
            return vault.cards.register(
                program=PROGRAM,
                pan=_PAN,
                expiry="2812",
                status="ACTIVE",
                sequence_number=f"{secrets.randbelow(1000):03}",
                external_id=f"shop-{uuid.uuid4()}",
            )
        except PinvaultError as error:
            if error.reason != "CARD_ALREADY_EXISTS":
                raise


def _send(
    request: BaseHTTPRequestHandler,
    status: HTTPStatus,
    body: bytes,
    media_type: str,
    *more: tuple[str, str],
) -> None:
    request.send_response(status)
    for name, value in (
        ("Content-Type", media_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *more,
    ):
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)

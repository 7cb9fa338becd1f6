"""HashDT, Rapyd and Interswitch over HTTP: a running edge before a running server."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pinvault.client import Card, Vault
from pinvault.development.edge import HASHDT, VENDORS, RunningEdge, Vendor
from pinvault.development.server import RunningServer
from tests.e2e.other_ends import jwk

ASSETS = Path(__file__).parents[1] / "assets" / "edge"
VENDORS_PAN, NUMBER = "5060990000000151002", "4012888888881881"
PIN, NEW, OTHER = "4831", "9027", "6184"
CHANGE = "/card-management/api/v1/card/changePin"
REISSUE = "/card-management/api/v1/card/reissue-pin"
RAPYD = "/v1/issuing/cards/pin"


@pytest.fixture(scope="module")
def edge(server: RunningServer) -> Iterator[RunningEdge]:
    with RunningEdge(server, page=True) as running:
        yield running


@pytest.fixture(scope="module")
def vault(server: RunningServer) -> Iterator[Vault]:
    with server.connect() as connected:
        yield connected


@pytest.fixture(scope="module")
def public(edge: RunningEdge) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=edge.url("public")) as opened:
        yield opened


@pytest.fixture(scope="module")
def issuers(edge: RunningEdge) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=edge.url("issuers"), verify=edge.tls()) as opened:
        yield opened


def vendor(kind: str) -> Vendor:
    return next(each for each in (*VENDORS, HASHDT) if each.kind == kind)


def register(vault: Vault, kind: str, *, pan: str, number: str = "001") -> Card:
    return vault.cards.register(
        program=vendor(kind).program,
        pan=pan,
        expiry="5004",
        status="ACTIVE",
        sequence_number=number,
        external_id=f"card_{uuid.uuid4()}",
    )


def has(vault: Vault, card: Card, digits: str) -> bool:
    sealed = vault.seal(digits, card=card.card_id, profile="sealed-card")
    return bool(vault.cards.check_pin(card.card_id, sealed))


def signed(content: bytes, **headers: str) -> dict[str, str]:
    """Sign as a caller of Rapyd does."""
    keys, salt, now = vendor("rapyd").kept, uuid.uuid4().hex[:12], str(int(time.time()))
    text = f"post{RAPYD}{salt}{now}{keys['access_key']}{keys['secret_key']}".encode() + content
    digest = hmac.digest(keys["secret_key"].encode(), text, hashlib.sha256).hex()
    signature = base64.b64encode(digest.encode()).decode()
    shown = {"access_key": keys["access_key"], "salt": salt, "timestamp": now}
    return {**shown, "signature": signature, "content-type": "application/json", **headers}


def test_hashdt_gives_an_address_that_opens_a_session_once(
    public: httpx.Client, vault: Vault, edge: RunningEdge
) -> None:
    card = register(vault, "hashdt", pan=VENDORS_PAN, number="002")
    for action in ("set", "reset", "change"):
        headers = {**vendor("hashdt").headers, "x-card-id": card.external_id or ""}
        headers["x-request-id"] = str(uuid.uuid4())
        path = f"/issuing/api/v1/card/{action}pin"
        answers = [public.get(path, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].content == answers[1].content
        assert answers[0].headers["cache-control"] == "no-store"
        url = answers[0].json()["data"][0]["set_pin_url"]
        page, _, fragment = url.partition("#")
        session, _, secret = fragment.partition(".")
        assert page.endswith(f"/pin/debit/{action}")
        opened = vault.cards.open_session(session, secret=secret)
        assert (opened.card_id, opened.action) == (card.card_id, action.upper())
        assert secret not in edge.log.read_text()


def test_rapyd_sets_a_pin_by_id_and_by_number(
    issuers: httpx.Client, vault: Vault, edge: RunningEdge
) -> None:
    card = register(vault, "rapyd", pan=NUMBER)

    def ask(name: str | None, pin: str, **headers: str) -> httpx.Response:
        content = json.dumps({"card": name, "new_pin": pin}).encode()
        return issuers.post(RAPYD, content=content, headers=signed(content, **headers))

    once = {"idempotency": str(uuid.uuid4())}
    first = ask(card.external_id, PIN, **once)
    assert (first.status_code, first.json()["status"]["status"]) == (200, "SUCCESS")
    assert first.json()["data"]["card_id"] == card.external_id
    assert first.json()["data"]["status"] == "ACT"
    assert ask(card.external_id, PIN, **once).content == first.content
    assert has(vault, card, PIN)
    assert ask(NUMBER, NEW).status_code == 200
    assert has(vault, card, NEW)
    weak = ask(card.external_id, "1111")
    assert (weak.status_code, weak.json()["status"]["status"]) == (400, "ERROR")
    content = b"{}"
    headers = signed(content)
    assert issuers.post(RAPYD, content=content, headers=headers).status_code == 400
    assert issuers.post(RAPYD, content=content, headers=headers).status_code == 401
    log = edge.log.read_text()
    assert not any(NUMBER in line or '"level": "error"' in line for line in log.splitlines())


def test_interswitch_changes_and_reissues_a_pin(
    public: httpx.Client, vault: Vault, server: RunningServer
) -> None:
    card = register(vault, "interswitch", pan=VENDORS_PAN)
    found = jwk(server, "interswitch-seal")
    n, e = (int.from_bytes(base64.urlsafe_b64decode(part + "==")) for part in (found.n, found.e))
    key = rsa.RSAPublicNumbers(e, n).public_key()
    sample = json.loads((ASSETS / "interswitch" / "change-pin.request.json").read_bytes())

    def field(digits: str) -> str:
        return key.encrypt(digits.encode().hex().encode(), padding.PKCS1v15()).hex()

    def ask(new: str, old: str | None, told: str) -> dict[str, Any]:
        body = {**sample, "pin": field(new), "oldPin": field(old) if old else ""}
        answer = public.post(
            CHANGE,
            params={"isActiveActive": told},
            json=body,
            headers=dict(vendor("interswitch").headers),
        )
        content: dict[str, Any] = answer.json()
        assert content.pop("correlationId") == answer.headers["x-request-id"]
        return content

    done = {"code": "00", "description": "Successful"}
    assert ask(PIN, None, "false") == done
    assert ask(NEW, OTHER, "true")["errors"] == [{"code": "55", "message": "Incorrect PIN"}]
    assert ask(NEW, PIN, "true") == done
    assert has(vault, card, NEW)

    again = public.post(
        CHANGE,
        params={"isActiveActive": "true"},
        json=sample,
        headers=dict(vendor("interswitch").headers),
    )
    assert again.json()["description"] == "Unable to decrypt pin"

    body = (ASSETS / "interswitch" / "reissue-pin.request.json").read_bytes()
    issued = public.post(REISSUE, content=body, headers=dict(vendor("interswitch").headers)).json()
    assert (issued["code"], len(issued["pin"]), len(issued["pinOffset"])) == ("00", 512, 4)
    assert has(vault, card, server.environment.partner().open_field(issued["pin"]))

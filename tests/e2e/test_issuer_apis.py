"""The vendors' APIs over HTTP, a running edge before a running server: samples byte for byte."""

import base64
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from pinvault.client import Card, ExternalId, Vault
from pinvault.development import samples
from pinvault.development.configuration import Settings
from pinvault.development.edge import Ports, RunningEdge
from pinvault.development.environment import Environment
from pinvault.development.ports import free_port
from pinvault.development.samples import vendor
from pinvault.development.server import RunningServer

ASSETS = Path(__file__).parents[1] / "assets" / "edge"
VENDORS_PAN, NUMBER = "5060990000000151002", "4012888888881881"
PIN, NEW, OTHER = "4831", "9027", "6184"
CHANGE = "/card-management/api/v1/card/changePin"
REISSUE = "/card-management/api/v1/card/reissue-pin"
RAPYD = "/v1/issuing/cards/pin"
HEX32, UUID = "[0-9a-f]{32}", "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def server(make_environment: Callable[[Settings], Environment]) -> Iterator[RunningServer]:
    """A server whose programs take the samples' PINs."""
    settings = Settings(per_caller="100000/s", per_pan="100000/s", any_pin=True)
    with RunningServer(make_environment(settings)) as running:
        yield running


@pytest.fixture(scope="module")
def edge(server: RunningServer) -> Iterator[RunningEdge]:
    with RunningEdge(server, ports=Ports(public=free_port()), page=True) as running:
        yield running


@pytest.fixture(scope="module")
def vault(server: RunningServer) -> Iterator[Vault]:
    """The server, where the samples' cards are registered."""
    with server.connect() as connected:
        samples.register(connected)
        yield connected


@pytest.fixture(scope="module")
def public(edge: RunningEdge) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=edge.url("public")) as opened:
        yield opened


@pytest.fixture(scope="module")
def issuers(edge: RunningEdge) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=edge.url("issuers"), verify=edge.tls()) as opened:
        yield opened


def register(vault: Vault, kind: str, *, pan: str, number: str = "001", program: str = "") -> Card:
    return vault.cards.register(
        program=program or vendor(kind).program,
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


def sample(name: str) -> bytes:
    (path,) = ASSETS.glob(f"{name}.*")
    return path.read_bytes()


def hidden(answer: bytes, members: Mapping[str, str]) -> str:
    """Hide what cannot be the same twice: members by name, each of a pattern, each there once."""
    text = answer.decode()
    for name, pattern in members.items():
        text, times = re.subn(rf'("{name}":"?){pattern}(?=[",}}])', r"\1…", text)
        assert times == 1, name
    return text


def require_sample(answer: httpx.Response, status: int, name: str, **members: str) -> None:
    """Hold that an answer is the asset byte for byte, but for members that cannot be the same."""
    found, wanted = (hidden(each, members) for each in (answer.content, sample(f"{name}.response")))
    assert (answer.status_code, found) == (status, wanted)
    assert answer.headers["content-type"] == "application/json"


def sent(client: httpx.Client, kind: str, path: str, content: bytes) -> httpx.Response:
    """Send a body as it is, as a caller of the vendor does."""
    headers = {"content-type": "application/json", **vendor(kind).headers}
    method = "PUT" if path.endswith("/pins") else "POST"
    return client.request(method, path, content=content, headers=headers)


@pytest.mark.usefixtures("vault")
def test_connectfis_samples(issuers: httpx.Client) -> None:
    statuses = {
        "set-pin": 200,
        "check-pin": 200,
        "card-not-found": 400,
        "pin-missing": 400,
        "pin-not-four-digits": 400,
    }
    for name, status in statuses.items():
        path = f"/ibis/card/{'check-pin' if name == 'check-pin' else 'set-pin'}"
        answer = sent(issuers, "connectfi", path, sample(f"connectfi/{name}.request"))
        require_sample(answer, status, f"connectfi/{name}", requestId=HEX32)


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("prefix", ["", "/v3"], ids=["plain", "v3"])
def test_marqetas_samples(issuers: httpx.Client, prefix: str) -> None:
    def ask(path: str, name: str, token: str = "") -> httpx.Response:
        content = sample(f"marqeta/{name}.request")
        if token:
            content = content.replace(json.loads(content)["control_token"].encode(), token.encode())
        return sent(issuers, "marqeta", prefix + path, content)

    def issued(name: str) -> str:
        answer = ask("/pins/controltoken", name)
        require_sample(answer, 201, "marqeta/controltoken", control_token=UUID)
        token: str = answer.json()["control_token"]
        return token

    token = issued("controltoken")
    answer = ask("/pins", "pins", token)
    assert (answer.status_code, answer.content) == (204, b"")
    require_sample(ask("/pins", "pins", token), 400, "marqeta/control-token-used")
    to_see = issued("controltoken-reveal")
    require_sample(ask("/pins/reveal", "reveal", to_see), 200, "marqeta/reveal")
    unknown = ask("/pins/controltoken", "card-not-found")
    require_sample(unknown, 404, "marqeta/card-not-found")


def test_rapyds_samples(issuers: httpx.Client, vault: Vault) -> None:
    card = vault.cards.get(ExternalId(program="credit", external_id=samples.RAPYD_CARD))
    issued = f"ci_{hashlib.sha256(card.card_id.encode()).hexdigest()[:32]}"
    of_card = {"id": f"ci_{HEX32}", "created_at": '[0-9]+(?=,"blocked_reason")'}

    def ask(name: str) -> httpx.Response:
        content = sample(f"rapyd/{name}.request")
        return issuers.post(RAPYD, content=content, headers=signed(content))

    for name in ("set-pin-by-id", "set-pin-by-number"):
        answer = ask(name)
        require_sample(answer, 200, "rapyd/set-pin", operation_id=UUID, **of_card)
        data = answer.json()["data"]
        assert (data["id"], data["created_at"]) == (issued, int(card.created_at.timestamp()))
        assert has(vault, card, samples.RAPYD_PIN)
    require_sample(ask("card-not-found"), 400, "rapyd/card-not-found", operation_id=UUID)


def test_interswitchs_samples(public: httpx.Client, vault: Vault, server: RunningServer) -> None:
    key = samples.interswitch_key(server)

    def ask(path: str, content: bytes) -> httpx.Response:
        return sent(public, "interswitch", f"{path}?isActiveActive=true", content)

    def change(**pins: str) -> httpx.Response:
        """Post the sample with PINs under our key in place of its own, which are the vendor's."""
        content = sample("interswitch/change-pin.request")
        for name, pin in pins.items():
            field = samples.interswitch_field(key, pin).encode()
            pattern = rb'("%s": ")[0-9a-f]{512}' % name.encode()
            content, times = re.subn(pattern, rb"\g<1>" + field, content)
            assert times == 1
        return ask(CHANGE, content)

    reissued = ask(REISSUE, sample("interswitch/reissue-pin.request"))
    drawn = {"correlationId": HEX32, "pin": "[0-9a-f]{512}", "pinOffset": "[0-9]{4}"}
    require_sample(reissued, 200, "interswitch/reissue-pin", **drawn)
    current = server.environment.partner().open_field(reissued.json()["pin"])
    wrong = f"{(int(current) + 1) % 10_000:04}"

    answers = {
        "change-pin": (200, change(pin=PIN, oldPin=current)),
        "wrong-old-pin": (400, change(pin=PIN, oldPin=wrong if wrong != PIN else OTHER)),
        "field-of-another-key": (400, change()),
        "card-not-found": (404, ask(CHANGE, sample("interswitch/card-not-found.request"))),
    }
    for name, (status, answer) in answers.items():
        require_sample(answer, status, f"interswitch/{name}", correlationId=HEX32)
    card = vault.cards.get(ExternalId(program="prepaid", external_id="interswitch-sample"))
    assert has(vault, card, PIN)


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("action", ["set", "reset", "change"])
def test_hashdts_samples(public: httpx.Client, edge: RunningEdge, action: str) -> None:
    first, *lines = sample(f"hashdt/{action}pin.request").decode().splitlines()
    method, path = first.split(" ")
    answer = public.request(method, path, headers=dict(line.split(": ", 1) for line in lines))
    (told,) = answer.json()["data"]
    assert told["set_pin_url"].startswith(f"{edge.url('public')}/pin/debit/{action}#")
    page = rf"https?://[a-z.]+(:[0-9]+)?/pin/debit/{action}#[\w-]+\.[\w-]+"
    require_sample(answer, 200, f"hashdt/{action}pin", set_pin_url=page)


def test_strangers_are_told_what_the_samples_tell(
    public: httpx.Client, issuers: httpx.Client
) -> None:
    bearer = {"authorization": "Bearer another"}
    token = {"x-connectfi-token": "another"}
    answer = issuers.post("/ibis/card/set-pin", headers=token)
    require_sample(answer, 401, "connectfi/unauthorized", requestId=HEX32)
    answer = issuers.post("/pins/controltoken", auth=("another", "another"))
    require_sample(answer, 401, "marqeta/unauthorized")
    answer = issuers.post(RAPYD, headers={**signed(b""), "signature": "another"})
    require_sample(answer, 401, "rapyd/unauthenticated", operation_id=UUID)
    answer = public.post(CHANGE, headers=bearer)
    require_sample(answer, 401, "interswitch/unauthorized", correlationId=HEX32)
    answer = public.get("/issuing/api/v1/card/setpin", headers=bearer)
    require_sample(answer, 401, "hashdt/unauthorized")


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
    register(vault, "rapyd", pan=NUMBER, number="002", program="debit")

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


def test_interswitch_sets_and_changes_a_pin(
    public: httpx.Client, vault: Vault, server: RunningServer
) -> None:
    card = register(vault, "interswitch", pan=VENDORS_PAN, number="003")
    key = samples.interswitch_key(server)
    asked = {**json.loads(sample("interswitch/change-pin.request")), "seqNr": "003"}

    def field(digits: str | None) -> str:
        return samples.interswitch_field(key, digits) if digits else ""

    def ask(new: str, old: str | None, told: str) -> dict[str, Any]:
        body = {**asked, "pin": field(new), "oldPin": field(old)}
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

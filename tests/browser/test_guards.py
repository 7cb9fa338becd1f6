"""Who gets nothing from the page: strangers, thieves of an address or a secret, other sites."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route

from tests.browser.site import (
    NEIGHBOUR,
    NEW,
    OTHER,
    SHOP,
    STRANGER,
    Site,
    Visit,
    Watch,
    is_in,
    send,
)

HIDDEN = """(url) => {
  window.heard = [];
  addEventListener("message", ({ data }) => heard.push(data));
  const frame = document.createElement("iframe");
  frame.referrerPolicy = "no-referrer";
  frame.src = url;
  document.body.append(frame);
}"""


@pytest.fixture
def client(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.origin, headers={"origin": site.origin}) as opened:
        yield opened


def told(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json().get("error", "")


def opening(visit: Visit) -> dict[str, str]:
    return {"session_id": visit.session_id, "secret": visit.secret}


def submitting(visit: Visit, page_secret: str, *, pin: str = NEW) -> dict[str, Any]:
    sealed = visit.vault.seal(pin, card=visit.card.card_id, profile="sealed-card")
    new = sealed.ciphertext.decode()
    return {"session_id": visit.session_id, "page_secret": page_secret, "new": new}


def test_another_site_cannot_embed_the_page(site: Site) -> None:
    visit = site.visit("SET")
    with site.page() as page:
        watch = Watch(page)
        frame = site.mount(page, visit.url, at=STRANGER)
        page.wait_for_timeout(500)
        assert not frame.url.startswith(site.origin)
        assert any("frame-ancestors" in said for said in watch.console)
        assert not watch.asked("/pin/open")
        assert watch.heard() == []


def forget_ancestors(page: Page) -> None:
    """Be a browser that has no `location.ancestorOrigins`: a page knows its referrer alone."""

    def change(route: Route, old: str, new: str) -> None:
        answer = route.fetch()
        found = answer.text()
        assert re.search(old, found)
        headers = {k: v for k, v in answer.headers.items() if k != "content-encoding"}
        route.fulfill(response=answer, headers=headers, body=re.sub(old, new, found))

    page.route("**/pin/credit/*", lambda route: change(route, r' integrity="[^"]*"', ""))
    page.route("**/pin.js*", lambda route: change(route, r"location\.ancestorOrigins", "undefined"))


@pytest.fixture(params=["by its ancestors", "by its referrer"])
def framed(site: Site, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A browser that tells a page who embeds it in one way or the other."""
    with site.page() as page:
        if request.param == "by its referrer":
            forget_ancestors(page)
        yield page


def test_the_site_of_the_session_is_known(site: Site, framed: Page) -> None:
    visit = site.visit("SET")
    send(frame := site.open(framed, visit))
    is_in(frame, "done")
    framed.wait_for_function("window.ended")
    assert framed.evaluate("window.ended") == {"outcome": "done"}


def test_a_site_that_may_embed_the_page_gets_no_other_s_session(site: Site, framed: Page) -> None:
    visit = site.visit("SET")
    watch = Watch(framed)
    frame = site.mount(framed, visit.url, at=NEIGHBOUR)
    is_in(frame, "closed")
    assert not frame.locator("#new").is_visible()
    framed.wait_for_function("window.ended")
    assert framed.evaluate("window.ended") == {"outcome": "failed", "reason": "closed"}
    assert {told["type"] for _, told in watch.heard()} == {"resized", "failed"}


@pytest.mark.parametrize("at", [SHOP, NEIGHBOUR])
def test_who_hides_whose_page_it_is_gets_no_session(site: Site, at: str) -> None:
    visit = site.visit("SET")
    with site.page() as page:
        forget_ancestors(page)
        watch = Watch(page)
        page.goto(at)
        page.evaluate(HIDDEN, visit.url)
        frame = page.wait_for_selector("iframe").content_frame()
        assert frame is not None
        is_in(frame, "closed")
        assert not watch.asked("/pin/open")
        assert watch.heard() == []


def test_an_address_opens_once(site: Site, client: httpx.Client) -> None:
    visit = site.visit("SET")
    with site.page() as page:
        site.open(page, visit)
        assert told(client.post("/pin/open", json=opening(visit))) == (410, "used")
    with site.page() as page:
        frame = site.mount(page, visit.url)
        is_in(frame, "used")
        page.wait_for_function("window.ended")
        assert page.evaluate("window.ended") == {"outcome": "failed", "reason": "used"}


def test_a_page_secret_is_good_for_one_pin(site: Site, client: httpx.Client) -> None:
    visit, other = site.visit("SET"), site.visit("SET")
    with site.page() as page:
        watch = Watch(page)
        send(frame := site.open(page, visit))
        is_in(frame, "done")
        (sent,) = watch.asked("/pin/submit")
    body = json.loads(sent.post_data or "")
    assert told(client.post("/pin/submit", json=body)) == (410, "used")
    again = submitting(visit, body["page_secret"], pin=OTHER)
    assert told(client.post("/pin/submit", json=again)) == (410, "used")
    assert visit.has(NEW)
    # Neither the secret nor the envelope is good in another session.
    page_secret = client.post("/pin/open", json=opening(other)).json()["page_secret"]
    stolen = submitting(other, body["page_secret"])
    assert told(client.post("/pin/submit", json=stolen)) == (410, "used")
    replayed = {**body, "session_id": other.session_id, "page_secret": page_secret}
    assert told(client.post("/pin/submit", json=replayed))[1] == "unavailable"
    assert site.vault.cards.get(other.card.card_id).pin is None


@pytest.mark.parametrize("origin", [SHOP, STRANGER, "null", None])
def test_only_the_page_s_own_origin_may_call(site: Site, origin: str | None) -> None:
    visit = site.visit("SET")
    headers = {} if origin is None else {"origin": origin}
    for path, body in (
        ("/pin/open", opening(visit)),
        ("/pin/submit", submitting(visit, visit.secret)),
    ):
        answer = httpx.post(f"{site.origin}{path}", json=body, headers=headers)
        assert told(answer) == (400 if origin is None else 403, "unavailable")
        assert "access-control-allow-origin" not in answer.headers


def test_a_form_of_another_page_cannot_call(site: Site, client: httpx.Client) -> None:
    text = json.dumps(opening(site.visit("SET")))
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = client.post("/pin/open", content=text, headers={"content-type": kind})
        assert told(answer) == (400, "unavailable")


def test_a_shop_s_script_can_read_nothing_of_the_page(site: Site) -> None:
    visit = site.visit("SET")
    reach = """async ([origin, body]) => {
      const tries = [
        () => document.querySelector("iframe").contentDocument.title,
        () => document.querySelector("iframe").contentWindow.document.title,
        async () => (await fetch(origin + "/jwks.json")).text(),
        async () => (await fetch(origin + "/pin/credit/set")).text(),
        async () => (await fetch(origin + "/pin/open", { method: "POST", body })).text(),
      ];
      const found = [];
      for (const one of tries) try { found.push(await one()) } catch (e) { found.push(e.name) }
      return found;
    }"""
    with site.page() as page:
        site.open(page, visit)
        body = json.dumps(opening(site.visit("SET")))
        found = page.evaluate(reach, [site.origin, body])
    assert found == ["TypeError", "SecurityError", "TypeError", "TypeError", "TypeError"]

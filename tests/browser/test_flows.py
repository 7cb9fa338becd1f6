"""Cardholders set, reset and change a PIN in a frame of a shop's page, to the end."""

import json
import re

import pytest
from playwright.sync_api import Route

from pinvault.client.card_values import SessionAction
from pinvault.development.shop import RunningShop
from tests.browser.site import (
    CURRENT,
    NEW,
    SHOP,
    Site,
    Watch,
    fill,
    is_in,
    is_open,
    send,
)
from tests.support.leaks import without_chance

STORED = """async () => JSON.stringify([
  {...localStorage}, {...sessionStorage}, document.cookie, name, history.state,
  await indexedDB.databases(), await caches.keys(), location.href,
])"""


@pytest.mark.parametrize("action", ["SET", "RESET", "CHANGE"])
def test_a_pin_comes_to_the_vault_and_is_seen_nowhere(site: Site, action: SessionAction) -> None:
    visit = site.visit(action)
    with site.page() as page:
        watch = Watch(page)
        frame = site.open(page, visit)
        send(frame)
        is_in(frame, "done")
        page.wait_for_function("window.ended")

        assert page.evaluate("window.ended") == {"outcome": "done"}
        assert {told["type"] for _, told in watch.heard()} == {"ready", "resized", "done"}
        assert {origin for origin, _ in watch.heard()} == {site.origin}
        assert watch.origins() == {site.origin, SHOP}
        assert watch.console == []

        stored = frame.evaluate(STORED)
        said = json.dumps(watch.heard())
        addresses = [each.url.replace(visit.url, "") for each in watch.requests]
        for pin in (NEW, CURRENT):
            for seen in (*watch.bodies(), *addresses, stored, said):
                assert pin not in seen
        values = "[...document.querySelectorAll('input')].map((each) => each.value)"
        assert frame.evaluate(values) == ["", "", ""]

        assert [visit.secret in body for body in watch.bodies()].count(True) == 1
        assert visit.secret not in stored + said + "".join(addresses)
        (sent,) = watch.asked("/pin/submit")
        wanted = {"session_id", "page_secret", "new", *(["current"] if action == "CHANGE" else [])}
        body = json.loads(sent.post_data or "")
        assert body.keys() == wanted
    assert visit.has(NEW)
    log = without_chance(site.edge.log.read_text())
    for secret in (visit.secret, visit.session_id, body["page_secret"], body["new"], NEW):
        assert secret not in log


@pytest.mark.parametrize("language", ["en", "fr", "ar"])
def test_a_slow_phone_gets_less_than_forty_kilobytes(site: Site, language: str) -> None:
    """Uncompressed: the document, its two files and the two answers; nothing else is asked for."""
    visit = site.visit("CHANGE")
    with site.page(extra_http_headers={"Accept-Encoding": "identity"}) as page:
        watch = Watch(page)
        page.goto(visit.url.replace("#", f"?language={language}#"))
        is_open(page.main_frame)
        assert page.evaluate("document.documentElement.lang") == language
        paths = [each.url.split("#")[0].split("?")[0] for each in watch.requests]
        assert len(paths) == len(set(paths)) == 5
        sizes = {path: len(watch.asked(path)[0].response().body()) for path in paths}
    assert sum(sizes.values()) < 40_000, sizes


@pytest.mark.parametrize(
    ("language", "title", "card"),
    [
        ("en", "Change your card PIN", "Card ending in 4567"),
        ("fr", "Changez le code de votre carte", "Carte se terminant par 4567"),
        ("ar", "غيّر الرقم السري لبطاقتك", "البطاقة المنتهية بالأرقام 4567"),
    ],
)
def test_the_page_says_whose_card_it_is(site: Site, language: str, title: str, card: str) -> None:
    """Before anything is entered, to eyes and ears: a session may be another's."""
    visit = site.visit("CHANGE")
    with site.page() as page:
        frame = site.open(page, visit, query=f"?language={language}")
        for role in ("heading", "form"):
            frame.get_by_role(role, name=f"{title} {card}", exact=True).wait_for()
        frame.locator("[role=status]", has_text=card).wait_for(state="attached")
        assert frame.title() == f"{title} \u2013 {card}"
        digits = frame.locator("#title bdi")
        assert digits.inner_text() == "4567"
        assert digits.evaluate("(it) => getComputedStyle(it).direction") == "ltr"


def test_the_form_stands_one_round_trip_after_the_document(site: Site) -> None:
    """It takes PINs while the session is still being opened, and goes on by itself."""
    visit = site.visit("SET")
    with site.page() as page:
        held = []
        page.route(re.compile("/pin/open|/jwks.json"), lambda route: held.append(route))
        watch = Watch(page)
        page.goto(visit.url)
        fill(page.main_frame)
        page.click("#submit")
        is_in(page.main_frame, "working")
        loaded = {each.url.split("#")[0].split("?")[0] for each in watch.requests}
        loaded -= {f"{site.origin}/pin/open", f"{site.origin}/jwks.json"}
        assert len(loaded) == 3
        for route in held:
            route.continue_()
        is_in(page.main_frame, "done")
    assert visit.has(NEW)


def test_a_phone_s_keypad_in_another_script_is_understood(site: Site) -> None:
    visit = site.visit("SET")
    with site.page() as page:
        frame = site.open(page, visit, query="?language=ar")
        for name in ("new", "confirm"):
            frame.focus(f"#{name}")
            page.keyboard.insert_text("٩٣٨٢٧٤")
        page.keyboard.press("Enter")
        is_in(frame, "done")
        assert frame.evaluate("document.dir") == "rtl"
    assert visit.has(NEW)


def test_the_shop_of_the_development_environment_sells_what_it_shows(site: Site) -> None:
    """It is looked at under its own address; what it answers comes from where it runs."""
    with RunningShop(site.vault, page_origin=site.origin, port=0) as shop, site.page() as page:
        page.unroute_all()
        page.context.unroute_all()
        page.context.route(
            f"{SHOP}/**", lambda route: route.fulfill(response=route.fetch(url=at(shop, route)))
        )
        watch = Watch(page)
        for action, said in (("change", "Set a PIN first"), ("set", "All done")):
            page.goto(f"{SHOP}/")
            page.click(f"[data-action={action}]")
            if action == "set":
                frame = page.wait_for_selector("iframe").content_frame()
                is_open(frame)
                send(frame, new="9382")
                is_in(frame, "done")
            page.wait_for_selector(f"#outcome:has-text('{said}')")
        assert [said for said in watch.console if "409" not in said] == []


def at(shop: RunningShop, route: Route) -> str:
    return route.request.url.replace(f"{SHOP}/", shop.url)

"""The page in Debian's Firefox, from a shop's embedding it to the PIN in the vault.

The other tests of this package know Chromium alone, and browsers differ where the page needs them
most: which `Origin` a request has, how a frame learns who embeds it, what a policy refuses, how
keys become input. So these walk through all of that once, with real keys and clicks. Beside a PIN
that arrives, what counts is a console without a word: a policy's refusal would stand there.
"""

from collections.abc import Iterator

import pytest

from pinvault.client.card_values import SessionAction
from tests.browser.firefox import Firefox, Tab, running, until
from tests.browser.site import CURRENT, NEIGHBOUR, NEW, SHOP, STRANGER, Site

SCREEN = {"width": 390, "height": 1200}  # clicks do not scroll
PAGE = """<!doctype html><html lang=en><title>A shop</title><main id=place></main>
<script type=module src=ORIGIN/static/pinvault.js></script>
<script type=module>
  const [element, origin] = [document.getElementById("place"), "ORIGIN"];
  window.heard = [];
  window.ended = null;
  const onEvent = ({ type }) => heard.push(type);
  window.embed = async (url) => {
    window.ended = await pinvault.mount(element, { url, origin, onEvent });
  };
</script>"""
LEFT = """() => [
  location.hash, document.cookie, history.state,
  ...[...document.querySelectorAll("input")].map((each) => each.value),
]"""


@pytest.fixture(scope="module")
def firefox(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    page = PAGE.replace("ORIGIN", site.origin)
    sites = {f"{origin}/": page for origin in (SHOP, NEIGHBOUR, STRANGER)}
    with running(tmp_path_factory.mktemp("firefox"), sites) as up:
        yield up


@pytest.fixture
def tab(firefox: Firefox) -> Iterator[Tab]:
    firefox.events.clear()
    context = firefox.ask("browsingContext.create", type="tab")["context"]
    firefox.ask("browsingContext.setViewport", context=context, viewport=SCREEN)
    yield Tab(firefox, context)
    firefox.ask("browsingContext.close", context=context)


def embed(tab: Tab, url: str, *, at: str = SHOP) -> Tab:
    """Have a shop embed the page, and give the frame."""
    tab.goto(f"{at}/")
    tab.call("(url) => { embed(url) }", url)
    return tab.frame()


def heard(tab: Tab) -> list[str]:
    types: list[str] = tab.call("() => heard")
    return types


def said(tab: Tab) -> list[str]:
    return [entry["text"] for entry in tab.firefox.heard("log.entryAdded")]


def asked(tab: Tab, path: str) -> bool:
    sent = tab.firefox.heard("network.beforeRequestSent")
    return any(each["request"]["url"].endswith(path) for each in sent)


@pytest.mark.parametrize("action", ["SET", "CHANGE"])
def test_a_pin_comes_to_the_vault(site: Site, tab: Tab, action: SessionAction) -> None:
    visit = site.visit(action)
    frame = embed(tab, visit.url)
    until(lambda: "ready" in heard(tab))
    pins = {"#current": CURRENT} if action == "CHANGE" else {}
    for field, pin in {**pins, "#new": NEW, "#confirm": NEW}.items():
        frame.click(field)
        frame.type(pin)
    frame.click("#submit")

    assert until(lambda: tab.call("() => ended")) == {"outcome": "done"}
    assert visit.has(NEW)
    assert set(heard(tab)) == {"ready", "resized", "done"}
    assert frame.call(LEFT) == ["", "", None, "", "", ""]
    assert said(tab) == []


def test_another_site_cannot_embed_the_page(site: Site, tab: Tab) -> None:
    embed(tab, site.visit("SET").url, at=STRANGER)
    assert "frame-ancestors" in until(lambda: "".join(said(tab)))
    assert not asked(tab, "/pin/open")
    assert heard(tab) == []


def test_a_site_that_may_embed_the_page_gets_no_other_s_session(site: Site, tab: Tab) -> None:
    visit = site.visit("SET")
    frame = embed(tab, visit.url, at=NEIGHBOUR)
    closed = {"outcome": "failed", "reason": "closed"}
    assert until(lambda: tab.call("() => ended")) == closed
    assert not frame.call("() => document.getElementById('new').checkVisibility()")
    assert "ready" not in heard(tab)

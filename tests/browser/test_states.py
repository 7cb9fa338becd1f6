"""Every state of the page, each with no fault that axe-core knows, in light and dark, left to right
and right to left."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Frame, Page, Route

from pinvault.edge import hosted
from tests.browser.site import (
    NEIGHBOUR,
    NEW,
    OTHER,
    SHOP,
    WEAK,
    Site,
    Watch,
    fill,
    is_in,
    is_open,
    is_refused,
    send,
)

AXE = (Path(__file__).parent / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """async (values) => (await axe.run(document, {
  runOnly: { type: "tag", values }, resultTypes: ["violations"],
})).violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])"""
CATALOGUE = Path(hosted.__file__).parent / "catalogue"
LOOKS = [("en", "light"), ("ar", "dark")]
Embed = Callable[..., Frame]


class Cardholder:
    """Somebody at the page, and a stern judge of it."""

    def __init__(self, site: Site, page: Page, language: str) -> None:
        self.site, self.page, self.query = site, page, f"?language={language}"
        self.texts = json.loads((CATALOGUE / f"{language}.json").read_text())

    def comes(self, action: Any, *, opens: bool = True, at: str = SHOP, **whose: str) -> Frame:
        """Come to the page of a new session."""
        visit = self.site.visit(action, **whose)
        frame = self.site.mount(self.page, visit.url.replace("#", f"{self.query}#"), at=at)
        if opens:
            is_open(frame)
        return frame

    def judge(self, frame: Frame, state: str) -> None:
        """Hold that nothing is wrong with what is seen now."""
        if not frame.evaluate("'axe' in window"):
            frame.evaluate(f"{AXE};0")
        assert frame.evaluate(RUN, RULES) == [], state

    def tries(self, kinds: tuple[str, ...], n: str) -> str:
        """Give the words for so many tries, in the first kind of plural that there is."""
        forms = self.texts["tries"]
        words = next(forms[kind] for kind in kinds if kind in forms)
        return f"{self.texts['wrong']} {words.replace('{n}', n)}"

    def ended(self) -> Any:
        """Give what the shop was told."""
        self.page.wait_for_function("window.ended")
        return self.page.evaluate("window.ended")


@pytest.fixture(params=LOOKS, ids=["english-light", "arabic-dark"])
def holder(site: Site, request: pytest.FixtureRequest) -> Iterator[Cardholder]:
    language, scheme = request.param
    # axe-core cannot run under the page's own policy.
    with site.page(color_scheme=scheme, reduced_motion="reduce", bypass_csp=True) as page:
        yield Cardholder(site, page, language)


@contextmanager
def answered(page: Page, path: str, handler: Callable[[Route], None]) -> Iterator[None]:
    """Let something else come back for a while."""
    page.route(f"**{path}", handler)
    yield
    page.unroute(f"**{path}")


def test_a_change_from_the_first_fault_to_the_last_try(holder: Cardholder) -> None:
    frame = holder.comes("CHANGE")
    holder.judge(frame, "ready")
    frame.click("#submit")
    assert is_refused(frame, at="current-error")
    assert frame.evaluate("document.activeElement.id") == "current"
    holder.judge(frame, "empty")
    fill(frame, confirm=OTHER)
    assert is_refused(frame, at="confirm-error")
    frame.click("[aria-controls=new]")
    holder.judge(frame, "mismatch, and shown")
    send(frame, new=WEAK)
    assert is_refused(frame, at="new-error")
    holder.judge(frame, "weak")
    for kinds, n in ((("two", "other"), "2"), (("one",), "1")):
        assert tries_told(frame) == holder.tries(kinds, n)
        holder.judge(frame, f"wrong, {n} left")
    send(frame, current=OTHER)
    is_in(frame, "blocked")
    holder.judge(frame, "blocked")
    assert holder.ended() == {"outcome": "failed", "reason": "blocked"}


def tries_told(frame: Frame) -> str:
    """Enter a wrong PIN, and give what is said of it."""
    fill(frame, current=OTHER)
    assert frame.inner_text("#current-error") == ""
    frame.click("#submit")
    return is_refused(frame, at="current-error")


def test_a_current_pin_that_cannot_be_one_is_told_at_its_field(holder: Cardholder) -> None:
    watch = Watch(holder.page)
    frame = holder.comes("CHANGE", program="debit", pin="5294")
    for pin in ("529", "52947"):
        send(frame, current=pin, new="9382")
        told = holder.texts["length"]["exact"].replace("{minimum}", "4")
        assert is_refused(frame, at="current-error") == told
        assert frame.evaluate("document.activeElement.id") == "current"
    holder.judge(frame, "too long")
    assert not watch.asked("/pin/submit")
    send(frame, current="5294", new="9382")
    is_in(frame, "done")
    assert holder.ended() == {"outcome": "done"}


def test_what_the_network_does_on_the_way(holder: Cardholder) -> None:
    page = holder.page
    held: list[Route] = []
    with answered(page, "/pin/open", lambda route: held.append(route)):
        frame = holder.comes("SET", opens=False)
        is_in(frame, "ready")
        fill(frame)
        frame.click("#submit")
        is_in(frame, "working")
        holder.judge(frame, "working")
        held[0].abort()
        is_in(frame, "offline")
        holder.judge(frame, "offline")
    with answered(page, "/pin/open", lambda route: route.fulfill(status=503, body="{}")):
        frame.click("#again")
        is_in(frame, "unavailable")
        holder.judge(frame, "unavailable")
    frame.click("#again")
    is_open(frame)
    with answered(page, "/pin/submit", lambda route: route.abort()):
        send(frame)
        assert is_refused(frame, at="notice")
        holder.judge(frame, "not sent")
    frame.click("#submit")
    is_in(frame, "done")
    holder.judge(frame, "done")
    assert holder.ended() == {"outcome": "done"}


def test_other_ends(holder: Cardholder) -> None:
    frame = holder.comes("RESET")
    frame.click("#cancel")
    is_in(frame, "cancelled")
    holder.judge(frame, "cancelled")
    assert holder.ended() == {"outcome": "cancelled"}
    frame = holder.comes("SET", opens=False, at=NEIGHBOUR)
    is_in(frame, "closed")
    holder.judge(frame, "closed")
    assert holder.ended() == {"outcome": "failed", "reason": "closed"}


def test_before_and_after_the_one_time_that_an_address_is_good(holder: Cardholder) -> None:
    held: list[Route] = []
    with answered(holder.page, "/pin/open", lambda route: held.append(route)):
        frame = holder.comes("SET", opens=False, program="prepaid")
        is_in(frame, "loading")
        frame.wait_for_selector("#skeleton i >> nth=0")
        holder.judge(frame, "loading")
        held[0].continue_()
    is_open(frame)
    frame.goto(frame.url)
    is_in(frame, "used")
    holder.judge(frame, "used")
    assert holder.ended() == {"outcome": "failed", "reason": "used"}


def test_the_answer_that_never_came_is_not_called_a_failure(holder: Cardholder) -> None:
    """The server has set the PIN, and nobody heard of it: the page says that it cannot tell."""

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    frame = holder.comes("SET")
    with answered(holder.page, "/pin/submit", lose):
        send(frame)
        assert is_refused(frame, at="notice")
    frame.click("#submit")
    is_in(frame, "unsure")
    holder.judge(frame, "unsure")
    assert holder.ended() == {"outcome": "failed", "reason": "unsure"}


LOST: tuple[tuple[str, str, Callable[[Route], None]], ...] = (
    ("refused", "cancelled", lambda route: route.fulfill(status=422, json={"error": "refused"})),
    ("by a proxy", "cancelled", lambda route: route.fulfill(status=413, body="<html>")),
    ("away", "unsure", lambda route: route.fulfill(status=503, json={"error": "unavailable"})),
    ("cut short", "unsure", lambda route: route.fulfill(status=200, body='{"outcome')),
    ("no answer", "unsure", lambda route: route.abort()),
)


@pytest.mark.parametrize(("state", "answer"), [row[1:] for row in LOST], ids=[r[0] for r in LOST])
def test_only_what_may_have_been_done_is_in_doubt(
    site: Site, state: str, answer: Callable[[Route], None]
) -> None:
    visit = site.visit("SET")
    with site.page() as page:
        frame = site.open(page, visit)
        with answered(page, "/pin/submit", answer):
            send(frame)
            assert is_refused(frame, at="notice")
        frame.click("#cancel")
        is_in(frame, state)


def test_ten_minutes_are_all_there_is(holder: Cardholder) -> None:
    page = holder.page
    page.clock.install()
    watch = Watch(page)
    frame = holder.comes("SET")
    times = holder.texts["time"]
    assert frame.inner_text("#time") == times.get("few", times["other"]).replace("{n}", "10")
    frame.fill("#new", NEW)
    page.clock.fast_forward("08:30")
    frame.wait_for_selector("#time.soon")
    holder.judge(frame, "soon")
    page.clock.fast_forward("02:00")
    is_in(frame, "expired")
    holder.judge(frame, "expired")
    assert frame.input_value("#new") == ""
    assert holder.ended() == {"outcome": "failed", "reason": "expired"}
    assert not watch.asked("/pin/submit")


def test_a_page_that_waits_for_its_cardholder_is_not_given_up(site: Site) -> None:
    """Half an hour without a connection, at the frame's first sight: the shop waits as well."""
    visit = site.visit("SET")
    with site.page() as page:
        page.clock.install()
        with answered(page, "/pin/open", lambda route: route.abort()):
            frame = site.mount(page, visit.url)
            is_in(frame, "offline")
        page.clock.fast_forward("30:00")
        assert page.evaluate("window.ended") is None
        frame.click("#again")
        is_open(frame)
        send(frame)
        is_in(frame, "done")
        page.wait_for_function("window.ended")
        assert page.evaluate("window.ended") == {"outcome": "done"}


def test_a_page_that_comes_too_late_may_still_do_it(site: Site) -> None:
    visit = site.visit("SET")
    with site.page() as page:
        page.clock.install()
        held: list[Route] = []
        page.route("**/static/pin.js*", lambda route: held.append(route))
        frame = site.mount(page, visit.url)
        frame.wait_for_selector("#page")
        page.clock.fast_forward("00:29")
        assert page.evaluate("window.ended") is None
        page.clock.fast_forward("00:02")
        page.wait_for_function("window.ended")
        held[0].continue_()
        send(frame)
        is_in(frame, "done")
        assert page.evaluate("window.ended") == {"outcome": "failed", "reason": "timeout"}
    assert visit.has(NEW)


def test_without_a_session_the_page_says_so(site: Site) -> None:
    with site.page() as page:
        page.goto(f"{site.origin}/pin/credit/set#nothing")
        is_in(page.main_frame, "used")
        assert page.url == f"{site.origin}/pin/credit/set"


def test_webviews_are_told_the_same(site: Site) -> None:
    visit = site.visit("SET")
    bridges = """
      window.said = { ios: [], android: [], native: [] };
      window.webkit = { messageHandlers: { pinvault: { postMessage: (e) => said.ios.push(e) } } };
      window.PinVault = { postMessage: (text) => said.android.push(JSON.parse(text)) };
      window.ReactNativeWebView = { postMessage: (text) => said.native.push(JSON.parse(text)) };
    """
    with site.page() as page:
        page.add_init_script(bridges)
        page.goto(visit.url)
        is_open(page.main_frame)
        send(page.main_frame)
        is_in(page.main_frame, "done")
        said = page.evaluate("said")
    assert said["ios"] == said["android"] == said["native"]
    assert {event["type"] for event in said["ios"]} == {"ready", "resized", "done"}
    assert NEW not in json.dumps(said)
    assert visit.has(NEW)

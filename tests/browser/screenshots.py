"""Takes the pictures of docs/hosted-page.md: `python -m tests.browser.screenshots`.

Texts need a font for Arabic; these were taken with Debian's fonts-noto-core.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from playwright.sync_api import Frame, Locator, Page, Route

from pinvault.client.card_values import SessionAction
from pinvault.development import configuration
from pinvault.development.configuration import Settings
from pinvault.development.environment import prepare
from pinvault.development.server import RunningServer
from pinvault.development.shop import RunningShop
from tests.browser.site import (
    OTHER,
    SHOP,
    WEAK,
    Site,
    fill,
    is_in,
    is_open,
    is_refused,
    running,
    send,
)

TARGET = Path(__file__).parents[2] / "docs" / "screenshots"
PHONE, DESKTOP = {"width": 390, "height": 900}, {"width": 1180, "height": 800}
Steps = Callable[[Page, Frame], None]
HELD: list[Route] = []


def loading(page: Page, frame: Frame) -> None:
    page.route("**/pin/open", lambda route: HELD.append(route))
    frame.goto(urljoin(frame.url, f"/pin/prepaid/set#{'a' * 22}.{'b' * 43}"))
    is_in(frame, "loading")


def ready(page: Page, frame: Frame) -> None:
    fill(frame)
    frame.click("[aria-controls=new]")


def mismatch(page: Page, frame: Frame) -> None:
    send(frame, confirm=OTHER)
    is_refused(frame, at="confirm-error")


def weak(page: Page, frame: Frame) -> None:
    send(frame, new=WEAK)
    is_refused(frame, at="new-error")


def last_try(page: Page, frame: Frame) -> None:
    for _ in range(2):
        send(frame, current=OTHER)
        is_in(frame, "ready")
        is_refused(frame, at="current-error")


def blocked(page: Page, frame: Frame) -> None:
    last_try(page, frame)
    send(frame, current=OTHER)
    is_in(frame, "blocked")


def expired(page: Page, frame: Frame) -> None:
    page.clock.fast_forward("10:30")
    is_in(frame, "expired")


def used(page: Page, frame: Frame) -> None:
    frame.goto(frame.url)  # what stood after the # is gone
    is_in(frame, "used")


def offline(page: Page, frame: Frame) -> None:
    page.context.set_offline(True)
    send(frame)
    is_refused(frame, at="notice")
    page.context.set_offline(False)


def done(page: Page, frame: Frame) -> None:
    send(frame)
    is_in(frame, "done")


PHONES: tuple[tuple[str, SessionAction, str, str, Steps], ...] = (
    ("loading-light", "SET", "en", "light", loading),
    ("set-light", "SET", "en", "light", ready),
    ("mismatch-light", "RESET", "en", "light", mismatch),
    ("weak-dark", "SET", "en", "dark", weak),
    ("last-try-light", "CHANGE", "fr", "light", last_try),
    ("change-arabic-light", "CHANGE", "ar", "light", ready),
    ("change-arabic-dark", "CHANGE", "ar", "dark", ready),
    ("blocked-light", "CHANGE", "en", "light", blocked),
    ("expired-dark", "SET", "fr", "dark", expired),
    ("used-light", "SET", "en", "light", used),
    ("offline-dark", "RESET", "en", "dark", offline),
    ("done-dark", "CHANGE", "en", "dark", done),
)


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    with site() as up:
        for name, action, language, scheme, steps in PHONES:
            with up.page(viewport=PHONE, color_scheme=scheme) as page:
                page.clock.install()
                frame = up.open(page, up.visit(action), query=f"?language={language}")
                steps(page, frame)
                take(page.locator("iframe"), f"phone-{name}")
                while HELD:
                    HELD.pop().abort()
        for scheme in ("light", "dark"):
            in_the_shop(up, scheme)
        with up.page(viewport=DESKTOP, color_scheme="light") as page:
            page.goto(up.visit("RESET").url)
            is_open(page.main_frame)
            ready(page, page.main_frame)
            take(page, "desktop-alone-light")


def in_the_shop(up: Site, scheme: Any) -> None:
    """Take the page within the shop of the development environment."""
    with (
        RunningShop(up.vault, page_origin=up.origin, port=0) as shop,
        up.page(viewport=DESKTOP, color_scheme=scheme) as page,
    ):

        def forward(route: Route) -> None:
            at = route.request.url.replace(f"{SHOP}/", shop.url)
            route.fulfill(response=route.fetch(url=at))

        page.route(f"{SHOP}/**", forward)
        page.goto(f"{SHOP}/")
        page.click("[data-action=set]")
        frame = page.wait_for_selector("iframe").content_frame()
        assert frame is not None
        is_open(frame)
        if scheme == "light":
            fill(frame, new="9382")
        else:
            send(frame, new="9382")
            is_in(frame, "done")
        take(page, f"desktop-{'set' if scheme == 'light' else 'done'}-{scheme}")


def take(shown: Page | Locator, name: str) -> None:
    """Take a picture when nothing moves any more."""
    page = shown if isinstance(shown, Page) else shown.page
    page.mouse.move(1, 1)
    page.wait_for_timeout(700)
    shown.screenshot(path=TARGET / f"{name}.png")
    print(f"{name}.png")


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Run everything in a folder of its own."""
    settings = Settings(per_caller="1000/s", per_pan="1000/s")
    with tempfile.TemporaryDirectory() as folder:
        environment = prepare(
            Path(folder) / "environment", configuration=lambda at: configuration.write(settings, at)
        )
        with RunningServer(environment) as server, running(server) as up:
            yield up


if __name__ == "__main__":
    main()

"""The page's documents and files: what comes for what is asked, and with which headers."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinvault.edge.hosted import page
from pinvault.edge.sections import PinLength
from tests.support.toy_edge import ARRIVED
from tests.unit.edge.hosted.asking import LANGUAGES, ROOT, Page


class Tags(HTMLParser):
    """The tags of a document, and the text of its data block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][1].get("id") == "facts" and not self.data:
            self.data = data

    def one(self, tag: str, name: str) -> dict[str, str | None]:
        (found,) = (attrs for found, attrs in self.found if found == tag and name in attrs)
        return found


@pytest.mark.parametrize("action", page.ACTIONS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_document_is_in_the_language_that_is_asked_for(action: str, language: str) -> None:
    site = Page(program={"pin_length": PinLength(minimum=4, maximum=6)})
    answer = site.get(f"/pin/debit/{action}?language={language}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    tags = Tags(answer.text)
    catalogue = json.loads((ROOT / "catalogue" / f"{language}.json").read_text())
    html = tags.one("html", "lang")
    assert (html["lang"], html["dir"]) == (language, catalogue["direction"])
    facts = json.loads(tags.data)
    assert facts["catalogue"] == catalogue
    assert facts["form"] == {"action": action, "pin_length": {"minimum": 4, "maximum": 6}}
    assert facts["theme"] == json.loads((ROOT / "themes/default.json").read_text())


def test_the_form_is_foretold_only_where_its_lengths_are_known(site: Page) -> None:
    assert "form" not in json.loads(Tags(site.get("/pin/debit/set").text).data)


def test_the_document_has_exactly_these_headers(site: Page) -> None:
    headers = dict(site.get("/pin/debit/set", accept_encoding="identity").headers)
    for name in ("content-length", "x-request-id"):
        del headers[name]
    assert headers == {
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; img-src 'self'; form-action 'none'; base-uri 'none'; "
        "frame-ancestors https://shop.example.com https://other.example.com; "
        "require-trusted-types-for 'script'; trusted-types 'none'",
        "content-type": "text/html; charset=utf-8",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), "
        "clipboard-read=(), display-capture=(), publickey-credentials-get=()",
        "referrer-policy": "no-referrer",
        "strict-transport-security": "max-age=31536000",
        "vary": "Accept-Encoding",
        "x-content-type-options": "nosniff",
    }


def test_without_tls_nothing_is_said_of_tls() -> None:
    answer = Page(url="http://localhost:8080").get("/pin/debit/set")
    assert "strict-transport-security" not in answer.headers


def test_the_document_holds_its_files_to_their_content(site: Page) -> None:
    tags = Tags(site.get("/pin/debit/set").text)
    for tag, attribute in (("link", "href"), ("script", "src")):
        found = tags.one(tag, attribute)
        file = site.get(found[attribute] or "")
        digest = base64.b64encode(hashlib.sha384(file.content).digest()).decode()
        assert found["integrity"] == f"sha384-{digest}"
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert file.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in file.headers


def test_nothing_is_inline_and_nothing_is_from_elsewhere(site: Page) -> None:
    text = site.get("/pin/debit/set").text
    assert "//" not in re.sub(r"<script type=.application/json.*?</script>", "", text)
    for tag, attributes in Tags(text).found:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert tag != "style"
        if tag == "script":
            assert "src" in attributes or attributes["type"] == "application/json"


def test_a_file_of_another_version_is_not_kept(site: Page) -> None:
    for query in ("", "?v=", "?v=000000000000"):
        assert site.get(f"/static/pin.js{query}").headers["cache-control"] == "no-store"


def test_the_embedder_s_script_is_for_all_and_for_minutes(site: Page) -> None:
    headers = site.get("/static/pinvault.js").headers
    assert headers["cache-control"] == "public, max-age=300, immutable"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("path", ["/pin/debit/set", "/static/pin.css", "/static/pinvault.js"])
def test_what_is_large_goes_compressed(site: Page, path: str) -> None:
    plain, small = (site.get(path, accept_encoding=how) for how in ("identity", "br, gzip;q=0.5"))
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) == len(gzip.compress(plain.content))
    assert small.content == plain.content
    assert plain.headers["vary"] == small.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("accepted", "asked", "chosen"),
    [
        ("", "", "en"),
        ("de-AT, de", "", "en"),
        ("fr-CH, fr;q=0.9, en;q=0.8", "", "fr"),
        ("en;q=0.5, ar-EG", "", "ar"),
        ("fr;q=0, ar;q=0.1", "", "ar"),
        ("ar", "fr", "fr"),
        ("ar", "de", "ar"),
        ("ar;q=nan, fr;q=inf, *", "", "en"),
    ],
)
def test_the_language_is_the_best_of_those_offered(accepted: str, asked: str, chosen: str) -> None:
    arrived = replace(ARRIVED, headers={"accept-language": accepted}, query={"language": asked})
    assert page.choose(LANGUAGES, arrived) == chosen


@given(st.text(max_size=60))
def test_whatever_a_browser_takes_there_is_a_language(accepted: str) -> None:
    arrived = replace(ARRIVED, headers={"accept-language": accepted})
    assert page.choose(LANGUAGES, arrived) in LANGUAGES


def test_the_page_s_posts_tell_their_origin() -> None:
    """With a `mode`, Firefox and WebKit send `Origin: null` with a POST that has no referrer."""
    script = (ROOT / "static/pin.js").read_text()
    assert script.count("fetch(") == script.count('referrerPolicy: "no-referrer"') == 1
    assert not re.search(r"\bmode\s*:", script)


def test_there_is_no_icon(site: Page) -> None:
    assert site.get("/favicon.ico").status_code == 204


def test_data_cannot_end_its_block(tmp_path: Path) -> None:
    theme = json.loads((ROOT / "themes/default.json").read_text())
    theme["name"] = "</script><!--<b>&amp;"
    (tmp_path / "t.json").write_text(json.dumps(theme))
    text = Page(tmp_path, program={"theme_file": "t.json"}).get("/pin/debit/set").text
    assert json.loads(Tags(text).data)["theme"]["name"] == theme["name"]
    assert text.count("</script>") == 2

"""What a browser loads: a document for each program, action and language, and its files.

Rules:
- Everything is made at the start and is the same for all cardholders: nothing of a session, and no
  secret, is in any of it. So it may be compressed.
- The address of a file has its hash, and the document says which content it must have (SRI).
- The language is the one that the address asks for (`?language=`), else the best of those that the
  browser takes, else the program's first.
"""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from pinvault.edge.dialect import Answer, Arrived, Endpoint
from pinvault.edge.hosted import headers, themes
from pinvault.edge.sections import HostedPage, PageProgram

ACTIONS: Final = ("set", "reset", "change")
TEMPLATE: Final = "pin.html.jinja"
OWN_THEME: Final = "default.json"
EMBEDDER: Final = "pinvault.js"
EMBEDDER_KEEP_S: Final = 300
_ROOT = resources.files("pinvault.edge.hosted")
_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_WEIGHT: Final = re.compile(r"0(\.[0-9]{1,3})?|1(\.0{1,3})?")
_ENCODED: Final = {"Content-Encoding": "gzip"}


@dataclass(frozen=True, slots=True)
class Text:
    """A text as it goes to browsers, plain and compressed."""

    plain: bytes = field(repr=False)
    media_type: str
    gzipped: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Compress it, the same every time."""
        object.__setattr__(self, "gzipped", gzip.compress(self.plain, mtime=0))

    def answer(self, arrived: Arrived, more: dict[str, str], *, keep_s: int = 0) -> Answer:
        """Give it as the browser takes it."""
        is_gzipped = "gzip" in _listed(arrived.headers.get("accept-encoding", ""))
        return Answer(
            status=200,
            body=self.gzipped if is_gzipped else self.plain,
            media_type=self.media_type,
            headers={**more, "Vary": "Accept-Encoding", **(_ENCODED if is_gzipped else {})},
            keep_s=keep_s,
        )


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page; `url` has its version, `integrity` is what a browser holds it to."""

    name: str
    text: Text

    @classmethod
    def read(cls, name: str) -> "Asset":
        """Read a file of `static/`."""
        return cls(name, Text(_read(f"static/{name}").encode(), _TYPES[name.rpartition(".")[2]]))

    @property
    def version(self) -> str:
        """Twelve hex digits of the content's hash."""
        return hashlib.sha384(self.text.plain).hexdigest()[:12]

    @property
    def url(self) -> str:
        """The address within the origin."""
        return f"/static/{self.name}?v={self.version}"

    @property
    def integrity(self) -> str:
        """The content's hash as Subresource Integrity has it."""
        digest = hashlib.sha384(self.text.plain).digest()
        return f"sha384-{base64.b64encode(digest).decode()}"


class Documents:
    """All that is only read: documents, files, and an icon that there is not."""

    def __init__(self, page: HostedPage, *, folder: Path) -> None:
        self._files = {name: Asset.read(name) for name in ("pin.css", "pin.js", EMBEDDER)}
        self._is_tls = page.public_url.startswith("https:")
        self._programs = page.programs
        self._texts: dict[tuple[str, str, str], Text] = {
            (name, action, language): self._text(program, action, language, folder)
            for name, program in page.programs.items()
            for action in ACTIONS
            for language in program.languages
        }

    def endpoints(self) -> Iterable[Endpoint]:
        """Give the paths: `/pin/PROGRAM/ACTION`, `/static/FILE`, `/favicon.ico`."""
        for name, program in self._programs.items():
            for action in ACTIONS:
                flow = partial(self._document, name, program, action)
                summary = f"The page on which a cardholder can {action} a PIN"
                yield _get(f"/pin/{name}/{action}", flow, summary)
        for asset in self._files.values():
            yield _get(f"/static/{asset.name}", partial(self._file, asset), "A file of the page")
        icon = Answer(status=204)
        yield Endpoint(
            "GET", "/favicon.ico", lambda _: icon, False, None, {204: None}, "There is no icon"
        )

    def _document(self, name: str, program: PageProgram, action: str, arrived: Arrived) -> Answer:
        language = choose(program.languages, arrived)
        more = headers.document(program.origins, is_tls=self._is_tls)
        return self._texts[name, action, language].answer(arrived, more)

    def _file(self, asset: Asset, arrived: Arrived) -> Answer:
        if asset.name == EMBEDDER:
            return asset.text.answer(arrived, dict(headers.FOR_ALL), keep_s=EMBEDDER_KEEP_S)
        is_this = arrived.query.get("v") == asset.version
        keep_s = headers.YEAR_S if is_this else 0
        return asset.text.answer(arrived, dict(headers.OURS_ALONE), keep_s=keep_s)

    def _text(self, program: PageProgram, action: str, language: str, folder: Path) -> Text:
        catalogue = json.loads(_read(f"catalogue/{language}.json"))
        facts = {"catalogue": catalogue, "theme": _theme(program, folder)}
        if program.pin_length is not None:
            facts["form"] = {"action": action, "pin_length": program.pin_length}
        html = _template().render(
            language=language,
            direction=catalogue["direction"],
            title=catalogue["page"],
            noscript=catalogue["noscript"],
            css=self._files["pin.css"],
            js=self._files["pin.js"],
            facts=_data_block(facts),
        )
        return Text(html.encode(), "text/html; charset=utf-8")


def choose(offered: Sequence[str], arrived: Arrived) -> str:
    """Give the language of a document, one of those offered."""
    asked = arrived.query.get("language", "")
    if asked in offered:
        return asked
    wanted = _listed(arrived.headers.get("accept-language", ""))
    best = {name.partition("-")[0]: weight for name, weight in reversed(wanted.items())}
    return max(offered, key=lambda name: best.get(name, 0.0))


def _listed(header: str) -> dict[str, float]:
    """Give what a header of preferences lists, the most wanted first (RFC 9110, 12.4.2).

    >>> _listed("fr-CH, ar;q=0.5, de;q=0, en;q=0.9")
    {'fr-ch': 1.0, 'en': 0.9, 'ar': 0.5}
    """
    found = {}
    for part in header.lower().split(",")[:32]:
        name, _, weight = part.strip().partition(";q=")
        found[name.strip()] = _weight(weight)
    return {name: found[name] for name in sorted(found, key=lambda it: -found[it]) if found[name]}


def _weight(text: str) -> float:
    if not text:
        return 1.0
    return float(text) if _WEIGHT.fullmatch(text) else 0.0


def _get(path: str, flow: Any, summary: str) -> Endpoint:
    return Endpoint("GET", path, flow, False, None, {200: None}, summary)


def _theme(program: PageProgram, folder: Path) -> themes.Theme:
    if program.theme_file is not None:
        return themes.load(folder / program.theme_file)
    return msgspec.json.decode(_read(f"themes/{OWN_THEME}"), type=themes.Theme)


def _data_block(facts: object) -> Markup:
    """Give JSON for a `<script type="application/json">`, which nothing in it can end."""
    text = msgspec.json.encode(facts).decode().replace("<", "\\u003c")
    return Markup(text)  # noqa: S704 - of our own files and settings; no tag can be in it


def _template() -> Any:
    loader = FunctionLoader(lambda name: _read(f"static/{name}"))
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template(TEMPLATE)


def _read(name: str) -> str:
    return _ROOT.joinpath(name).read_text(encoding="utf-8")

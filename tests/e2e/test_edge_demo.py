"""The edge's demonstration, as a new user runs it: every vendor's sample over HTTP, by curl."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pinvault.development.curl import CurlFailed, Request, ask
from pinvault.development.edge_demo import Told, is_like, tell, tell_end
from pinvault.development.samples import vendor
from tests.support.running import demo

ASSETS = Path(__file__).parents[1] / "assets" / "edge"
PIN = re.compile(r"(?<![0-9A-Za-z])(1234|5678|7777)(?![0-9A-Za-z])")
VENDORS = ["ConnectFi", "Marqeta", "Rapyd", "Interswitch", "HashDT"]
STATUSES = {
    "ConnectFi": [200, 200],
    "Marqeta": [201, 204, 201, 200],
    "Rapyd": [200, 200],
    "Interswitch": [200, 200, 200],
    "HashDT": [200, 200, 200],
}
METHODS = {
    "ConnectFi": ["SetPin", "CheckPin"],
    "Marqeta": ["IssueControlToken", "SetPin", "IssueControlToken", "RevealPin"],
    "Rapyd": ["SetPin", "SetPin"],
    "Interswitch": ["SetPin", "ChangePin", "ReissuePin"],
    "HashDT": ["CreatePinSession"] * 3,
}
REVEALED = {"pin": "5678"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("edge-demo")


@pytest.fixture(scope="module")
def told(folder: Path) -> list[dict[str, Any]]:
    done = demo(folder, "--edge", "--json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def of(told: list[dict[str, Any]], vendor: str) -> list[dict[str, Any]]:
    return [each for each in told if each["vendor"] == vendor]


def texts(value: Any) -> Iterator[str]:
    """All texts within; numbers are durations, and may look like anything."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


def ordered(text: str, drawn: Collection[str] = ()) -> Any:
    """Members and values in their order, all the way down; of those that are drawn the names."""

    def kept(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [(name, "…" if name in drawn else value) for name, value in pairs]

    return json.loads(text, object_pairs_hook=kept)


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_sample_is_answered_as_documented(told: list[dict[str, Any]], vendor: str) -> None:
    mine = of(told, vendor)
    assert [each["status"] for each in mine] == STATUSES[vendor]
    methods = [f"CardPinService.{name}" for name in METHODS[vendor]]
    assert [each["audit"]["method"] for each in mine] == methods
    assert {each["audit"]["caller"] for each in mine} == {"spiffe://pinvault.test/edge"}
    assert {each["audit"]["outcome"] for each in mine} == {"OK"}
    assert all(each["as_documented"] for each in mine)


@pytest.mark.parametrize(
    ("vendor", "number", "asset", "drawn"),
    [
        ("ConnectFi", 0, "connectfi/set-pin", ("requestId",)),
        ("ConnectFi", 1, "connectfi/check-pin", ("requestId",)),
        ("Marqeta", 0, "marqeta/controltoken", ("control_token",)),
        ("Marqeta", 3, "marqeta/reveal", ()),
        ("Rapyd", 0, "rapyd/set-pin", ("operation_id", "id", "created_at")),
        ("Rapyd", 1, "rapyd/set-pin", ("operation_id", "id", "created_at")),
        ("Interswitch", 0, "interswitch/change-pin", ("correlationId",)),
        ("Interswitch", 1, "interswitch/change-pin", ("correlationId",)),
        ("Interswitch", 2, "interswitch/reissue-pin", ("correlationId", "pin", "pinOffset")),
        ("HashDT", 0, "hashdt/setpin", ("set_pin_url",)),
        ("HashDT", 1, "hashdt/resetpin", ("set_pin_url",)),
        ("HashDT", 2, "hashdt/changepin", ("set_pin_url",)),
    ],
)
def test_answers_are_those_of_the_assets(
    told: list[dict[str, Any]], vendor: str, number: int, asset: str, drawn: tuple[str, ...]
) -> None:
    answer = of(told, vendor)[number]["answer"]
    documented = (ASSETS / f"{asset}.response.json").read_text()
    assert ordered(answer, drawn) == ordered(documented, drawn)


@pytest.mark.parametrize(
    ("vendor", "number", "asset", "drawn"),
    [
        ("ConnectFi", 0, "connectfi/set-pin", ()),
        ("ConnectFi", 1, "connectfi/check-pin", ()),
        ("Marqeta", 0, "marqeta/controltoken", ()),
        ("Marqeta", 1, "marqeta/pins", ("control_token",)),
        ("Marqeta", 2, "marqeta/controltoken-reveal", ()),
        ("Marqeta", 3, "marqeta/reveal", ("control_token",)),
        ("Rapyd", 0, "rapyd/set-pin-by-id", ()),
        ("Rapyd", 1, "rapyd/set-pin-by-number", ()),
        ("Interswitch", 0, "interswitch/change-pin", ("pin", "oldPin")),
        ("Interswitch", 1, "interswitch/change-pin", ("pin", "oldPin")),
        ("Interswitch", 2, "interswitch/reissue-pin", ()),
    ],
)
def test_requests_are_those_of_the_assets(
    told: list[dict[str, Any]], vendor: str, number: int, asset: str, drawn: tuple[str, ...]
) -> None:
    words = shlex.split(of(told, vendor)[number]["command"].replace("\\\n", ""))
    documented = (ASSETS / f"{asset}.request.json").read_text()
    assert ordered(words[words.index("-d") + 1], drawn) == ordered(documented, drawn)


@pytest.mark.parametrize(("number", "action"), [(0, "set"), (1, "reset"), (2, "change")])
def test_headers_are_those_of_the_assets(
    told: list[dict[str, Any]], number: int, action: str
) -> None:
    words = shlex.split(of(told, "HashDT")[number]["command"].replace("\\\n", ""))
    shown = {after for word, after in pairwise(words) if word == "-H"}
    first, *wanted = (ASSETS / f"hashdt/{action}pin.request.txt").read_text().splitlines()
    assert words[-1].endswith(first.removeprefix("GET "))
    drawn = "x-request-id: "
    assert {each for each in shown if not each.startswith(drawn)} == {
        each for each in wanted if not each.startswith(drawn)
    }
    assert len(shown) == len(wanted)


@pytest.mark.parametrize("kind", ["connectfi", "rapyd"])
def test_facts_are_those_of_the_assets(kind: str) -> None:
    """In order: it is that of the answers' members."""
    mine = {"defaults": vendor(kind).facts, "cards": vendor(kind).cards}
    assert ordered(json.dumps(mine)) == ordered((ASSETS / kind / "facts.json").read_text())


def test_what_is_shown_is_curl_and_a_sample(told: list[dict[str, Any]]) -> None:
    for each in told:
        words = shlex.split(each["command"].replace("\\\n", ""))
        assert words[:2] == ["curl", "-sS"]
    first = shlex.split(of(told, "ConnectFi")[0]["command"].replace("\\\n", ""))
    sample = (ASSETS / "connectfi/set-pin.request.json").read_text().strip()
    assert first[first.index("-d") + 1] == sample


def test_no_pin_is_seen_but_the_samples_and_the_revealed_one(told: list[dict[str, Any]]) -> None:
    (revealed,) = (each for each in told if each["audit"]["method"].endswith(".RevealPin"))
    assert json.loads(revealed["answer"]) == REVEALED
    for each in told:
        answer = {} if each is revealed else json.loads(each["answer"] or "{}")
        for text in (*texts(answer), *texts(each["audit"]), each["title"]):
            assert not PIN.search(text)
    shown = [bool(PIN.search(each["command"])) for each in told]
    assert shown == [True, True, False, True, False, False, True, True, *[False] * 6]


def test_people_are_told_the_same_story(told: list[dict[str, Any]]) -> None:
    said = io.StringIO()
    console = Console(file=said, highlight=False, soft_wrap=True)
    whole = [Told(**each) for each in told]
    for each in whole:
        tell(console, each)
        for part in (f"{each.vendor}: {each.title}", each.command, str(each.status), each.answer):
            assert part in said.getvalue()
    tell_end(console, whole)
    assert said.getvalue().endswith("\n14 of 14 answers are as documented.\n")
    assert len(re.findall('"(1234|5678|7777)"', said.getvalue())) == 6
    tell(console, replace(whole[0], as_documented=False))
    assert said.getvalue().endswith("NOT AS DOCUMENTED\n")


@pytest.mark.parametrize(
    ("found", "documented"),
    [
        ({"code": "00", "more": 1}, {"code": "00"}),
        ({}, {"code": "00"}),
        ({"code": "01"}, {"code": "00"}),
        ({"id": "ci_g"}, {"id": re.compile("ci_[0-9a-f]")}),
        ({"data": [{}, {}]}, {"data": [{}]}),
        ({"at": "1"}, {"at": int}),
        ([], {}),
    ],
)
def test_what_is_not_as_documented_is_found(found: Any, documented: Any) -> None:
    assert not is_like(found, documented)


def test_without_an_answer_there_is_a_reason() -> None:
    with pytest.raises(CurlFailed, match="localhost"):
        ask(Request(method="GET", url="http://localhost:1/"))


def test_what_stays_up_can_be_called_as_it_says(folder: Path, told: list[dict[str, Any]]) -> None:
    """`./dev run`, on any ports: every command that it prints is answered, by a shell."""
    assert told
    (folder / "run").symlink_to("demo")  # keys, certificates and cards are there already
    ports = ("--port", "--admin-port", "--edge-port", "--edge-issuers-port", "--edge-admin-port")
    options = [word for name in (*ports, "--shop-port") for word in (name, "0")]
    with subprocess.Popen(
        [sys.executable, "-m", "pinvault.development", "run", *options],
        env={**os.environ, "PINVAULT_DEV_DIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            said = "".join(iter(running.stdout.readline, "Stop with Ctrl-C.\n"))
            connectfi, marqeta, rapyd, interswitch, hashdt = answers(said)
        finally:
            running.terminate()
            assert running.wait(60) == 0
    assert (connectfi["code"], list(marqeta)) == ("0", ["control_token"])
    assert (rapyd["status"]["status"], interswitch["code"]) == ("SUCCESS", "00")
    assert hashdt["status"] == "Success"


def answers(said: str) -> list[Any]:
    """Look at the shop, and run the commands that were printed; what they say, one by one."""
    (shop,) = re.findall(r"^http://localhost:[0-9]+/$", said, re.MULTILINE)
    assert ask(Request(method="GET", url=shop)).status == 200
    commands = said.rpartition("vendors' clients does:\n\n")[2]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.replace("\n# ", "\necho\n# ")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line]

"""The documents: what they show runs, what they name exists, what they list is complete."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pinvault.client import ItemStatus
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from pinvault.model.errors import TEXTS, Reason
from pinvault.server.status import CODES
from pinvault.v1 import card_pin_pb2, key_pb2, pin_block_pb2

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = (
    *("README.md", "SECURITY.md", "docs/cards.md"),
    *("docs/audit-log.md", "docs/ceremony.md", "docs/changelog.md", "docs/errors.md"),
    *("docs/deployment.md", "docs/edge.md", "docs/hosted-page.md", "docs/store.md"),
    *("docs/journey.md", "docs/operations.md", "docs/py-hsm.md", "docs/recovery.md"),
    *("docs/threat-model.md", "docs/tokens.md", "docs/verbs.md", "docs/webhooks.md"),
)


@pytest.fixture(scope="module")
def tour(make_environment: Callable[[Settings], Environment]) -> Iterator[RunningServer]:
    """What `./dev run` leaves up."""
    with RunningServer(make_environment(Settings(per_pan="1000/h"))) as running:
        yield running


def blocks(repository: Path, document: str = "README.md") -> list[tuple[str, str]]:
    return BLOCK.findall((repository / document).read_text())


def program(repository: Path, document: str, kind: str) -> str:
    """What a document shows in one language, read from top to bottom."""
    shown = [text for found, text in blocks(repository, document) if found == kind]
    # tests/e2e/test_demo.py and test_edge_demo.py run the demonstrations.
    return "\n".join(text for text in shown if not text.startswith("./dev demo"))


def test_the_readme_shows_commands_and_two_programs(repository: Path) -> None:
    kinds = [kind for kind, _ in blocks(repository)]
    assert kinds.count("sh") >= 4
    assert kinds.count("python") == 2


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        *(("README.md", kind) for kind in ("python", "sh")),
        *(("docs/verbs.md", kind) for kind in ("python", "sh")),
        ("docs/cards.md", "sh"),
    ],
)
def test_everything_that_is_shown_runs(
    repository: Path, tour: RunningServer, document: str, kind: str
) -> None:
    """Ports and folder are those of this test's server; the rest is as it is printed."""
    text = program(repository, document, kind)
    text = text.replace(".dev/run", str(tour.environment.root))
    text = text.replace("localhost:8443", f"localhost:{tour.port}")
    text = text.replace("127.0.0.1:8443", f"127.0.0.1:{tour.port}")
    text = text.replace(".venv/bin/python", sys.executable)
    text = text.replace(".venv/bin/buf", str(Path(sys.executable).with_name("buf")))
    command = [sys.executable, "-c"] if kind == "python" else ["bash", "-euxo", "pipefail", "-c"]
    done = subprocess.run(
        [*command, text],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout


TELLING = {"ListKeys", "GetKey", "GetPublicKey"}
VERBS = [
    *(
        ("call", each.name)
        for each in pin_block_pb2.DESCRIPTOR.services_by_name["PinBlockService"].methods
    ),
    *(
        ("keep", each.name)
        for each in key_pb2.DESCRIPTOR.services_by_name["KeyService"].methods
        if each.name not in TELLING
    ),
    *(
        ("cards", each.name)
        for each in card_pin_pb2.DESCRIPTOR.services_by_name["CardPinService"].methods
    ),
]


def test_every_verb_has_a_section_with_both_examples(repository: Path) -> None:
    text = (repository / "docs/verbs.md").read_text()
    for call, name in VERBS:
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert f"| [{name}](#{name.lower()}) |" in text
        assert "\n```python\n" in section
        assert f"\n{call} {name} <<END\n" in section
        assert "A grant must name" in section
        assert "Refusals met most" in section


def test_the_verbs_name_refusals_that_exist(repository: Path) -> None:
    prose = re.sub(r"```.*?```", "", (repository / "docs/verbs.md").read_text(), flags=re.DOTALL)
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", prose))
    assert len(named) > 15
    assert not named - {*Reason.__members__, *ItemStatus.__members__}


def test_the_table_of_errors_is_complete(repository: Path) -> None:
    text = (repository / "docs/errors.md").read_text()
    for reason in Reason:
        assert f"| `{reason.value}` | {CODES[reason].name} | {TEXTS[reason]} |" in text
    assert text.count("\n| `") == len(Reason)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(repository: Path, name: str) -> None:
    document = repository / name
    for target in re.findall(r"\]\((?!https:)([^)#]+)[^)]*\)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_every_guarantee_names_tests_that_exist(repository: Path) -> None:
    rows = [
        line for line in (repository / "SECURITY.md").read_text().splitlines() if "| **" in line
    ]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`([a-z0-9_/]+(?:\.py)?)`", row.rsplit("|", 2)[1])
        assert named or "./dev lint" in row, row
        for path in named:
            assert (repository / "tests" / path).exists(), path
    threats = (repository / "docs/threat-model.md").read_text()
    for path in re.findall(r"`([a-z_/]*test_[a-z_]+\.py)`", threats):
        assert list((repository / "tests").rglob(Path(path).name)), path

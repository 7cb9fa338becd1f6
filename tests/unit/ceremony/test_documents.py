"""The example of a ceremony's file can be used, and the document's commands exist as shown."""

import re
from itertools import pairwise
from pathlib import Path

import click
import pytest

from pinvault.ceremony.people import Passphrase
from pinvault.ceremony.plan import read_plan
from pinvault.cli.key import key

ROOT = Path(__file__).parents[3]
LINES = re.findall(
    r"^pinvault key (.*?)(?:   .*)?$", (ROOT / "docs/ceremony.md").read_text(), re.MULTILINE
)


def test_the_example_is_a_plan() -> None:
    plan = read_plan(ROOT / "ceremony.example.toml")
    assert plan.key.check_value == "40D522"
    assert [who.name for who in plan.custodians] == ["Anna Example", "Ben Example"]
    first = plan.custodians[0].means
    assert isinstance(first, Passphrase)
    assert first.fits("an example, known to all")


def test_every_member_stands_in_the_example() -> None:
    text = (ROOT / "ceremony.example.toml").read_text()
    for member in ("variant", "previous_until", "certificate", "certificate_sha256"):
        assert f"\n# {member} = " in text


@pytest.mark.parametrize("line", LINES)
def test_every_command_that_is_shown_is_one(line: str) -> None:
    verb, *words = line.split()
    command = key.commands[verb]
    known = {word for option in command.params for word in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known
    kinds = {
        option.opts[0]: option.type.choices
        for option in command.params
        if isinstance(option.type, click.Choice)
    }
    for option, value in pairwise(words):
        assert option not in kinds or value in kinds[option]


def test_commands_are_shown() -> None:
    assert {line.split()[0] for line in LINES} >= {
        *("generate", "list", "import", "export", "ceremony", "verify-transcript"),
    }
    assert len(LINES) > 10

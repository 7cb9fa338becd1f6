"""`pinvault store upgrade`, as an operator runs it."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pinvault.cli import cli
from pinvault.config import ConfigError
from pinvault.store import Store, StoreMisconfigured

EXAMPLE = Path(__file__).parents[2] / "pinvault.example.toml"


def run(folder: Path, section: str) -> str:
    """Run the command with the example's configuration and another store."""
    config = folder / "pinvault.toml"
    example = re.sub(r"(?m)^\[store\]\naddress = .*\n", "", EXAMPLE.read_text())
    config.write_text(example + section)
    runner = CliRunner()
    result = runner.invoke(cli, ["store", "upgrade", str(config)], catch_exceptions=True)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_it_makes_the_tables_and_may_be_run_again(new_address, tmp_path) -> None:
    address = new_address()
    section = f'[store]\naddress = "{address}"\n'
    assert "the tables of this release" in run(tmp_path, section)
    assert "the tables of this release" in run(tmp_path, section)
    store = Store.open(address)
    store.probe()
    store.close()


def test_it_says_what_is_missing(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"store\.address: there is no store: name one"):
        run(tmp_path, "")


def test_a_wrong_address_is_not_repeated(tmp_path) -> None:
    with pytest.raises(StoreMisconfigured) as caught:
        run(tmp_path, '[store]\naddress = "mysql://root:hunter2@db/pinvault"\n')
    assert "hunter2" not in f"{caught.value} {caught.value.remedy}"
    assert "sqlite:////absolute/path" in caught.value.remedy

"""`pinvault store upgrade`, as an operator runs it."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pinvault.cli import cli
from pinvault.config import ConfigError
from pinvault.store import Store, StoreMisconfigured

EXAMPLE = Path(__file__).parents[2] / "pinvault.example.toml"


def section(address: str) -> str:
    """Give the section of a store."""
    return f'[store]\naddress = "{address}"\npan_key = "pan-store"\n'


def run(folder: Path, store: str) -> str:
    """Run the command with the example's configuration, another store and nothing over it."""
    config = folder / "pinvault.toml"
    example = re.sub(
        r"(?ms)^# --- The store:.*?(?=^# --- Script)|^# --- Grants.*", "", EXAMPLE.read_text()
    )
    config.write_text(example + store)
    runner = CliRunner()
    result = runner.invoke(cli, ["store", "upgrade", str(config)], catch_exceptions=True)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_it_makes_the_tables_and_may_be_run_again(new_address, tmp_path) -> None:
    address = new_address()
    assert "the tables of this release" in run(tmp_path, section(address))
    assert "the tables of this release" in run(tmp_path, section(address))
    store = Store.open(address)
    store.probe()
    store.close()


def test_it_says_what_is_missing(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"store\.address: there is no store: name one"):
        run(tmp_path, "")


def test_a_wrong_address_is_not_repeated(tmp_path) -> None:
    with pytest.raises(StoreMisconfigured) as caught:
        run(tmp_path, section("mysql://root:hunter2@db/pinvault"))
    assert "hunter2" not in f"{caught.value} {caught.value.remedy}"
    assert "sqlite:////absolute/path" in caught.value.remedy

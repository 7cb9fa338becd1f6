"""The demonstration does the main job twice, with different ciphertext, and prints no PIN."""

import json
import re
from pathlib import Path

import pytest

from hsm import keyring
from hsm.vocabulary import Algorithm, Origin
from pinvault.config import load
from pinvault.development.environment import Environment
from pinvault.store import Store
from tests.support.running import demo

FIELD = re.compile("[0-9a-f]{512}")
SAMPLE = {
    "userId": "Alex",
    "pan": "5060990000000151002",
    "seqNr": "001",
    "expiryDate": "5004",
    "accountType": "20",
    "cvv2": "123",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def body(folder: Path) -> dict[str, str]:
    done = demo(folder, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def story(folder: Path, body: dict[str, str]) -> str:
    """What a second run says, on what the first has set up."""
    done = demo(folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_body_is_complete_and_never_the_same(body: dict[str, str], story: str) -> None:
    fields = {body["pin"], body["oldPin"]}
    assert {**body, "pin": "", "oldPin": ""} == {**SAMPLE, "pin": "", "oldPin": ""}
    assert all(FIELD.fullmatch(field) for field in fields)
    assert len(fields | set(FIELD.findall(story))) == 4


def test_the_whole_story_is_told(story: str) -> None:
    for part in (
        "curl -X POST",
        "/card-management/api/v1/card/changePin?isActiveActive=true",
        '"method":"PinBlockService.EncryptPinChange"',
        "pin    holds the PIN that was sealed",
        "oldPin holds the PIN that was sealed",
    ):
        assert part in story
    assert "IS WRONG" not in story


def test_a_store_is_ready_with_keys_that_only_the_token_knows(folder: Path, story: str) -> None:
    assert story
    place = Environment(folder / "demo")
    loaded = load(place.config)
    assert loaded.config.store is not None
    store = Store.open(loaded.config.store.address)
    store.probe()
    store.close()
    ring = {entry.name: entry for entry in keyring.load(place.root / "keyring.toml").keys}
    for name in loaded.store_keys():
        assert (ring[name].algorithm, ring[name].origin) == (Algorithm.AES_256, Origin.GENERATED)
        assert not (place.partners / f"{name}.hex").exists()


def test_an_interrupted_set_up_is_made_again(folder: Path) -> None:
    (folder / "demo" / "environment.json").unlink(missing_ok=True)
    (folder / "demo" / "keyring.toml").write_text("half")
    assert demo(folder, "--json").returncode == 0

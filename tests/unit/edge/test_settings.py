"""The edge's configuration: the example is good and whole, and mistakes are told with a remedy."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pinvault.edge import dialects
from pinvault.edge.files import EdgeError
from pinvault.edge.sections import HostedPage, Options
from pinvault.edge.settings import Loaded, Settings, load
from tests.unit.test_config import options

SERVER = """
[server]
address = "localhost:8443"
ca_file = "ca.pem"
certificate_file = "edge.pem"
private_key_file = "edge.key"
"""
LISTENER = """
[listeners.public]
listen = "127.0.0.1:8080"
"""
DIALECT = """
[dialects.acme]
kind = "connectfi"
listener = "public"
program = "debit"
credentials_file = "connectfi.toml"
"""
GOOD = SERVER + LISTENER + DIALECT
TLS = 'certificate_file = "a.pem"\nprivate_key_file = "a.key"\n'


@pytest.fixture
def example(repository: Path) -> str:
    return (repository / "edge.example.toml").read_text()


def loaded_from(text: str, folder: Path) -> Loaded:
    path = folder / "edge.toml"
    path.write_text(text)
    return load(path)


def keys(data: object) -> Iterator[str]:
    """Name every option and table of a file."""
    if isinstance(data, dict):
        for name, inner in data.items():
            yield name
            yield from keys(inner)


def test_the_example_is_good(example: str, tmp_path: Path) -> None:
    loaded = loaded_from(example, tmp_path)
    assert {each.kind for each in loaded.dialects.values()} == dialects.PACKAGES.keys()
    assert loaded.file("secrets/rapyd.toml") == tmp_path / "secrets" / "rapyd.toml"


def test_every_option_is_in_the_example(example: str) -> None:
    named = set(keys(tomllib.loads(example)))
    kinds = [dialects.package(kind) for kind in dialects.PACKAGES]
    sections = [Settings, HostedPage, Options, *(kind.Options for kind in kinds if kind)]
    wanted = {name.split(".")[-1] for section in sections for name in options(section)}
    assert wanted - named == set()


def test_what_the_example_calls_a_default_is_one(example: str, tmp_path: Path) -> None:
    bare = loaded_from(GOOD, tmp_path).settings
    told = msgspec.convert(tomllib.loads(example), Settings)
    assert (bare.limits, bare.admin, bare.mode) == (told.limits, told.admin, told.mode)
    assert bare.listeners["public"].failures == told.listeners["public"].failures
    for name in ("channels", "timeout_s", "sealing_profile", "sealing_key"):
        assert getattr(bare.server, name) == getattr(told.server, name)


def changed(old: str, new: str, text: str = GOOD) -> str:
    assert old in text
    return text.replace(old, new)


ON_ALL = 'listen = "0.0.0.0:8080"\n'
ON_ONE = 'listen = "127.0.0.1:8080"\n'
MISTAKES = {
    "unknown": (changed("[server]", "[server]\nadress = 1"), "server", "unknown field"),
    "missing": (changed('ca_file = "ca.pem"', ""), "server", "missing required field"),
    "type": (changed('"ca.pem"', "5"), "server.ca_file", "Expected `str`"),
    "address": (changed('"localhost:8443"', '"localhost"'), "server.address", "matching"),
    "no-listener": (SERVER + DIALECT, "", "listeners"),
    "kind": (changed('"connectfi"', '"visa"'), "dialects.acme.kind", "name one"),
    "no-kind": (changed('kind = "connectfi"\n', ""), "dialects.acme.kind", "name one"),
    "dialect-option": (GOOD + "odd = 1\n", "dialects.acme", "unknown field"),
    "base-path": (GOOD + 'base_path = "acme"\n', "dialects.acme.base_path", "matching"),
    "failures": (
        changed(ON_ONE, ON_ONE + 'failures = "0/s"\n'),
        "listeners",
        "matching",
    ),
    "rate": (GOOD + 'per_card = "0/s"\n', "dialects.acme.per_card", "matching"),
    "listener": (changed('"public"', '"private"'), "dialects.acme.listener", "name one"),
    "idle": (GOOD + '[listeners.b]\nlisten = "[::1]:1"\n', "listeners.b", "remove it"),
    "http": (changed(ON_ONE, ON_ALL), "listeners.public.listen", "plain HTTP is for"),
    "name": (changed("127.0.0.1", "localhost"), "listeners.public.listen", "plain HTTP"),
    "half-tls": (changed(ON_ONE, ON_ONE + TLS[:27]), "listeners.public", "give both"),
    "ca": (
        changed(ON_ONE, ON_ONE + 'client_ca_file = "ca.pem"\n'),
        "listeners.public.client_ca_file",
        "over TLS only",
    ),
    "clients": (
        changed(ON_ONE, ON_ONE + TLS + 'clients = ["CN=a"]\n'),
        "listeners.public.clients",
        "give client_ca_file",
    ),
    "clear": (
        changed(ON_ONE, ON_ONE + TLS + "clear_pins = true\n"),
        "listeners.public.clear_pins",
        "give client_ca_file and clients",
    ),
    "clear-unnamed": (
        changed(ON_ONE, ON_ONE + TLS + 'client_ca_file = "ca.pem"\nclear_pins = true\n'),
        "listeners.public.clear_pins",
        "give client_ca_file and clients",
    ),
    "same": (
        GOOD + "[listeners.b]\n" + ON_ONE + DIALECT.replace("acme", "b").replace("public", "b"),
        "listeners.b.listen",
        "give each its own",
    ),
    "hosted": (
        GOOD + '[hosted]\nlistener = "x"\npublic_url = "https://a.example"\n'
        '[hosted.programs.debit]\norigins = ["https://b.example"]\n',
        "hosted.listener",
        "name one",
    ),
    "origin": (
        GOOD + '[hosted]\nlistener = "public"\npublic_url = "https://a.example"\n'
        '[hosted.programs.debit]\norigins = ["https://*"]\n',
        "hosted.programs",
        "matching",
    ),
    "toml": ("[server", "", "is not TOML"),
    "utf-8": ("\udcff", "", "UTF-8"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_by_its_option_with_a_remedy(mistake: str, tmp_path: Path) -> None:
    text, option, remedy = MISTAKES[mistake]
    path = tmp_path / "edge.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(EdgeError) as wrong:
        load(path)
    assert wrong.value.option.startswith(option)
    assert remedy in str(wrong.value)
    assert str(path) in str(wrong.value)


def test_the_good_one_is_good(tmp_path: Path) -> None:
    loaded = loaded_from(GOOD, tmp_path)
    assert loaded.dialects["acme"].per_caller == "50/s"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"No such file.*correct its path"):
        load(tmp_path / "edge.toml")

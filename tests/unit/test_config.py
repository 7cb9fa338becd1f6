"""The configuration: the example is complete, and every mistake is told with place and remedy."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from pinvault import config
from pinvault.config import Config, ConfigError, load
from pinvault.model.profiles import RsaFieldProfile, SealedJweProfile


@pytest.fixture
def example(repository: Path) -> str:
    return (repository / "pinvault.example.toml").read_text()


def loaded_from(text: str, folder: Path) -> config.Loaded:
    path = folder / "pinvault.toml"
    path.write_text(text)
    return load(path)


def test_the_example_is_good(example: str, tmp_path: Path) -> None:
    loaded = loaded_from(example, tmp_path)
    profiles = loaded.profiles()
    assert isinstance(profiles["sealed-pin"], SealedJweProfile)
    assert isinstance(profiles["interswitch"], RsaFieldProfile)
    assert {row.method for row in loaded.grants()} >= {"PinBlockService.EncryptPin"}
    assert loaded.file("keyring.toml") == tmp_path / "keyring.toml"


def options(kind: type[msgspec.Struct], prefix: str = "") -> set[str]:
    """Name every option of a section and those below it."""
    found: set[str] = set()
    for field in msgspec.structs.fields(kind):
        inner = field.type
        name = f"{prefix}{field.name}"
        is_section = isinstance(inner, type) and issubclass(inner, msgspec.Struct)
        found |= options(inner, f"{name}.") if is_section else {name}
    return found


def test_every_option_stands_in_the_example_with_a_comment(example: str) -> None:
    sections = {
        f"profiles.{name}.{key}"
        for name, kind in (("sealed-pin", config.SealedJwe), ("interswitch", config.RsaField))
        for key in options(kind)
        if not key.startswith("pin_length.")
    }
    named = (options(Config) - {"profiles", "grants"}) | sections
    uncommented = example.replace("# default_s =", "default_s =")
    data = tomllib.loads(uncommented)
    for option in sorted(named):
        place = data
        for part in option.split("."):
            assert part in place, option
            place = place[part]
    lines = example.split("# --- Grants")[0].splitlines()
    for number, line in enumerate(lines):
        if re.match("# default_s|[a-z_]+ = ", line) and not line.startswith("#"):
            near = lines[max(0, number - 5) : number]
            assert any(text.startswith("#") for text in near), line


def test_the_examples_values_are_the_defaults_where_there_are_defaults(example: str) -> None:
    data = tomllib.loads(example)
    for section in ("server", "admin", "state", "protection"):
        for field in msgspec.structs.fields(dict_of_sections()[section]):
            if field.default is not msgspec.NODEFAULT and not isinstance(
                field.default, msgspec.Struct
            ):
                assert data[section][field.name] == field.default, f"{section}.{field.name}"


def dict_of_sections() -> dict[str, type[msgspec.Struct]]:
    return {field.name: field.type for field in msgspec.structs.fields(Config)}


MISTAKES = {
    "misspelt option": ("workers = 2", "wokers = 2", "server", "wokers"),
    "wrong type": ("workers = 2", 'workers = "two"', "server.workers", "Expected `int`"),
    "out of range": ("workers = 2", "workers = 0", "server.workers", ">= 1"),
    "unknown mode": ('mode = "production"', 'mode = "lax"', "mode", "Invalid enum"),
    "unknown identity": ('identity = "spiffe"', 'identity = "ou"', "server.identity", "Invalid"),
    "raw RSA": ('padding = "PKCS1-v1_5"', 'padding = "none"', "profiles", "Invalid enum"),
    "unknown profile kind": ('kind = "rsa-field"', 'kind = "aes"', "profiles", "Invalid value"),
    "no such profile": (
        'profiles = ["sealed-pin"]',
        'profiles = ["sealed"]',
        "grants[1].profiles",
        "no profile is named sealed",
    ),
    "unknown method": (
        '"PinBlockService.EncryptPin"]',
        '"PinBlockService.DecryptPin"]',
        "grants[1].methods",
        "Invalid enum value",
    ),
    "unreadable rate": ('per_caller = "500/s"', 'per_caller = "many"', "grants[1]", "rate"),
    "code book": (
        'per_caller = "500/s"\nper_pan = "10/h"',
        'per_caller = "500/s"',
        "grants[1].per_pan",
        "may ask often",
    ),
    "reflection in production": (
        "reflection = false",
        "reflection = true",
        "server.reflection",
        "development",
    ),
    "lengths the wrong way round": (
        "pin_length = { minimum = 4, maximum = 12 }",
        "pin_length = { minimum = 9, maximum = 5 }",
        "profiles.sealed-pin.pin_length",
        "minimum",
    ),
    "PIN of three digits": (
        "pin_length = { minimum = 4, maximum = 12 }",
        "pin_length = { minimum = 3, maximum = 12 }",
        "profiles",
        ">= 4",
    ),
    "caller that cannot be recorded": (
        '"spiffe://example.org/switch"]',
        '"Card App"]',
        "grants[1].callers",
        "cannot be recorded",
    ),
    "port": ('listen = "0.0.0.0:8443"', 'listen = "0.0.0.0:70000"', "server.listen", "65535"),
    "empty rate": ('per_caller = "500/s"', 'per_caller = ""', "grants[1]", "rate"),
    "two rates for one PAN": (
        'per_caller = "500/s"\nper_pan = "10/h"',
        'per_caller = "500/s"\nper_pan = "9/h"',
        "grants.per_pan",
        "two different rates",
    ),
    "not TOML": ("[server]", "[server", "", "is not TOML"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_with_file_place_and_remedy(
    example: str, tmp_path: Path, name: str
) -> None:
    right, wrong, option, text = MISTAKES[name]
    assert right in example
    with pytest.raises(ConfigError) as refused:
        loaded_from(example.replace(right, wrong, 1), tmp_path)
    said = str(refused.value)
    assert str(tmp_path / "pinvault.toml") in said
    assert refused.value.option.startswith(option)
    assert text in said


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("address", "parts"),
    [("0.0.0.0:8443", ("0.0.0.0", 8443)), ("[::1]:0", ("::1", 0)), ("host:1", ("host", 1))],
)
def test_addresses_are_split(address: str, parts: tuple[str, int]) -> None:
    assert config.split_address(address) == parts

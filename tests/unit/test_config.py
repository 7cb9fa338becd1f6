"""The configuration: the example is complete, and every mistake is told with place and remedy."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from pinvault import config
from pinvault.config import Config, ConfigError, load
from pinvault.config.profiles import ProfileSection
from pinvault.config.programs import ProgramSection
from pinvault.config.sections import MethodName
from pinvault.config.verification import Ibm3624, PinRulesSection, Script, VisaPvv
from pinvault.config.webhooks import RapydWebhook, StandardWebhook
from pinvault.model.custody import WantedKey
from pinvault.model.keys import Algorithm, Mode, Usage
from pinvault.model.profiles import RsaFieldProfile, SealedJweProfile
from pinvault.v1 import card_pin_pb2, key_pb2, pin_block_pb2


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


def test_what_may_be_awaited_is_told_by_name(example: str, tmp_path: Path) -> None:
    loaded = loaded_from(example, tmp_path)
    wanted = WantedKey(name="zpk-acme", usage=Usage.P0, algorithm=Algorithm.TDES_3KEY, mode=Mode.D)
    assert loaded.awaited() == {"zpk-acme": wanted}
    assert loaded.variants() == {"kbpk-old": ("kbpk-old-45", "kbpk-old-4d")}


def test_variants_alone_need_clear_keys(example: str, tmp_path: Path) -> None:
    off = example.replace("clear_keys = true", "").replace('storage_key = "key-storage"', "")
    with pytest.raises(ConfigError, match="clear_keys = true") as refused:
        loaded_from(off, tmp_path)
    assert refused.value.option == "key_blocks.variants"


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
    written = tomllib.loads(example)["profiles"]
    kinds = {kind.__struct_config__.tag: kind for kind in get_args(ProfileSection)}
    assert {section["kind"] for section in written.values()} == set(kinds)
    sections = {
        f"profiles.{name}.{key}"
        for name, section in written.items()
        for key in options(kinds[section["kind"]])
        if not key.startswith("pin_length") or name in ("sealed-pin", "interswitch")
        if not key.startswith("pin_length.")
    }
    sections |= {
        f"{place}.{key}"
        for place, kind in (
            ("verification.visa", VisaPvv),
            ("verification.offset", Ibm3624),
            ("scripts.vsdc", Script),
            ("pin_rules.cards", PinRulesSection),
            ("programs.debit", ProgramSection),
            ("webhooks.erp", StandardWebhook),
            ("webhooks.rapyd", RapydWebhook),
        )
        for key in options(kind)
        if not key.startswith("pin_length.")
    }
    tables = {"profiles", "verification", "scripts", "pin_rules", "programs", "webhooks", "grants"}
    named = (options(Config) - tables) | sections
    uncommented = re.sub("# (default_s|pin_length|excluded_file) =", r"\1 =", example)
    data = tomllib.loads(uncommented)
    for option in sorted(named):
        place = data
        for part in option.split("."):
            assert part in place, option
            place = place[part]
    lines = example.split("# --- Grants")[0].splitlines()
    explained = set[str]()
    for number, line in enumerate(lines):
        option = line.partition(" =")[0]
        if re.fullmatch("[a-z_]+", option) and option not in explained:
            explained.add(option)
            near = lines[max(0, number - 5) : number]
            assert any(text.startswith("#") for text in near), line


def test_the_examples_values_are_the_defaults_where_there_are_defaults(example: str) -> None:
    data = tomllib.loads(example)
    for section in ("server", "admin", "state", "protection", "dukpt"):
        for field in msgspec.structs.fields(dict_of_sections()[section]):
            default = field.default
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            if default is not msgspec.NODEFAULT and not isinstance(default, msgspec.Struct):
                assert data[section][field.name] == default, f"{section}.{field.name}"


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
        "nothing is named sealed",
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
    "unknown role": ('role = "issuing"', 'role = "both"', "role", "Invalid enum"),
    "issuing method on an acquiring server": (
        'role = "issuing"',
        'role = "acquiring"',
        "grants[0].methods",
        "an acquiring server has no PinBlockService.EncryptPinChange",
    ),
    "no such scheme": (
        'schemes = ["visa", "offset"]',
        'schemes = ["amex"]',
        "grants[3].schemes",
        "nothing is named amex",
    ),
    "no such rules": (
        'pin_rules = "cards"\nper_caller',
        'pin_rules = "card"\nper_caller',
        "grants[4].pin_rules",
        "nothing is named card",
    ),
    "lopsided decimalisation table": (
        'decimalisation_table = "0123456789012345"',
        'decimalisation_table = "0000000000000001"',
        "verification.offset",
        "at least 8 different digits",
    ),
    "validation without a PAN": (
        'validation = "{account12}"',
        'validation = "123456"',
        "verification.offset",
        "digits of the PAN",
    ),
    "key index out of range": (
        'keys = { 1 = "pvk-visa" }',
        'keys = { 7 = "pvk-visa" }',
        "verification",
        "[0-6]",
    ),
    "visa block without its key": (
        'cryptograms = "imk-ac"',
        "",
        "scripts.vsdc",
        "application cryptograms",
    ),
    "script named as a scheme": ("[scripts.vsdc]", "[scripts.visa]", "scripts.visa", "rename"),
    "no file of excluded PINs": (
        '# excluded_file = "excluded-pins.txt"',
        'excluded_file = "nowhere.txt"',
        "pin_rules.cards.excluded_file",
        "cannot be read",
    ),
    "guessing without a rate": (
        'pin_length = { minimum = 4, maximum = 4 }\nper_caller = "500/s"\nper_pan = "10/h"',
        'per_caller = "500/s"',
        "grants[3].per_pan",
        "may ask often",
    ),
    "batch without a rate": (
        'formats = ["ISO_0"]\nper_caller = "10/h"',
        'formats = ["ISO_0"]',
        "grants[5].per_caller",
        "stands once in a batch",
    ),
    "storage key while clear keys are off": (
        "clear_keys = true",
        "clear_keys = false",
        "key_blocks.storage_key",
        "clear_keys = true",
    ),
    "awaited key of no usage": (
        'zpk-acme = { usage = "P0"',
        'zpk-acme = { usage = "P9"',
        "key_blocks.awaited",
        "Invalid enum value",
    ),
    "import without a rate": (
        'keys = ["zpk-acme", "kbpk-acme"]\nper_caller = "10/h"',
        'keys = ["zpk-acme", "kbpk-acme"]',
        "grants[6].per_caller",
        "with an import needs a rate",
    ),
    "one key for two things stored": (
        'reveal_key = "pin-reveal"',
        'reveal_key = "pin-reference"',
        "store.reveal_key",
        "it is reference_key already",
    ),
    "PANs under the key of PINs": (
        'pan_key = "pan-store"',
        'pan_key = "pin-reveal"',
        "store.reveal_key",
        "it is pan_key already",
    ),
    "store without its key": ('pan_key = "pan-store"', "", "store", "pan_key"),
    "key of what is stored in a grant": (
        'keys = ["zpk-terminal", "zpk-switch", "bdk-terminal"]',
        'keys = ["zpk-terminal", "zpk-switch", "pin-reference"]',
        "grants[3].keys",
        "take it out",
    ),
    "retiring what is stored": (
        'keys = ["zpk-acme", "pin-seal"]',
        'keys = ["zpk-acme", "pan-store"]',
        "grants[7].keys",
        "ListKeys, GetKey and RotateKey alone",
    ),
    "no such program": (
        ']\nprograms = ["debit"]',
        ']\nprograms = ["debt"]',
        "grants[8].programs",
        "nothing is named debt: add [programs.debt]",
    ),
    "cards without a program": (
        ']\nprograms = ["debit"]',
        "]",
        "grants[8].programs",
        "RegisterCard is granted for the cards of programs",
    ),
    "guessing at cards without a rate": (
        'per_caller = "200/s"\nper_pan = "10/h"\n\n# Who may reveal',
        'per_caller = "200/s"\n\n# Who may reveal',
        "grants[10].per_pan",
        "a rate per PAN",
    ),
    "revealing without a rate": (
        'per_caller = "10/min"',
        "",
        "grants[11].per_caller",
        "the PINs of all cards",
    ),
    "asking for cards without a rate": (
        'per_caller = "200/s"\n\n# A control token',
        "\n# A control token",
        "grants[8].per_caller",
        "which PANs are cards",
    ),
    "taking stored PINs without a rate": (
        'methods = ["CardPinService.RevealPin"]\nprograms = ["debit"]\nper_caller = "10/min"',
        'methods = ["PinBlockService.EncryptPinChange"]\nprograms = ["debit"]',
        "grants[11].per_caller",
        "stored PINs",
    ),
    "revealing without tokens": (
        '"CardPinService.IssueControlToken", ',
        "",
        "grants",
        "spiffe://example.org/card-app may reveal PINs of debit by control tokens of its own alone",
    ),
    "lengths of cards in a row": (
        ']\nprograms = ["debit"]',
        ']\nprograms = ["debit"]\npin_length = { minimum = 4, maximum = 4 }',
        "grants[8].pin_length",
        "this stands in their programs",
    ),
    "rules of cards in a row": (
        ']\nprograms = ["debit"]',
        ']\nprograms = ["debit"]\npin_rules = "cards"',
        "grants[8].pin_rules",
        "this stands in their programs",
    ),
    "scheme of cards in a row": (
        ']\nprograms = ["debit"]',
        ']\nprograms = ["debit"]\nschemes = ["visa"]',
        "grants[8].schemes",
        "a row of their own",
    ),
    "webhook in the clear": (
        'url = "https://erp',
        'url = "http://erp',
        "webhooks.erp.url",
        "messages go under TLS",
    ),
    "webhook with a user": (
        'url = "https://erp',
        'url = "https://user@erp',
        "webhooks.erp.url",
        "no user",
    ),
    "webhook to another service": (
        "example.org/hooks",
        "example.org:25/hooks",
        "webhooks.erp.url",
        "the port is another service's",
    ),
    "webhook of no program": (
        'programs = ["debit"]\nevents',
        'programs = ["debt"]\nevents',
        "webhooks.erp.programs",
        "add [programs.debt]",
    ),
    "public network": (
        'private_networks = ["10.20.0.0/16"]',
        'private_networks = ["10.0.0.0/7"]',
        "webhooks.erp.private_networks",
        "none that is private",
    ),
    "what JSON does not have": (
        'ewallet_contact = { country = "US" }',
        "ewallet_contact = { since = 2026-01-01 }",
        "webhooks.rapyd.data",
        "JSON has no dates",
    ),
    "details that are no table": (
        'public_details = { bin = "471684", sub_bin = "01" }',
        'public_details = "471684"',
        "webhooks.rapyd.data.public_details",
        "it is a table",
    ),
    "an id of a webhook's own": (
        "data = { public_details",
        'data = { id = "ci_1", public_details',
        "webhooks.rapyd.data.id",
        "take it out",
    ),
    "two secrets of Rapyd's": (
        'secret_file = "secrets/webhook-rapyd"',
        'secret_files = ["secrets/webhook-rapyd"]',
        "webhooks",
        "secret_file",
    ),
    "events of Rapyd's": (
        'access_key = "AC0E5B1D7F3A2C4E6890"',
        'access_key = "AC0E5B1D7F3A2C4E6890"\nevents = ["pin.reset"]',
        "webhooks",
        "unknown field",
    ),
    "unknown event": ('"pin.revealed"', '"pin.shown"', "webhooks", "Invalid enum value"),
    "unknown kind of webhook": ('kind = "standard"', 'kind = "plain"', "webhooks", "Invalid value"),
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


def test_the_keys_of_the_store_may_be_looked_after(example: str, tmp_path: Path) -> None:
    loaded = loaded_from(
        f"""{example}
[[grants]]
callers = ["spiffe://example.org/key-manager"]
methods = ["KeyService.ListKeys", "KeyService.GetKey", "KeyService.RotateKey"]
keys = ["pan-store", "pin-reference", "pin-reveal", "zpk-acme"]
per_caller = "10/h"
""",
        tmp_path,
    )
    assert loaded.store_keys() == {"pan-store", "pin-reference", "pin-reveal"}


def test_an_acquiring_server_has_no_programs(example: str, tmp_path: Path) -> None:
    ungranted = example.split("[[grants]]")[0]
    with pytest.raises(ConfigError, match="keeps no PINs of cards") as refused:
        loaded_from(ungranted.replace('role = "issuing"', 'role = "acquiring"'), tmp_path)
    assert refused.value.option == "programs"


def test_rows_name_the_methods_of_the_contract_and_no_others() -> None:
    served = [
        f"{service.name}.{method.name}"
        for file in (pin_block_pb2, card_pin_pb2, key_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]
    assert sorted(get_args(MethodName)) == sorted(served)


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

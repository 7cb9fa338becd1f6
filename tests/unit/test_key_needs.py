"""Every key that a configuration names is in the key ring, and fits the place it is named in."""

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm import keyring
from hsm.keyring import Algorithm, KeyEntry, Keyring, Mode, Origin, State, Usage
from hsm.vocabulary import Family
from pinvault.bootstrap import read_keyring, require_own_keys
from pinvault.config import Config, ConfigError, Loaded

CONFIGURATION = """
mode = "development"
role = "issuing"
admin = {}
audit = { directory = "audit" }
state = { directory = "state" }
keys = { index = "index", audit_signing = "signing" }
server.listen = "127.0.0.1:0"
server.tls = { certificate_file = "cert", private_key_file = "key", client_ca_file = "ca" }

[hsm]
module = "module"
token_label = "token"
token_serial = "1"
pin_file = "pin"
keyring_file = "keyring.toml"

[profiles]
sealed = { kind = "sealed-jwe", key = "seal" }
app-block = { kind = "sealed-aes-block", key = "unwrap" }
partner = { kind = "rsa-json", key = "partner", padding = "OAEP-SHA1" }

[profiles.field]
kind = "sealed-rsa"
key = "open"
plaintext = "hex-of-digits"
encoding = "hex-lower"
pin_length = { minimum = 4, maximum = 4 }
accept_pkcs1_v1_5 = true

[profiles.app-ecdh]
kind = "sealed-ecdh-block"
key = "agree"
derivation = { shared_info = "00" }

[profiles.partner-ecdh]
kind = "ecdh-block"
key = "partner-agree"
derivation = { shared_info = "00" }

[verification.visa]
kind = "visa-pvv"
keys = { 0 = "pvk-0", 6 = "pvk-6" }

[verification.offset]
kind = "ibm-3624"
key = "offset"
decimalisation_table = "0123456789012345"
validation = "{first16}"

[scripts.visa-block]
block = "visa"
padding = "length"
confidentiality = "smc"
integrity = "smi"
cryptograms = "ac"

[scripts.plain]
block = "iso-2"
padding = "none"
confidentiality = "smc"
integrity = "smi"

[dukpt]
tdes_variants = { bdk = "variant" }

[key_blocks]
clear_keys = true
storage_key = "storage"
variants = { old = { encryption = "old-45", mac = "old-4d" } }

[store]
address = "sqlite:////nowhere/store.db"
pan_key = "pan"
reference_key = "reference"
reveal_key = "reveal"

[[grants]]
callers = ["switch"]
methods = ["PinBlockService.TranslatePin"]
keys = ["zpk", "zpk-out", "bdk"]
per_pan = "10/h"
"""
KEYS = {
    "index": ("M7", "HMAC_SHA256", "G"),
    "signing": ("S0", "EC_P256", "S"),
    "seal": ("D1", "RSA_2048", "D"),
    "open": ("D1", "RSA_2048", "D"),
    "unwrap": ("K0", "RSA_2048", "D"),
    "agree": ("K3", "EC_P256", "X"),
    "partner": ("D1", "RSA_2048", "E"),
    "partner-agree": ("K3", "EC_P256", "E"),
    "pvk-0": ("V2", "TDES_3KEY", "V"),
    "pvk-6": ("V2", "TDES_3KEY", "G"),
    "offset": ("V1", "TDES_3KEY", "C"),
    "smc": ("E1", "TDES_2KEY", "X"),
    "smi": ("E2", "TDES_2KEY", "X"),
    "ac": ("E0", "TDES_2KEY", "X"),
    "bdk": ("B0", "TDES_2KEY", "X"),
    "variant": ("B0", "TDES_2KEY", "X"),
    "zpk": ("P0", "TDES_2KEY", "B"),
    "storage": ("K1", "AES_256", "B"),
    "old-45": ("K0", "TDES_2KEY", "D"),
    "old-4d": ("M1", "TDES_2KEY", "V"),
    "pan": ("D0", "AES_256", "B"),
    "reference": ("P0", "AES_256", "B"),
    "reveal": ("P0", "AES_128", "B"),
    "zpk-out": ("P0", "AES_128", "E"),
}
JWA = {"open": "RSA1_5"}
OF_ANOTHER_MODE = {
    "seal": "partner",
    "partner": "seal",
    "open": "partner",
    "agree": "partner-agree",
    "reference": "zpk-out",
    "reveal": "zpk-out",
}
Place = tuple[str | int, ...]


def entry(name: str, usage: str, algorithm: str, mode: str) -> KeyEntry:
    kind = Algorithm(algorithm)
    digits = 64 if kind.family in {Family.RSA, Family.EC} else 6
    made = KeyEntry(
        name=name,
        version=1,
        usage=Usage(usage),
        algorithm=kind,
        mode=Mode(mode),
        check_value="A" * digits,
        origin=Origin.IMPORTED,
        state=State.ACTIVE,
        valid_from=date(2026, 1, 1),
        jwa=JWA.get(name, "RSA-OAEP") if kind.family is Family.RSA and mode == "D" else None,
    )
    return replace(
        made,
        derivation_check_value="A" * 6 if made.role.only_derives else None,
        decipher_check_value="A" * 6 if made.role.only_deciphers else None,
    )


def write_ring(folder: Path, without: str = "") -> None:
    entries = tuple(entry(name, *kind) for name, kind in KEYS.items() if name != without)
    (folder / "keyring.toml").write_text(keyring.dump(Keyring(keys=entries)))


def loaded(folder: Path, data: dict[str, Any]) -> Loaded:
    config = msgspec.convert(data, Config)
    return Loaded(path=folder / "pinvault.toml", config=config, sha256="")


def named(data: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Walk a configuration: every place that names a key."""
    if isinstance(data, dict):
        for name, inner in data.items():
            yield from named(inner, (*place, name))
        return
    if isinstance(data, list):
        for number, inner in enumerate(data):
            yield from named(inner, (*place, number))
        return
    if data in KEYS:
        yield place, data


NAMED = dict(named(tomllib.loads(CONFIGURATION)))


def renamed(place: Place, name: str) -> dict[str, Any]:
    """Give the configuration with another name in one place."""
    data = tomllib.loads(CONFIGURATION)
    *way, last = place
    at = data
    for step in way:
        at = at[step]
    at[last] = name
    return data


def error_of(folder: Path, data: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_keyring(loaded(folder, data))
    assert str(folder / "pinvault.toml") in str(caught.value)
    return caught.value


def dotted(place: Place) -> str:
    return ".".join(map(str, place))


def test_the_configuration_names_every_key_of_the_ring(tmp_path: Path) -> None:
    assert set(NAMED.values()) == set(KEYS)
    write_ring(tmp_path)
    ring = read_keyring(loaded(tmp_path, tomllib.loads(CONFIGURATION)))
    assert [each.name for each in ring.keys] == list(KEYS)


@pytest.mark.parametrize("place", NAMED, ids=dotted)
def test_a_key_that_is_not_in_the_ring_is_told_with_its_option(
    tmp_path: Path, place: Place
) -> None:
    write_ring(tmp_path)
    error = error_of(tmp_path, renamed(place, "absent"))
    assert "absent" in str(error)
    option = f"grants[{place[1]}].keys" if place[0] == "grants" else dotted(place)
    assert error.option == option


@pytest.mark.parametrize("name", KEYS)
def test_no_key_may_be_missing_from_the_ring(tmp_path: Path, name: str) -> None:
    write_ring(tmp_path, without=name)
    assert name in str(error_of(tmp_path, tomllib.loads(CONFIGURATION)))


FITTING = {place: name for place, name in NAMED.items() if place[0] != "grants"}


@pytest.mark.parametrize("place", FITTING, ids=dotted)
def test_a_key_of_another_usage_is_told_with_its_option(tmp_path: Path, place: Place) -> None:
    write_ring(tmp_path)
    error = error_of(tmp_path, renamed(place, "zpk"))
    assert error.option == dotted(place)
    assert "zpk" in str(error)


@pytest.mark.parametrize(
    "place", [each for each, name in NAMED.items() if name in OF_ANOTHER_MODE], ids=dotted
)
def test_a_key_of_the_usage_and_another_mode_is_told(tmp_path: Path, place: Place) -> None:
    write_ring(tmp_path)
    error = error_of(tmp_path, renamed(place, OF_ANOTHER_MODE[NAMED[place]]))
    assert error.option == dotted(place)


@pytest.mark.parametrize(("profile", "key"), [("field", "seal"), ("sealed", "open")])
def test_a_key_of_the_other_padding_is_told(tmp_path: Path, profile: str, key: str) -> None:
    write_ring(tmp_path)
    error = error_of(tmp_path, renamed(("profiles", profile, "key"), key))
    assert error.option == f"profiles.{profile}.key"
    assert "a jwa that the profile opens by" in str(error)


def test_the_variant_of_a_base_key_must_be_one_too(tmp_path: Path) -> None:
    write_ring(tmp_path)
    for other in ("absent", "zpk"):
        data = tomllib.loads(CONFIGURATION)
        data["dukpt"]["tdes_variants"] = {"bdk": other}
        assert error_of(tmp_path, data).option == "dukpt.tdes_variants.bdk"
        data["dukpt"]["tdes_variants"] = {other: "variant"}
        assert error_of(tmp_path, data).option == f"dukpt.tdes_variants.{other}"


def test_a_pan_is_not_stored_under_a_key_of_pins(tmp_path: Path) -> None:
    write_ring(tmp_path)
    error = error_of(tmp_path, renamed(("store", "pan_key"), "reveal"))
    assert error.option == "store.pan_key"
    assert "usage D0 and mode B and AES" in str(error)


def test_a_store_may_do_without_blocks(tmp_path: Path) -> None:
    write_ring(tmp_path)
    data = tomllib.loads(CONFIGURATION)
    del data["store"]["reference_key"], data["store"]["reveal_key"]
    assert loaded(tmp_path, data).store_keys() == {"pan"}
    assert read_keyring(loaded(tmp_path, data))
    del data["store"]
    assert loaded(tmp_path, data).store_keys() == frozenset()
    assert read_keyring(loaded(tmp_path, data))


def awaiting(name: str, **wanted: str) -> dict[str, Any]:
    data = tomllib.loads(CONFIGURATION)
    kind = {"usage": "P0", "algorithm": "TDES_2KEY", "mode": "B"}
    data["key_blocks"]["awaited"] = {name: kind | wanted}
    return data


def test_a_grant_may_name_a_key_that_is_still_to_come(tmp_path: Path) -> None:
    write_ring(tmp_path)
    data = awaiting("zpk-acme")
    data["grants"][0]["keys"].append("zpk-acme")
    assert read_keyring(loaded(tmp_path, data))
    data["grants"][0]["keys"].append("zpk-other")
    assert error_of(tmp_path, data).option == "grants[0].keys"


def test_what_is_awaited_is_what_came(tmp_path: Path) -> None:
    write_ring(tmp_path)
    assert read_keyring(loaded(tmp_path, awaiting("zpk")))
    for other in ({"mode": "E"}, {"algorithm": "TDES_3KEY"}, {"usage": "V1", "mode": "C"}):
        error = error_of(tmp_path, awaiting("zpk", **other))
        assert error.option == "key_blocks.awaited.zpk"


def test_the_own_keys_are_enough_for_a_command_that_makes_the_others(tmp_path: Path) -> None:
    config = loaded(tmp_path, tomllib.loads(CONFIGURATION))
    own = {name: entry(name, *KEYS[name]) for name in ("index", "signing")}
    require_own_keys(config, Keyring(keys=tuple(own.values())))
    for name in own:
        rest = tuple(key for key in own.values() if key.name != name)
        with pytest.raises(ConfigError):
            require_own_keys(config, Keyring(keys=rest))

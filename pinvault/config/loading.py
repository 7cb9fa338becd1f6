"""Reads the one TOML file into frozen structs, and says precisely what is wrong with it.

Rules:
- Unknown options are errors: a misspelt protection is a missing one.
- Errors name the file, the option and the remedy, never a value.
- What steers a computation is fixed here, at start; a call can only name it.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from pinvault.config.sections import Config, GrantSection, RunMode
from pinvault.model.custody import WantedKey
from pinvault.model.pin_rules import PinRules
from pinvault.model.profiles import IncomingProfile, Profile
from pinvault.model.scripts import ScriptProfile
from pinvault.model.verification import Ibm3624Scheme, VisaPvvScheme
from pinvault.policy.grants import Grant
from pinvault.policy.limits import RateError, parse_rate
from pinvault.policy.translation import Permission
from pinvault.server.identity import is_name

MAX_PORT = 65_535
NEEDS_PAN_RATE = frozenset(
    {
        "PinBlockService.VerifyPin",
        "PinBlockService.GenerateVerificationValue",
        "PinBlockService.ChangeVerificationValue",
        "PinBlockService.GeneratePin",
        "PinBlockService.EncryptPinChangeScript",
    }
)
BATCH = "PinBlockService.TranslatePinBatch"
IMPORTS = frozenset({"KeyService.ImportKeyBlock", "KeyService.ImportKeyCryptogram"})

M_co = TypeVar("M_co", covariant=True)


class ConfigError(Exception):
    """The configuration cannot be used: file, option, what is wrong and what to do."""

    def __init__(self, path: Path, option: str, text: str) -> None:
        where = f"{path}: {option}: " if option else f"{path}: "
        super().__init__(where + text)
        self.path = path
        self.option = option


class _Modelled(Protocol[M_co]):
    """A section that becomes a value of the model."""

    def to_model(self, name: str) -> M_co: ...


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration, the file that it came from, and the SHA-256 of what was read there."""

    path: Path
    config: Config
    sha256: str

    def file(self, relative: str) -> Path:
        """Give a path of the configuration, relative to its file."""
        return self.path.parent / relative

    def profiles(self) -> dict[str, Profile]:
        """Give the profiles by name."""
        return self._models("profiles", self.config.profiles)

    def verification(self) -> dict[str, VisaPvvScheme | Ibm3624Scheme]:
        """Give the verification schemes by name."""
        return self._models("verification", self.config.verification)

    def scripts(self) -> dict[str, ScriptProfile]:
        """Give the script profiles by name."""
        return self._models("scripts", self.config.scripts)

    def awaited(self) -> dict[str, WantedKey]:
        """Give the keys that may be imported beside those of the key ring, by name."""
        return self._models("key_blocks.awaited", self.config.key_blocks.awaited)

    def variants(self) -> dict[str, tuple[str, str]]:
        """Give the names of the encryption and MAC variants of each legacy KBPK, by its name."""
        sections = self.config.key_blocks.variants
        return {name: (pair.encryption, pair.mac) for name, pair in sections.items()}

    def pin_rules(self) -> dict[str, PinRules]:
        """Give the PIN rules by name."""
        rules = {}
        for name, section in self.config.pin_rules.items():
            option = f"pin_rules.{name}"
            try:
                rules[name] = section.to_model(name, self.path.parent)
            except OSError as error:
                text = f"the file cannot be read ({error.strerror}): correct the path"
                raise ConfigError(self.path, f"{option}.excluded_file", text) from None
            except ValueError as error:
                raise ConfigError(self.path, option, str(error)) from None
        return rules

    def _models(self, option: str, sections: Mapping[str, _Modelled[M_co]]) -> dict[str, M_co]:
        """Give the models of sections by name; what a model refuses is told with its place."""
        models = {}
        for name, section in sections.items():
            try:
                models[name] = section.to_model(name)
            except ValueError as error:
                raise ConfigError(self.path, f"{option}.{name}", str(error)) from None
        return models

    def slots_wanted(self) -> int:
        """Give how many slots the table needs for callers who use their rates up, doubled.

        A PAN's account is alive for as long as one use of it takes to be forgotten, an envelope
        for as long as it could come again. Key serial numbers are not counted: which rows are
        for terminals is not told here.
        """
        live: dict[tuple[str, str], float] = {}
        for row in self.grants():
            if row.per_caller is None:
                continue
            seconds = self._remembered_s(row)
            if row.per_pan is not None:
                seconds += row.per_pan.interval_s
            rate = row.per_caller.count / row.per_caller.period_s
            for caller in row.callers:
                place = (caller, row.method)
                live[place] = max(live.get(place, 0.0), rate * seconds)
        return round(2 * sum(live.values()))

    def _remembered_s(self, row: Grant) -> float:
        """Give how long the envelopes that a row lets in are remembered, in seconds."""
        profiles = self.profiles()
        named = (profiles[name] for name in row.profiles)
        return max((p.remember_s for p in named if isinstance(p, IncomingProfile)), default=0.0)

    def grants(self) -> tuple[Grant, ...]:
        """Give the rows of the grants table, one a method."""
        return tuple(row for number in range(len(self.config.grants)) for row in self._rows(number))

    def _rows(self, number: int) -> list[Grant]:
        section, option = self.config.grants[number], f"grants[{number}]"
        rules = self.pin_rules()
        try:
            per_caller = parse_rate(section.per_caller) if section.per_caller is not None else None
            per_pan = parse_rate(section.per_pan) if section.per_pan is not None else None
        except RateError as error:
            text = f"{error}: {error.remedy}"
            raise ConfigError(self.path, f"{option}.per_caller or per_pan", text) from None
        return [
            Grant(
                callers=frozenset(section.callers),
                method=method,
                keys=frozenset(section.keys),
                formats=frozenset(section.formats),
                profiles=frozenset(section.profiles),
                translations=frozenset(map(Permission, section.translations)),
                schemes=frozenset(section.schemes),
                pin_length=section.pin_length.to_model() if section.pin_length else None,
                pin_rules=rules[section.pin_rules] if section.pin_rules is not None else None,
                per_caller=per_caller,
                per_pan=per_pan,
            )
            for method in section.methods
        ]


def load(path: Path) -> Loaded:
    """Read and check a configuration, or raise ConfigError with the first fault."""
    try:
        raw = path.read_bytes()
        data = tomllib.loads(raw.decode("utf-8"))
    except OSError as error:
        text = f"cannot be read ({error.strerror}): give the path of a configuration"
        raise ConfigError(path, "", text) from None
    except UnicodeDecodeError:
        raise ConfigError(path, "", "is not UTF-8 text: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, "", f"is not TOML: {error}") from None
    try:
        config = msgspec.convert(data, Config)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        option = place.rpartition("$")[2].rstrip("`").removeprefix(".")
        raise ConfigError(path, option, f"{text}: see pinvault.example.toml") from None
    loaded = Loaded(path=path, config=config, sha256=hashlib.sha256(raw).hexdigest())
    _check_addresses(loaded)
    _check_lengths(loaded)
    _check_models(loaded)
    _check_key_blocks(loaded)
    _check_grants(loaded)
    _check_mode(loaded)
    return loaded


def split_address(address: str) -> tuple[str, int]:
    """Give host and port of `host:port` or `[v6]:port`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _check_addresses(loaded: Loaded) -> None:
    for option, address in (
        ("server.listen", loaded.config.server.listen),
        ("admin.listen", loaded.config.admin.listen),
    ):
        if split_address(address)[1] > MAX_PORT:
            raise ConfigError(loaded.path, option, "a port is at most 65535: correct it")


def _check_models(loaded: Loaded) -> None:
    """Build what the sections become; a model that cannot be is told with its place."""
    loaded.profiles()
    loaded.verification()
    loaded.scripts()
    loaded.pin_rules()
    both = loaded.config.verification.keys() & loaded.config.scripts.keys()
    if both:
        text = "a scheme and a script profile share this name: rename one of them"
        raise ConfigError(loaded.path, f"scripts.{min(both)}", text)


def _check_key_blocks(loaded: Loaded) -> None:
    """Refuse what only clear keys are for while they are off."""
    section = loaded.config.key_blocks
    for option, value in (("storage_key", section.storage_key), ("variants", section.variants)):
        if value and not section.clear_keys:
            text = "nothing is done with it while clear keys are off: set clear_keys = true"
            raise ConfigError(loaded.path, f"key_blocks.{option}", text)


def _check_lengths(loaded: Loaded) -> None:
    config = loaded.config
    sections = {
        **{f"profiles.{name}": section.pin_length for name, section in config.profiles.items()},
        **{f"grants[{n}]": row.pin_length for n, row in enumerate(config.grants)},
    }
    for option, length in sections.items():
        if length is not None and length.minimum > length.maximum:
            text = "the minimum is above the maximum: exchange them"
            raise ConfigError(loaded.path, f"{option}.pin_length", text)


def _check_grants(loaded: Loaded) -> None:
    for number, section in enumerate(loaded.config.grants):
        option = f"grants[{number}]"
        if not all(map(is_name, section.callers)):
            text = (
                "a caller cannot be recorded under this name: 1 to 128 letters, digits and "
                "._:/@=-, beginning with a letter, without 12 digits or 16 hex digits in a row"
            )
            raise ConfigError(loaded.path, f"{option}.callers", text)
        _check_names(loaded, section, option)
        _check_row(loaded, section, option)
    _check_rates(loaded)


def _check_names(loaded: Loaded, section: GrantSection, option: str) -> None:
    """Refuse names of profiles, schemes and rules that the file does not have."""
    config = loaded.config
    rules = (section.pin_rules,) if section.pin_rules is not None else ()
    for place, wanted, known, table in (
        ("profiles", section.profiles, config.profiles.keys(), "profiles"),
        (
            "schemes",
            section.schemes,
            config.verification.keys() | config.scripts.keys(),
            "verification",
        ),
        ("pin_rules", rules, config.pin_rules.keys(), "pin_rules"),
    ):
        for name in wanted:
            if name not in known:
                text = f"nothing is named {name}: add [{table}.{name}] or correct the name"
                raise ConfigError(loaded.path, f"{option}.{place}", text)


def _check_row(loaded: Loaded, section: GrantSection, option: str) -> None:
    """Refuse methods that the role does not serve, and rows without the rates that they need."""
    role = loaded.config.role
    for method in section.methods:
        if not role.serves(method):
            text = (
                f'an acquiring server has no {method}: take it out, or set role = "issuing" '
                "on a server of its own"
            )
            raise ConfigError(loaded.path, f"{option}.methods", text)
    pin_methods = {m for m in section.methods if m.startswith("PinBlockService.")}
    asked_often = any(form.needs_pan_rate for form in section.formats) and pin_methods - {BATCH}
    if not section.per_pan and (asked_often or pin_methods & NEEDS_PAN_RATE):
        text = (
            "blocks of any format but ISO_1 and ISO_4, and every method that verifies, generates "
            "or changes, tell of PINs to whoever may ask often, so they need a rate per PAN: "
            'add per_pan = "10/h"'
        )
        raise ConfigError(loaded.path, f"{option}.per_pan", text)
    if BATCH in pin_methods and not section.per_caller:
        text = (
            "an account stands once in a batch, so the rate of batches is the rate per PAN, and "
            'a row with TranslatePinBatch needs one: add per_caller = "10/h"'
        )
        raise ConfigError(loaded.path, f"{option}.per_caller", text)
    if IMPORTS.intersection(section.methods) and not section.per_caller:
        text = (
            "who may try key blocks and cryptograms without end may come to one that opens, so a "
            'row with an import needs a rate: add per_caller = "10/h"'
        )
        raise ConfigError(loaded.path, f"{option}.per_caller", text)


def _check_rates(loaded: Loaded) -> None:
    """Refuse two rates for one account: the stricter would lock out the looser."""
    seen: dict[tuple[str, ...], object] = {}
    for row in loaded.grants():
        for caller in row.callers:
            for account, rate, name in (
                ((caller, row.method), row.per_caller, "per_caller"),
                ((caller,), row.per_pan, "per_pan"),
            ):
                if rate is not None and seen.setdefault((name, *account), rate) != rate:
                    text = f"{caller} has two different rates for one account: make them the same"
                    raise ConfigError(loaded.path, f"grants.{name}", text)


def _check_mode(loaded: Loaded) -> None:
    config = loaded.config
    if config.mode is RunMode.PRODUCTION and config.server.reflection:
        text = "reflection is for development: set it to false"
        raise ConfigError(loaded.path, "server.reflection", text)

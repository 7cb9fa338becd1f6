"""A configuration that was read: its sections as the values that the service is built of.

Rules:
- Errors name the file, the option and the remedy, never a value.
- What steers a computation is fixed here, at start; a call can only name it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from pinvault.config.programs import ProgramFault, Surroundings
from pinvault.config.sections import Config, RunMode
from pinvault.config.webhooks import WebhookFault
from pinvault.model.cards import Program
from pinvault.model.custody import WantedKey
from pinvault.model.pin_rules import PinRules
from pinvault.model.profiles import IncomingProfile, Profile
from pinvault.model.scripts import ScriptProfile
from pinvault.model.verification import Ibm3624Scheme, VisaPvvScheme
from pinvault.notify.endpoints import Endpoint
from pinvault.policy.grants import Grant
from pinvault.policy.limits import RateError, parse_rate
from pinvault.policy.translation import Permission

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

    def store_keys(self) -> frozenset[str]:
        """Give the names of the keys that are kept for the store."""
        store = self.config.store
        return frozenset(store.keys().values()) if store is not None else frozenset()

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

    def programs(self) -> dict[str, Program]:
        """Give the card programs by name."""
        around = self._surroundings()
        programs = {}
        for name, section in self.config.programs.items():
            try:
                programs[name] = section.to_model(name, around)
            except ProgramFault as fault:
                option = f"programs.{name}.{fault.option}".removesuffix(".")
                raise ConfigError(self.path, option, str(fault)) from None
        return programs

    def webhooks(self) -> dict[str, Endpoint]:
        """Give the receivers of messages by name; no secret is read."""
        is_development = self.config.mode is RunMode.DEVELOPMENT
        endpoints = {}
        for name, section in self.config.webhooks.items():
            try:
                endpoints[name] = section.to_model(
                    name, self.path.parent, is_development=is_development
                )
            except WebhookFault as fault:
                raise ConfigError(
                    self.path, f"webhooks.{name}.{fault.option}", str(fault)
                ) from None
        return endpoints

    def _surroundings(self) -> Surroundings:
        """Give what programs stand on."""
        store = self.config.store
        return Surroundings(
            schemes=self.config.verification,
            rules=self.pin_rules(),
            has_store=store is not None,
            has_reference_key=store is not None and store.reference_key is not None,
            has_reveal_key=store is not None and store.reveal_key is not None,
            is_development=self.config.mode is RunMode.DEVELOPMENT,
        )

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
                programs=frozenset(section.programs),
                pin_length=section.pin_length.to_model() if section.pin_length else None,
                pin_rules=rules[section.pin_rules] if section.pin_rules is not None else None,
                per_caller=per_caller,
                per_pan=per_pan,
            )
            for method in section.methods
        ]

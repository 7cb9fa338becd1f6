"""Reads the one TOML file into frozen structs, and says precisely what is wrong with it.

Rules:
- Unknown options are errors: a misspelt protection is a missing one.
- Errors name the file, the option and the remedy, never a value.
- What steers a computation is fixed here, at start; a call can only name it.
"""

import hashlib
import tomllib
from enum import StrEnum, unique
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pinvault.model.pins import Format
from pinvault.model.profiles import (
    Encoding,
    Padding,
    PinLength,
    Plaintext,
    Profile,
    RsaFieldProfile,
    SealedJweProfile,
)
from pinvault.policy.grants import Grant
from pinvault.policy.limits import RateError, parse_rate
from pinvault.policy.translation import Permission
from pinvault.server.identity import IdentityKind, is_name

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,30}$")]
Address = Annotated[str, Meta(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
MethodName = Literal[
    "PinBlockService.EncryptPin",
    "PinBlockService.EncryptPinChange",
    "KeyService.ListKeys",
    "KeyService.GetKey",
    "KeyService.GetPublicKey",
]


MAX_PORT = 65_535


class ConfigError(Exception):
    """The configuration cannot be used: file, option, what is wrong and what to do."""

    def __init__(self, path: Path, option: str, text: str) -> None:
        where = f"{path}: {option}: " if option else f"{path}: "
        super().__init__(where + text)
        self.path = path
        self.option = option


@unique
class RunMode(StrEnum):
    """How strict the start is."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Tls(_Section, frozen=True):
    """PEM files of the server."""

    certificate_file: str
    private_key_file: str
    client_ca_file: str


class DeadlineSection(_Section, frozen=True):
    """What time calls get, in seconds."""

    ceiling_s: Seconds = 10.0
    default_s: Seconds | None = None


class Server(_Section, frozen=True):
    """The gRPC side."""

    listen: Address
    tls: Tls
    workers: Annotated[int, Meta(ge=1, le=256)] = 2
    confine_to_core: bool = True
    threads: Annotated[int, Meta(ge=1, le=1024)] = 64
    identity: IdentityKind = IdentityKind.SPIFFE
    max_request_bytes: Annotated[int, Meta(ge=1024, le=4 * 1024 * 1024)] = 65_536
    message_within_s: Seconds = 2.0
    grace_s: Seconds = 10.0
    max_connection_age_s: Annotated[int, Meta(ge=1, le=86_400)] = 600
    reflection: bool = False
    deadline: DeadlineSection = DeadlineSection()


class Admin(_Section, frozen=True):
    """The admin port."""

    listen: Address = "127.0.0.1:9443"


class Hsm(_Section, frozen=True):
    """The token and its key ring."""

    module: str
    token_label: str
    token_serial: str
    pin_file: str
    keyring_file: str
    hang_after_s: Seconds = 3.0


class Keys(_Section, frozen=True):
    """The service's own keys, by name in the key ring."""

    index: Name
    audit_signing: Name


class Audit(_Section, frozen=True):
    """Where the record is kept."""

    directory: str


class State(_Section, frozen=True):
    """What the workers of a host share."""

    directory: str
    slots: Annotated[int, Meta(ge=1024, le=16_777_216)] = 1_048_576


class Protection(_Section, frozen=True):
    """The time class of refusals."""

    refusal_quantum_ms: Annotated[int, Meta(ge=1, le=1000)] = 25


class PinLengthSection(_Section, frozen=True):
    """PIN lengths in digits."""

    minimum: Annotated[int, Meta(ge=4, le=12)] = 4
    maximum: Annotated[int, Meta(ge=4, le=12)] = 12

    def to_model(self) -> PinLength:
        """Give the model's form."""
        return PinLength(minimum=self.minimum, maximum=self.maximum)


class SealedJwe(_Section, frozen=True, tag_field="kind", tag="sealed-jwe"):
    """An incoming profile."""

    key: Name
    max_age_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    clock_skew_s: Annotated[int, Meta(ge=0, le=3600)] = 30
    bind_pan: bool = True
    pin_length: PinLengthSection = PinLengthSection()

    def to_model(self, name: str) -> Profile:
        """Give the model's form."""
        return SealedJweProfile(
            name=name,
            key=self.key,
            max_age_s=self.max_age_s,
            clock_skew_s=self.clock_skew_s,
            bind_pan=self.bind_pan,
            pin_length=self.pin_length.to_model(),
        )


class RsaField(_Section, frozen=True, tag_field="kind", tag="rsa-field"):
    """An outgoing profile."""

    key: Name
    padding: Padding
    plaintext: Plaintext
    encoding: Encoding
    pin_length: PinLengthSection = PinLengthSection()

    def to_model(self, name: str) -> Profile:
        """Give the model's form."""
        return RsaFieldProfile(
            name=name,
            key=self.key,
            padding=self.padding,
            plaintext=self.plaintext,
            encoding=self.encoding,
            pin_length=self.pin_length.to_model(),
        )


class GrantSection(_Section, frozen=True):
    """A row of the grants table, for one or more methods."""

    callers: Annotated[tuple[str, ...], Meta(min_length=1)]
    methods: Annotated[tuple[MethodName, ...], Meta(min_length=1)]
    keys: tuple[Name, ...] = ()
    formats: tuple[Format, ...] = ()
    profiles: tuple[Name, ...] = ()
    translations: tuple[Literal["iso-1-to-pan", "aes-to-tdes"], ...] = ()
    per_caller: str | None = None
    per_pan: str | None = None


class Config(_Section, frozen=True):
    """The whole file."""

    mode: RunMode
    server: Server
    hsm: Hsm
    keys: Keys
    audit: Audit
    state: State
    admin: Admin = Admin()
    protection: Protection = Protection()
    profiles: dict[Name, SealedJwe | RsaField] = {}
    grants: tuple[GrantSection, ...] = ()


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
        return {name: section.to_model(name) for name, section in self.config.profiles.items()}

    def slots_wanted(self) -> int:
        """Give how many slots the table needs for callers who use their rates up, doubled.

        A PAN's account is alive for as long as one use of it takes to be forgotten.
        """
        live = {
            (caller, row.method): row.per_caller.count
            / row.per_caller.period_s
            * row.per_pan.interval_s
            for row in self.grants()
            for caller in row.callers
            if row.per_caller is not None and row.per_pan is not None
        }
        return round(2 * sum(live.values()))

    def grants(self) -> tuple[Grant, ...]:
        """Give the rows of the grants table, one a method."""
        return tuple(row for number in range(len(self.config.grants)) for row in self._rows(number))

    def _rows(self, number: int) -> list[Grant]:
        section, option = self.config.grants[number], f"grants[{number}]"
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
        option = place.rstrip("`").removeprefix("$").removeprefix(".")
        raise ConfigError(path, option, f"{text}: see pinvault.example.toml") from None
    loaded = Loaded(path=path, config=config, sha256=hashlib.sha256(raw).hexdigest())
    _check_addresses(loaded)
    _check_profiles(loaded)
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


def _check_profiles(loaded: Loaded) -> None:
    for name, section in loaded.config.profiles.items():
        if section.pin_length.minimum > section.pin_length.maximum:
            text = "the minimum is above the maximum: exchange them"
            raise ConfigError(loaded.path, f"profiles.{name}.pin_length", text)


def _check_grants(loaded: Loaded) -> None:
    for number, section in enumerate(loaded.config.grants):
        option = f"grants[{number}]"
        if not all(map(is_name, section.callers)):
            text = (
                "a caller cannot be recorded under this name: 1 to 128 letters, digits and "
                "._:/@=-, beginning with a letter, without 12 digits or 16 hex digits in a row"
            )
            raise ConfigError(loaded.path, f"{option}.callers", text)
        for profile in section.profiles:
            if profile not in loaded.config.profiles:
                text = (
                    f"no profile is named {profile}: add [profiles.{profile}] or correct the name"
                )
                raise ConfigError(loaded.path, f"{option}.profiles", text)
        asked_often = any(form.needs_pan_rate for form in section.formats)
        if asked_often and not section.per_pan and _makes_blocks(section.methods):
            text = (
                "ISO_0 and ISO_3 blocks tell of PINs to whoever may ask often, so they need a rate "
                'per PAN: add per_pan = "10/h" or grant ISO_4 instead'
            )
            raise ConfigError(loaded.path, f"{option}.per_pan", text)
    _check_rates(loaded)


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


def _makes_blocks(methods: tuple[str, ...]) -> bool:
    return any(method.startswith("PinBlockService.") for method in methods)


def _check_mode(loaded: Loaded) -> None:
    config = loaded.config
    if config.mode is RunMode.PRODUCTION and config.server.reflection:
        text = "reflection is for development: set it to false"
        raise ConfigError(loaded.path, "server.reflection", text)

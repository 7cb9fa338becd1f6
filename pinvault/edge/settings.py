"""Reads the edge's one TOML file, and says precisely what is wrong with it.

Rules:
- Unknown options are errors: a misspelt protection is a missing one.
- Plain HTTP is for the loopback alone. Clear PINs are for callers with certificates, by name.
- A dialect's section is read by its package, which knows the options of its own.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from pinvault.edge import dialects
from pinvault.edge.credentials import Name
from pinvault.edge.files import EdgeError, Section, into, read_toml
from pinvault.edge.sections import HostedPage, Options, RateText

EXAMPLE: Final = "edge.example.toml"
Address = Annotated[str, Meta(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}\Z")]
Seconds = Annotated[float, Meta(gt=0, le=600)]
Count = Annotated[int, Meta(ge=1, le=65_536)]


class Server(Section, frozen=True, kw_only=True):
    """`[server]`: the pinvault server, and who the edge is to it."""

    address: Address
    ca_file: str
    certificate_file: str
    private_key_file: str
    channels: Annotated[int, Meta(ge=1, le=64)] = 4
    timeout_s: Seconds = 5.0
    sealing_profile: str = "sealed-card"
    sealing_key: str = "pin-seal"
    sealing_thumbprints: tuple[str, ...] = ()


class Admin(Section, frozen=True, kw_only=True):
    """`[admin]`: where /healthz, /readyz and /metrics are."""

    listen: Address = "127.0.0.1:9444"


class Limits(Section, frozen=True, kw_only=True):
    """`[limits]`: what one process takes on, and how long it waits for a caller."""

    threads: Annotated[int, Meta(ge=1, le=1024)] = 32
    connections: Count = 512
    body_bytes: Annotated[int, Meta(ge=1024, le=1_048_576)] = 16_384
    head_s: Seconds = 5.0
    body_s: Seconds = 5.0
    keep_alive_s: Annotated[int, Meta(ge=1, le=600)] = 15
    grace_s: Annotated[int, Meta(ge=1, le=600)] = 10


class Listener(Section, frozen=True, kw_only=True):
    """`[listeners.NAME]`: an address, its TLS files, and whether callers show clear PINs there.

    `failures` is how often one client (by its certificate, or its address) may show a dialect there
    credentials that are wrong.
    """

    listen: Address
    certificate_file: str | None = None
    private_key_file: str | None = None
    client_ca_file: str | None = None
    clients: tuple[str, ...] = ()
    clear_pins: bool = False
    failures: RateText = "30/m"


class Settings(Section, frozen=True, kw_only=True):
    """The file as a whole; the dialects' sections are not read yet."""

    mode: Literal["production", "development"] = "production"
    server: Server
    admin: Admin = Admin()
    limits: Limits = Limits()
    listeners: Annotated[Mapping[Name, Listener], Meta(min_length=1)]
    dialects: Mapping[Name, dict[str, Any]] = {}
    hosted: HostedPage | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that was read and checked; `dialects` are by their sections' names."""

    path: Path
    settings: Settings
    dialects: Mapping[str, Options]

    def file(self, name: str) -> Path:
        """Give the path of a file that is named relative to the configuration's folder."""
        return self.path.parent / name

    def wrong(self, option: str, problem: str) -> EdgeError:
        """Make the error of one option."""
        return EdgeError(self.path, option, problem)


def split_address(address: str) -> tuple[str, int]:
    """Give host and port of `host:port` or `[v6]:port`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def load(path: Path) -> Loaded:
    """Read and check a configuration, or raise EdgeError with the first fault."""
    data = read_toml(path)
    settings: Settings = into(Settings, data, path=path, example=EXAMPLE)
    sections = {name: _section(path, name, data) for name, data in settings.dialects.items()}
    loaded = Loaded(path, settings, sections)
    for name, listener in settings.listeners.items():
        _check_listener(loaded, name, listener)
    _check_uses(loaded)
    return loaded


def _section(path: Path, name: str, data: dict[str, Any]) -> Options:
    option = f"dialects.{name}"
    found = dialects.package(str(data.get("kind")))
    if found is None:
        kinds = ", ".join(sorted(dialects.PACKAGES))
        raise EdgeError(path, f"{option}.kind", f"is none of {kinds}: name one")
    section: Options = into(found.Options, data, path=path, option=option, example=EXAMPLE)
    return section


def _check_listener(loaded: Loaded, name: str, listener: Listener) -> None:
    option = f"listeners.{name}"
    if (listener.certificate_file is None) != (listener.private_key_file is None):
        text = "certificate_file and private_key_file stand together: give both, or neither"
        raise loaded.wrong(option, text)
    has_tls = listener.certificate_file is not None
    if not has_tls and not _is_loopback(split_address(listener.listen)[0]):
        text = "plain HTTP is for 127.0.0.1 and [::1]: give certificate_file and private_key_file"
        raise loaded.wrong(f"{option}.listen", text)
    if listener.client_ca_file is not None and not has_tls:
        text = "clients show certificates over TLS only: give certificate_file, private_key_file"
        raise loaded.wrong(f"{option}.client_ca_file", text)
    if listener.clients and listener.client_ca_file is None:
        raise loaded.wrong(f"{option}.clients", "are known by certificates: give client_ca_file")
    if listener.clear_pins and not (listener.client_ca_file and listener.clients):
        text = "are taken from known certificates only: give client_ca_file and clients"
        raise loaded.wrong(f"{option}.clear_pins", text)


def _check_uses(loaded: Loaded) -> None:
    """Hold that listeners are there for what names them, and the other way."""
    settings = loaded.settings
    uses = {f"dialects.{name}": each.listener for name, each in loaded.dialects.items()}
    if settings.hosted is not None:
        uses["hosted"] = settings.hosted.listener
    for option, listener in uses.items():
        if listener not in settings.listeners:
            text = "is none of [listeners.NAME]: name one, or add it"
            raise loaded.wrong(f"{option}.listener", text)
    for name in settings.listeners:
        if name not in uses.values():
            text = "nothing is served there: let a dialect name it, or remove it"
            raise loaded.wrong(f"listeners.{name}", text)
    seen: set[str] = set()
    for name, each in settings.listeners.items():
        if each.listen in seen and split_address(each.listen)[1]:
            raise loaded.wrong(f"listeners.{name}.listen", "is another's: give each its own")
        seen.add(each.listen)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Every dialect there is, built on a ground of its own, for the contract that all of them keep."""

import io
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from pinvault.edge import dialects
from pinvault.edge.credentials import Credentials, Digest, Secret
from pinvault.edge.dialect import Dialect
from pinvault.edge.facts import Facts
from pinvault.edge.ground import Ground
from pinvault.edge.log import make_log
from pinvault.edge.problems import OwnRoutes
from pinvault.edge.rates import Rate, Rates
from pinvault.edge.sections import HostedPage

ROOT = Path(__file__).parents[2]
OWN, HOSTED = "pinvault", "hosted"
THERE = {
    **{kind: hasattr(dialects.package(kind), "build") for kind in sorted(dialects.PACKAGES)},
    HOSTED: hasattr(dialects.hosted(), "build"),
    OWN: True,
}
NAMES = tuple(name for name, is_there in THERE.items() if is_there)
NOW = 1_700_000_000.0


class NoVault:
    """A server that no call may reach."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: object, **__: object) -> Any:
        raise AssertionError("the server was called")


def example() -> dict[str, Any]:
    """Give edge.example.toml."""
    return tomllib.loads((ROOT / "edge.example.toml").read_text())


def build(
    name: str,
    *,
    vault: Any = None,
    caller: Any = None,
    facts: Facts | None = None,
    per_caller: str = "10000/s",
) -> Dialect:
    """Build a dialect with the options of the example."""
    if name == OWN:
        return OwnRoutes(b"{}")
    page = msgspec.convert(example()["hosted"], HostedPage)
    vault, log = vault or NoVault(), make_log(io.StringIO())
    if name == HOSTED:
        made: Dialect = dialects.hosted().build(page, vault, now=lambda: NOW, log=log, folder=ROOT)
        return made
    package: Any = dialects.package(name)
    rates = Rates(per_caller=Rate.read(per_caller), per_card=Rate(10_000, 1), now=lambda: NOW)
    ground: Ground[Any, Any] = Ground(
        name=name,
        vault=vault,
        settings=msgspec.convert(example()["dialects"][name], package.Options),
        credentials=Credentials([caller or some_caller(package.Caller)]),
        facts=facts or Facts({}, {}),
        rates=rates,
        page=page,
        now=lambda: NOW,
        log=log,
    )
    dialect: Dialect = package.build(ground)
    return dialect


def some_caller(kind: Any) -> Any:
    """Make a caller whose secrets nobody knows."""
    values = {Digest: "0" * 64, Secret: "nobody-knows-this"}
    wanted = [field for field in msgspec.structs.fields(kind) if field.required]
    told = {"name": "acme", "programs": ("debit", "credit")}
    more = {each.name: values.get(each.type, "nobody") for each in wanted if each.name not in told}
    return kind(**told, **more)

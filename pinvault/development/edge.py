"""The edge on a development environment: its files, and the process for the length of a `with`."""

import base64
import hashlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinvault.development.child import Child
from pinvault.development.configuration import PROGRAMS
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer

CALLER = "acme"
ISSUER = "issuer"
"""The client whose certificate the listener for clear PINs knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A dialect, and what its one caller shows and signs with. Worth nothing outside of this.

    Of what is `shown` the credentials have the digest; what is `kept` they have as it is. `headers`
    is what authenticates a request, where nothing has to be signed. `facts` are told of all cards,
    those of `cards` of one.
    """

    kind: str
    listener: str
    program: str
    shown: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: str = ""


def _basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


VENDORS = (
    Vendor(
        kind="connectfi",
        listener="issuers",
        program="debit",
        shown={"token": "development-connectfi-token"},
        headers={"x-connectfi-token": "development-connectfi-token"},
        facts={
            "customerId": "icst_6sPqTnZqLwQXaBvYcRdHfe",
            "cFiAggregatorId": "iagr_3kNvWmXyUoJsTgBhLzCqAd",
            "reference": "",
            "memberNumber": "",
            "cardProgramId": "debit_us",
            "programType": "debit",
        },
        cards={
            "icrd_575fma7wGFKTgSx537PMcO": {
                "reference": "extRefCard_a",
                "memberNumber": "member_a",
            }
        },
    ),
    Vendor(
        kind="marqeta",
        listener="issuers",
        program="credit",
        shown={
            "application_token": "development-marqeta-application",
            "access_token": "development-marqeta-access",
        },
        headers={
            "Authorization": _basic("development-marqeta-application:development-marqeta-access")
        },
        options="reveal = true\n",
    ),
    Vendor(
        kind="rapyd",
        listener="issuers",
        program="credit",
        kept={"access_key": "development-rapyd-access", "secret_key": "development-rapyd-secret"},
        facts={
            "assigned_at": 1699990000,
            "activated_at": 1699995000,
            "metadata": {},
            "country_iso_alpha_2": "US",
            "created_at": 0,  # its place alone: the PIN vault knows when
            "blocked_reason": "none",
            "card_program": None,
        },
        cards={
            "card_f8dd3aa099444e1c80cc5a06de38b165": {
                "ewallet_contact": {
                    "id": "cont_cb60ec28c2f0bdfc621cfc21270c20ce",
                    "first_name": "Jane",
                    "last_name": "Doe",
                    "email": "",
                    "metadata": {},
                    "created_at": 1699900000,
                }
            }
        },
        options="sandbox = true\n",
    ),
    Vendor(
        kind="interswitch",
        listener="public",
        program="prepaid",
        shown={"bearer": "development-interswitch-token"},
        kept={"reissue_profile": "interswitch"},
        headers={"Authorization": "Bearer development-interswitch-token"},
    ),
)
HASHDT = Vendor(
    kind="hashdt",
    listener="public",
    program="debit",
    shown={"api_key": "development-hashdt-key", "bearer": "development-hashdt-token"},
    headers={
        "Authorization": "Bearer development-hashdt-token",
        "Content-Type": "application/json",
        "x-api-key": "development-hashdt-key",
        "x-product-id": "prod_01",
        "x-cardholder-id": "ch_01",
        "x-wallet-id": "wal_01",
    },
)
"""The vendor whose answers are addresses of the hosted page: there with the page alone."""

_TEMPLATE = """\
# Made by the development environment; worth nothing. See edge.example.toml for every option.
mode = "development"

[server]
address = "localhost:{server_port}"
ca_file = "../tls/ca.pem"
certificate_file = "../tls/edge.pem"
private_key_file = "../tls/edge.key"
channels = 2

[admin]
listen = "127.0.0.1:{admin_port}"

[limits]
head_s = 1.0
body_s = 1.0
grace_s = 5

[listeners.issuers]
listen = "127.0.0.1:{issuers_port}"
certificate_file = "../tls/server.pem"
private_key_file = "../tls/server.key"
client_ca_file = "../tls/ca.pem"
clients = ["CN={issuer}"]
clear_pins = true
"""
_PUBLIC = """
[listeners.public]
listen = "127.0.0.1:{public_port}"
"""
_HOSTED = """
[hosted]
listener = "public"
public_url = "http://localhost:{public_port}"
"""
_PAGE = """
[hosted.programs.{program}]
origins = ["http://localhost:8080"]
pin_length = {{ minimum = 4, maximum = {longest} }}
"""
_DIALECT = """
[dialects.{vendor.kind}]
kind = "{vendor.kind}"
listener = "{vendor.listener}"
program = "{vendor.program}"
credentials_file = "{vendor.kind}.toml"
facts_file = "{vendor.kind}.json"
{vendor.options}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the edge listens; 0 is any. The hosted page's links name `public`."""

    public: int = 0
    issuers: int = 0
    admin: int = 0


def write(environment: Environment, *, server_port: int, ports: Ports, page: bool = False) -> Path:
    """Write the edge's files, with the hosted page for all programs or none; give its settings."""
    folder = environment.root / "edge"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = {"server_port": server_port, "admin_port": ports.admin, "issuer": ISSUER}
    text = _TEMPLATE.format(issuers_port=ports.issuers, **facts)
    vendors = [*VENDORS, HASHDT] if page else VENDORS
    text += _PUBLIC.format(public_port=ports.public)
    if page:
        text += _HOSTED.format(public_port=ports.public)
        lengths = {"credit": 12}  # as the server's configuration has them
        text += "".join(
            _PAGE.format(program=program, longest=lengths.get(program, 4)) for program in PROGRAMS
        )
    for vendor in vendors:
        text += _DIALECT.format(vendor=vendor)
        _write_secret(folder / f"{vendor.kind}.toml", _credentials(vendor))
        facts_of_cards = {"defaults": vendor.facts, "cards": vendor.cards}
        (folder / f"{vendor.kind}.json").write_text(json.dumps(facts_of_cards))
    path = folder / "edge.toml"
    path.write_text(text)
    return path


def _credentials(vendor: Vendor) -> str:
    programs = ", ".join(f'"{program}"' for program in PROGRAMS)
    lines = ["[[caller]]", f'name = "{CALLER}"', f"programs = [{programs}]"]
    for name, value in vendor.shown.items():
        lines.append(f'{name}_sha256 = "{hashlib.sha256(value.encode()).hexdigest()}"')
    lines += [f'{name} = "{value}"' for name, value in vendor.kept.items()]
    return "\n".join(lines) + "\n"


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


class RunningEdge(Child):
    """`pinvault edge` beside a running server, for the length of a `with` block."""

    def __init__(
        self, server: RunningServer, *, ports: Ports | None = None, page: bool = False
    ) -> None:
        self.environment = server.environment
        self.config = write(
            self.environment, server_port=server.port, ports=ports or Ports(), page=page
        )
        log = self.config.parent / "edge.log"
        log.unlink(missing_ok=True)
        super().__init__("edge", self.config, log=log, env={})
        self.ports: dict[str, int] = {}

    def url(self, listener: str) -> str:
        """Give the address of a listener; `issuers` wants a client's certificate (`tls`)."""
        scheme = "https" if listener == "issuers" else "http"
        return f"{scheme}://localhost:{self.ports[listener]}"

    def tls(self, client: str | None = ISSUER) -> ssl.SSLContext:
        """Give what a client of the listener `issuers` connects with."""
        tls = self.environment.tls
        context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
        if client is not None:
            context.load_cert_chain(tls / f"{client}.pem", tls / f"{client}.key")
        return context

    def lines(self) -> list[dict[str, Any]]:
        """Give the log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def _serves(self) -> bool:
        if '"the edge serves"' not in self.log.read_text():
            return False
        told = (line for line in self.lines() if line["event"] == "listening")
        self.ports = {line["listener"]: line["port"] for line in told}
        return True

"""A development server that stays up, with an edge and a shop, and what one needs to call them."""

import re
import shlex
import signal
import sys
import threading
from dataclasses import dataclass, replace

from pinvault.client import Vault
from pinvault.development import samples
from pinvault.development.child import ServerFailed
from pinvault.development.curl import Request
from pinvault.development.edge import Ports, RunningEdge
from pinvault.development.environment import Environment
from pinvault.development.samples import RAPYD_CARD, Samples
from pinvault.development.server import RunningServer
from pinvault.development.shop import RunningShop

PIN = "4831"
"""What the programs' rules take; the vendors' own PINs are too easily guessed for them."""
_SIGN = """\
salt=$(openssl rand -hex 6) timestamp=$(date +%s) body={body}
signature=$(printf %s "post{path}$salt$timestamp""{access}{secret}$body" |
  openssl dgst -sha256 -hmac {secret} | sed 's/.* //' | tr -d '\\n' | openssl base64 -A)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where to listen: the edge, and the shop, whose origin the page knows by its port."""

    edge: Ports
    shop: int


def run(environment: Environment, addresses: Addresses) -> int:
    """Serve until interrupted; give the exit code."""
    # Not blocked and waited for: what is started here would have them blocked too.
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with (
        RunningServer(environment) as server,
        RunningEdge(server, ports=addresses.edge, page=True) as edge,
        server.connect() as vault,
    ):
        samples.register(vault)
        with _shop(vault, edge, addresses.shop) as shop:
            print(_about(server, edge, shop), flush=True)
            stopped.wait()
    print("stopped", file=sys.stderr)
    return 0


def _shop(vault: Vault, edge: RunningEdge, port: int) -> RunningShop:
    try:
        return RunningShop(vault, page_origin=edge.url("public"), port=port)
    except OSError as error:
        text = f"the shop cannot listen on port {port}: {error.strerror}; give --shop-port another"
        raise ServerFailed(text) from None


def _about(server: RunningServer, edge: RunningEdge, shop: RunningShop) -> str:
    root = server.environment.root
    commands = "\n\n".join(f"# {vendor}\n{command}" for vendor, command in curls(edge).items())
    return (
        f"pinvault serves on localhost:{server.port}\n"
        f"admin         http://127.0.0.1:{server.admin_port}\n"
        f"configuration {server.environment.config}\nlog           {server.log}\n\n"
        "The edge answers the vendors' APIs\n"
        f"HashDT, Interswitch       {edge.url('public')}\n"
        f"ConnectFi, Marqeta, Rapyd {edge.url('issuers')}, with a client's certificate\n"
        f"admin         {edge.url('admin')}\n"
        f"configuration {edge.config}\nlog           {edge.log}\n\n"
        f"A shop embeds the page on which cardholders set, reset and change PINs\n{shop.url}\n\n"
        "List the keys that the client card-app may know of:\n"
        f"  .venv/bin/buf curl --protocol grpc --timeout 5s --cacert {root}/tls/ca.pem \\\n"
        f"    --cert {root}/tls/card-app.pem --key {root}/tls/card-app.key -d '{{}}' \\\n"
        f"    https://127.0.0.1:{server.port}/pinvault.v1.KeyService/ListKeys\n\n"
        f"Call the edge as each of the vendors' clients does:\n\n{commands}\n\n"
        "Stop with Ctrl-C."
    )


def curls(edge: RunningEdge) -> dict[str, str]:
    """Give a command for each vendor, good for as long as the edge is up."""
    requests = Samples(edge)
    return {
        "ConnectFi": requests.connectfi("set-pin", PIN).command(),
        "Marqeta": requests.marqeta_token("SET_PIN").command(),
        "Rapyd": signed_when_run(requests.rapyd(RAPYD_CARD, PIN)),
        "Interswitch": requests.interswitch_reissue().command(),
        "HashDT": requests.hashdt("set").command(),
    }


def signed_when_run(request: Request) -> str:
    """Give a request of Rapyd's as commands that sign it: a signature is good for a minute."""
    keys = samples.vendor("rapyd").kept
    headers = {name: text for name, text in request.headers.items() if name != "idempotency"}
    command = replace(request, headers=headers).command()
    for name in ("salt", "timestamp", "signature"):
        command = re.sub(f"'{name}: [^']*'", f'"{name}: ${name}"', command)
    body = shlex.quote(request.body)
    sign = _SIGN.format(
        body=body,
        path=samples.RAPYD_PATH,
        access=keys["access_key"],
        secret=keys["secret_key"],
    )
    return sign + command.replace(body, '"$body"')

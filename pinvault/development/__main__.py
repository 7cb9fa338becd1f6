"""`python -m pinvault.development demo|run`: used by the `dev` script."""

import argparse
import os
import sys
from pathlib import Path

from hsm.errors import HsmError
from pinvault.development import configuration, demo, edge_demo, run, shop
from pinvault.development.child import ServerFailed
from pinvault.development.configuration import Settings
from pinvault.development.curl import CurlFailed
from pinvault.development.edge import Ports
from pinvault.development.environment import Environment, prepare
from pinvault.development.ports import free_port


def main() -> int:
    """Run one verb."""
    parser = argparse.ArgumentParser(prog="python -m pinvault.development")
    verbs = parser.add_subparsers(dest="verb", required=True)
    demo_parser = verbs.add_parser("demo", help="the main job, end to end")
    demo_parser.add_argument("--json", action="store_true", help="print only the result")
    demo_parser.add_argument("--edge", action="store_true", help="the vendors' APIs, by curl")
    run_parser = verbs.add_parser("run", help="server, edge and a shop that stay up")
    run_parser.add_argument("--port", type=int, default=8443)
    run_parser.add_argument("--admin-port", type=int, default=9443)
    run_parser.add_argument("--edge-port", type=int, default=8090, help="HashDT, Interswitch, page")
    run_parser.add_argument("--edge-issuers-port", type=int, default=8444, help="the others, mTLS")
    run_parser.add_argument("--edge-admin-port", type=int, default=9444)
    run_parser.add_argument("--shop-port", type=int, default=shop.PORT)
    arguments = parser.parse_args()
    try:
        if arguments.verb == "demo" and arguments.edge:
            edge_demo.forget(_folder("demo"))
            settings = Settings(per_pan="1000/h", any_pin=True)
            return edge_demo.run(_environment("demo", settings), only_json=arguments.json)
        if arguments.verb == "demo":
            return demo.run(_environment("demo", Settings()), only_json=arguments.json)
        settings = Settings(port=arguments.port, admin_port=arguments.admin_port, per_pan="1000/h")
        return run.run(_environment("run", settings), _addresses(arguments))
    except (HsmError, ServerFailed, CurlFailed) as error:
        print(f"pinvault: {error}", file=sys.stderr)
        return 2


def _addresses(arguments: argparse.Namespace) -> run.Addresses:
    edge = Ports(
        public=arguments.edge_port or free_port(),
        issuers=arguments.edge_issuers_port,
        admin=arguments.edge_admin_port,
    )
    return run.Addresses(edge=edge, shop=arguments.shop_port)


def _environment(name: str, settings: Settings) -> Environment:
    return prepare(_folder(name), configuration=lambda at: configuration.write(settings, at))


def _folder(name: str) -> Path:
    return Path(os.environ.get("PINVAULT_DEV_DIR", ".dev")) / name


if __name__ == "__main__":
    sys.exit(main())

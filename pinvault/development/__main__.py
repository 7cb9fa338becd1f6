"""`python -m pinvault.development demo|run`: used by the `dev` script."""

import argparse
import os
import signal
import sys
from pathlib import Path

from hsm.errors import HsmError
from pinvault.development import configuration, demo, run
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment, prepare
from pinvault.development.server import ServerFailed


def main() -> int:
    """Run one verb."""
    parser = argparse.ArgumentParser(prog="python -m pinvault.development")
    verbs = parser.add_subparsers(dest="verb", required=True)
    demo_parser = verbs.add_parser("demo", help="the main job, end to end")
    demo_parser.add_argument("--json", action="store_true", help="print only the request body")
    run_parser = verbs.add_parser("run", help="a server that stays up")
    run_parser.add_argument("--port", type=int, default=8443)
    run_parser.add_argument("--admin-port", type=int, default=9443)
    arguments = parser.parse_args()
    try:
        if arguments.verb == "demo":
            return demo.run(_environment("demo", Settings()), only_json=arguments.json)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        settings = Settings(port=arguments.port, admin_port=arguments.admin_port, per_pan="1000/h")
        return run.run(_environment("run", settings))
    except (HsmError, ServerFailed) as error:
        print(f"pinvault: {error}", file=sys.stderr)
        return 2


def _environment(name: str, settings: Settings) -> Environment:
    root = Path(os.environ.get("PINVAULT_DEV_DIR", ".dev")) / name
    return prepare(root, configuration=lambda at: configuration.write(settings, at))


if __name__ == "__main__":
    sys.exit(main())

"""A development server that stays up, with what one needs to call it."""

import signal
import sys

from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer


def run(environment: Environment) -> int:
    """Serve until interrupted; give the exit code."""
    root = environment.root
    with RunningServer(environment) as server:
        print(
            f"pinvault serves on localhost:{server.port}\n"
            f"admin         http://127.0.0.1:{server.admin_port}\n"
            f"configuration {environment.config}\nlog           {server.log}\n\n"
            "List the keys that the client card-app may know of:\n"
            f"  .venv/bin/buf curl --protocol grpc --timeout 5s --cacert {root}/tls/ca.pem \\\n"
            f"    --cert {root}/tls/card-app.pem --key {root}/tls/card-app.key -d '{{}}' \\\n"
            f"    https://127.0.0.1:{server.port}/pinvault.v1.KeyService/ListKeys\n\n"
            "Stop with Ctrl-C.",
            flush=True,
        )
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    print("stopped", file=sys.stderr)
    return 0

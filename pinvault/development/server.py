"""Starts the real server as a child process and waits until it serves."""

import json
from typing import Self

from pinvault.client import Vault, connect
from pinvault.development.child import Child
from pinvault.development.environment import Environment


class RunningServer(Child):
    """`pinvault serve` on an environment, for the length of a `with` block."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(
            "serve",
            environment.config,
            log=environment.root / "server.log",
            env=environment.variables(),
        )
        self.environment = environment
        self.port = 0
        self.admin_port = 0

    def __enter__(self) -> Self:
        self.environment.notice.unlink(missing_ok=True)
        return super().__enter__()

    def connect(self, client: str = "card-app", *, timeout_s: float = 10.0) -> Vault:
        """Connect as one of the environment's clients."""
        tls = self.environment.tls
        return connect(
            f"localhost:{self.port}",
            ca=tls / "ca.pem",
            certificate=tls / f"{client}.pem",
            private_key=tls / f"{client}.key",
            timeout_s=timeout_s,
        )

    def _serves(self) -> bool:
        if not self.environment.notice.exists():
            return False
        facts = json.loads(self.environment.notice.read_text())
        self.port, self.admin_port = facts["port"], facts["admin_port"]
        return True

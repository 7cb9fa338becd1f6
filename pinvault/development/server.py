"""Starts the real server as a child process and waits until it serves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from pinvault.client import Vault, connect
from pinvault.development.environment import Environment

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


class ServerFailed(Exception):
    """The server ended before it served; its log says why."""


class RunningServer:
    """`pinvault serve` on an environment, for the length of a `with` block."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.log = environment.root / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.admin_port = 0

    def __enter__(self) -> Self:
        self.environment.notice.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pinvault", "serve", str(self.environment.config)],
                env={**os.environ, **self.environment.variables()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> int:
        """End the server in an orderly way; give its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait()

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

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.environment.notice.exists():
                facts = json.loads(self.environment.notice.read_text())
                self.port, self.admin_port = facts["port"], facts["admin_port"]
                return
            if self.process is None or self.process.poll() is not None:
                raise ServerFailed(f"the server did not start; its log: {_last(self.log)}")
            time.sleep(0.05)
        raise ServerFailed(f"the server does not serve; its log: {_last(self.log)}")


def _last(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-12:])

"""Several servers on one token and one store, and the load balancer of deploy/ in front of them."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Self

import pytest

from pinvault.client import Vault, connect
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.support.running import until

DEPLOY = Path(__file__).parents[2] / "deploy"
SHARED = ("token", "tls", "partners", "keyring.toml")
BELOW_THE_EPHEMERAL = range(20_000, 32_000)
LISTEN = re.compile(r'^listen = "127\.0\.0\.1:\d+"$', re.MULTILINE)
STORE = re.compile(r'(?<=^\[store\]\n)address = "[^"]*"$', re.MULTILINE)


def free_port() -> int:
    """A port that nobody has, and that no connection gets while its server is dead."""
    while True:
        port = random.choice(BELOW_THE_EPHEMERAL)
        with closing(socket.socket()) as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def at_fixed_ports(environment: Environment, *, store: str | None = None) -> Environment:
    """Give the server ports that it finds again, and the address of its store."""
    ports = iter((free_port(), free_port()))
    text = environment.config.read_text()
    text = LISTEN.sub(lambda _: f'listen = "127.0.0.1:{next(ports)}"', text)
    if store is not None:
        text, found = STORE.subn(lambda _: f'address = "{store}"', text)
        assert found == 1
    environment.config.write_text(text)
    return environment


def beside(first: Environment, *, store: str | None = None) -> Environment:
    """Another host: the same token, key ring and certificates; state and audit log of its own."""
    root = first.root.with_name(f"{first.root.name}-beside")
    root.mkdir()
    for name in SHARED:
        (root / name).symlink_to(first.root / name)
    shutil.copy(first.config, root)
    return at_fixed_ports(Environment(root), store=store)


def kill(server: RunningServer) -> None:
    """End a server and its workers as a power cut does."""
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    server.process = None


class LoadBalancer:
    """HAProxy by deploy/haproxy.cfg; only names and ports are those of the servers given."""

    def __init__(self, folder: Path, servers: Sequence[RunningServer]) -> None:
        self.port = free_port()
        self._tls = servers[0].environment.tls
        self._file = folder / "haproxy.cfg"
        self._file.write_text(self._configuration(servers))
        self._log = folder / "haproxy.log"

    def _configuration(self, servers: Sequence[RunningServer]) -> str:
        text = (DEPLOY / "haproxy.cfg").read_text()
        text = text.replace("bind :8443", f"bind 127.0.0.1:{self.port}")
        for number, server in enumerate(servers, start=1):
            told = f"pinvault-{number}:8443 check port 9443"
            assert text.count(told) == 1
            ours = f"127.0.0.1:{server.port} check port {server.admin_port}"
            text = text.replace(told, ours)
        return text

    def __enter__(self) -> Self:
        program = shutil.which("haproxy")
        if program is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)("haproxy is not installed")
        with self._log.open("ab") as log:
            command = [program, "-db", "-f", str(self._file)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._listens)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def connect(
        self, client: str = "card-app", *, timeout_s: float = 5.0, channels: int = 4
    ) -> Vault:
        """Connect a client to whatever servers the load balancer gives it."""
        return connect(
            f"localhost:{self.port}",
            ca=self._tls / "ca.pem",
            certificate=self._tls / f"{client}.pem",
            private_key=self._tls / f"{client}.key",
            timeout_s=timeout_s,
            channels=channels,
        )

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except ConnectionRefusedError:
            return False
        return True


class Gaps:
    """When calls were answered; the longest time in which none was."""

    def __init__(self) -> None:
        self._answered = [time.monotonic()]

    def note(self) -> None:
        self._answered.append(time.monotonic())

    @property
    def count(self) -> int:
        return len(self._answered) - 1

    def longest_s(self) -> float:
        times = sorted(self._answered)
        return max((b - a for a, b in pairwise(times)), default=0.0)

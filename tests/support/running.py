"""What tests ask of a running server besides calls: records, admin port, workers, callers."""

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Self

import grpc

from pinvault.audit.record import Entry
from pinvault.audit.tail import newest
from pinvault.client import PinBlock, PinvaultError, ToPinBlock, Vault
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from tests.conftest import PAN
from tests.support import zone

MakeEnvironment = Callable[[Settings], Environment]
TARGET = ToPinBlock(key="zpk-switch", format="ISO_3", pan=PAN)


def channel(server: RunningServer, client: str | None = "card-app") -> grpc.Channel:
    tls = server.environment.tls
    pair = (
        ((tls / f"{client}.key").read_bytes(), (tls / f"{client}.pem").read_bytes())
        if client
        else (None, None)
    )
    credentials = grpc.ssl_channel_credentials((tls / "ca.pem").read_bytes(), *pair)
    return grpc.secure_channel(f"localhost:{server.port}", credentials)


def records(server: RunningServer, event: str) -> list[Entry]:
    found = newest(server.environment.root / "audit", count=100_000)
    return [tailed.entry for tailed in found if tailed.entry.event == event]


def admin(server: RunningServer, path: str) -> tuple[int, str]:
    try:
        url = f"http://127.0.0.1:{server.admin_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)


def workers_of(server: RunningServer) -> set[int]:
    assert server.process is not None
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return {int(pid) for pid in path.read_text().split()}


def block(server: RunningServer) -> PinBlock:
    key = server.environment.zone_key("zpk-terminal")
    ciphertext = zone.block("4831", pan=PAN, form="ISO_3", key=key)
    return PinBlock(key="zpk-terminal", format="ISO_3", ciphertext=ciphertext, pan=PAN)


def verify(environment: Environment) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pinvault", "audit", "verify", str(environment.config)],
        env={**os.environ, **environment.variables(), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Callers:
    """Eight callers who go on calling until they are stopped."""

    def __init__(self, server: RunningServer) -> None:
        self.answered = 0
        self.faults: list[PinvaultError] = []
        self._stop = threading.Event()
        self._counting = threading.Lock()
        self._threads = [
            threading.Thread(target=self._go_on, args=(server, block(server))) for _ in range(8)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self, server: RunningServer, source: PinBlock) -> None:
        with server.connect(timeout_s=2) as vault:
            while not self._stop.is_set():
                try:
                    vault.encrypt_pin(source, to=TARGET)
                    with self._counting:
                        self.answered += 1
                except PinvaultError as error:
                    self.faults.append(error)
                    self._stop.wait(0.05)


def encrypts(vault: Vault, source: PinBlock) -> bool:
    try:
        return vault.encrypt_pin(source, to=TARGET).pin_block is not None
    except PinvaultError:
        return False


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `./dev demo` on an environment in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "pinvault.development", "demo", *arguments],
        env={**os.environ, "PINVAULT_DEV_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

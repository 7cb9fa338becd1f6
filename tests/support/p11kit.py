"""A token in a process of its own, behind p11-kit, and a service that reaches it through nothing
else: what tests kill, stop and put another token behind.

Rules:
- A service gets only keys that p11-kit 0.24 can carry: none that derives or unwraps, none with two
  allowed mechanisms (docs/tokens.md).
- The server of p11-kit has a process for each client, so signals go to the whole group.
"""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import pytest

from hsm import keyring, provisioning, softhsm
from hsm.keyring import KeyEntry
from hsm.token import TokenLocation
from hsm.vocabulary import Algorithm
from pinvault.development.certificates import Authority, write_pair
from pinvault.development.environment import CLIENTS, TRUST_DOMAIN, Environment, check_value
from tests.integration.hsm.support import leave_library, spec
from tests.support.qualification import client_module

CALLER: Final = CLIENTS[0]
ZONE_KEYS: Final = {
    "terminal": ("TDES_3KEY", "D"),
    "switch": ("TDES_3KEY", "E"),
    "scheme": ("TDES_3KEY", "E"),
    "terminal-aes": ("AES_256", "D"),
    "switch-aes": ("AES_256", "E"),
}
_CONFIGURATION: Final = """\
role = "acquiring"
mode = "development"

[server]
listen = "127.0.0.1:0"
workers = {workers}
threads = 32
grace_s = 1.0

[server.tls]
certificate_file = "tls/server.pem"
private_key_file = "tls/server.key"
client_ca_file = "tls/ca.pem"

[admin]
listen = "127.0.0.1:0"

[hsm]
module = "{location.module}"
token_label = "{location.label}"
token_serial = "{location.serial}"
pin_file = "{location.pin_file}"
keyring_file = "keyring.toml"
hang_after_s = {hang_after_s}

[keys]
index = "index"
audit_signing = "audit-signing"

[audit]
directory = "audit"

[state]
directory = "state"
slots = 4096

[profiles.sealed-pin]
kind = "sealed-jwe"
key = "pin-seal"

[[grants]]
callers = ["{trust_domain}/{caller}"]
methods = ["PinBlockService.EncryptPin", "KeyService.ListKeys", "KeyService.GetPublicKey"]
keys = ["terminal", "switch", "scheme", "terminal-aes", "switch-aes", "pin-seal"]
formats = ["ISO_3", "ISO_4"]
profiles = ["sealed-pin"]
per_caller = "100000/s"
per_pan = "100000/s"
"""


def required_client() -> Path:
    """p11-kit's client module. Skips loudly, and fails under CI, where it is not installed."""
    found = client_module()
    if found is None:
        missing = "p11-kit and p11-kit-modules are not installed"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return found


class TokenProcess:
    """`p11-kit server` with a SoftHSM token in it, for the length of a `with` block."""

    def __init__(self, module: Path, socket: Path, environment: Mapping[str, str]) -> None:
        self._module, self._socket = module, socket
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._socket.unlink(missing_ok=True)
        command = ["p11-kit", "server", "--foreground", "--name", str(self._socket)]
        self._process = subprocess.Popen(
            [*command, "--provider", str(self._module), "pkcs11:"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not self._socket.exists():
            assert self._process.poll() is None, "the server of p11-kit did not start"
            time.sleep(0.005)

    def kill(self) -> None:
        """End it at once, with whatever it is doing."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """From now on it answers nothing, and closes nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again, from where it stopped."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)


@dataclass(frozen=True, slots=True)
class Remote(Environment):
    """The environment of a service whose token is behind a socket."""

    @property
    def socket(self) -> Path:
        """Where the token's process listens."""
        return self.root / "token.socket"

    @property
    def tokens(self) -> Path:
        """SoftHSM's files, and those of the token that is to take its place."""
        return self.root / "token" / "tokens"

    @property
    def swapped_tokens(self) -> Path:
        """The same token but for the keys `switch` and `scheme`, which hold each other's value."""
        return self.root / "token" / "swapped"

    def variables(self) -> dict[str, str]:
        """What a process needs in its environment to reach the token."""
        return {"P11_KIT_SERVER_ADDRESS": f"unix:path={self.socket}"}

    def token_process(self) -> TokenProcess:
        """The process that holds the token. It is not started yet."""
        module = softhsm.find_module(os.environ)
        return TokenProcess(module, self.socket, Environment(self.root).variables())


def make_remote(root: Path, *, client: Path, workers: int, hang_after_s: float) -> Remote:
    """A service whose token is behind p11-kit, under `root`."""
    remote = Remote(root)
    for folder in (remote.tls, remote.partners):
        folder.mkdir(mode=0o700, parents=True)
    label, module = "remote", softhsm.find_module(os.environ)
    made = softhsm.prepare(root / "token", module=module, label=label, environ=os.environ)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        leave_library(module)
        entries = (*_own_keys(made.location), *_zone_keys(remote, made.location))
        leave_library(module)
    (root / "keyring.toml").write_text(keyring.dump(keyring.Keyring(keys=entries)))
    authority = Authority.make("the CA of a remote token")
    (remote.tls / "ca.pem").write_bytes(authority.pem())
    write_pair(remote.tls, "server", authority.issue_server("a service with a remote token"))
    pair = authority.issue_client(CALLER, spiffe=f"{TRUST_DOMAIN}/{CALLER}")
    write_pair(remote.tls, CALLER, pair)
    remote.config.write_text(
        _CONFIGURATION.format(
            workers=workers,
            location=replace(made.location, module=client),
            hang_after_s=hang_after_s,
            trust_domain=TRUST_DOMAIN,
            caller=CALLER,
        )
    )
    return remote


def _own_keys(at: TokenLocation) -> Iterator[KeyEntry]:
    yield provisioning.generate(at, spec("index", "M7", "HMAC_SHA256", "G"))
    yield provisioning.generate(at, spec("audit-signing", "S0", "EC_P256", "S"))
    yield provisioning.generate(at, spec("pin-seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP"))


def _zone_keys(remote: Remote, at: TokenLocation) -> list[KeyEntry]:
    """Zone keys of known values, twice: in the token, and swapped in a copy of it."""
    values = {
        name: secrets.token_bytes(Algorithm(algorithm).bits // 8)
        for name, (algorithm, _) in ZONE_KEYS.items()
    }
    for name, value in values.items():
        (remote.partners / f"{name}.hex").write_text(value.hex())
    first = remote.tokens.with_name("first")
    shutil.copytree(remote.tokens, first)
    _load(at, {**values, "switch": values["scheme"], "scheme": values["switch"]})
    leave_library(at.module)
    remote.tokens.rename(remote.swapped_tokens)
    first.rename(remote.tokens)
    return _load(at, values)


def _load(at: TokenLocation, values: Mapping[str, bytes]) -> list[KeyEntry]:
    return [
        provisioning.import_secret(
            at,
            spec(name, "P0", algorithm, mode),
            values[name],
            check_value=check_value(values[name], Algorithm(algorithm)),
        )
        for name, (algorithm, mode) in ZONE_KEYS.items()
    ]

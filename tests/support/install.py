"""A new installation: an empty token, certificates, a configuration, and not one key."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsm import keyring, softhsm
from hsm.keyring import KeyEntry
from pinvault.development.certificates import Authority, write_pair
from pinvault.server.hardening import with_allocator

CALLER = "spiffe://pinvault.test/card-app"
CONFIGURATION = """\
mode = "{mode}"
role = "issuing"

[server]
listen = "127.0.0.1:0"
workers = 1

[server.tls]
certificate_file = "server.pem"
private_key_file = "server.key"
client_ca_file = "ca.pem"

[server.deadline]
ceiling_s = 10.0

[admin]
listen = "127.0.0.1:0"

[hsm]
module = "{module}"
token_label = "{label}"
token_serial = "{serial}"
pin_file = "{pin_file}"
keyring_file = "keyring.toml"

[keys]
index = "index"
audit_signing = "audit-signing"

[audit]
directory = "audit"

[state]
directory = "state"
slots = 4096

[key_blocks]
clear_keys = true
storage_key = "key-storage"

[profiles.sealed-pin]
kind = "sealed-jwe"
key = "pin-seal"

[[grants]]
callers = ["{caller}"]
methods = ["PinBlockService.EncryptPin"]
keys = ["zpk-switch"]
formats = ["ISO_0"]
profiles = ["sealed-pin"]
per_caller = "100/s"
per_pan = "100/h"

[[grants]]
callers = ["{caller}"]
methods = ["KeyService.ListKeys", "KeyService.GetKey", "KeyService.GetPublicKey"]
keys = ["pin-seal", "zpk-switch"]
"""


# Every command reads the same standard input, from its beginning.
_SEVERAL = """\
import contextlib, io, json, sys
from pinvault.cli import main
given, all_told = sys.stdin.buffer.read(), []
for words in json.loads(sys.argv[1]):
    sys.argv = ["pinvault", *words]
    sys.stdin = io.TextIOWrapper(io.BytesIO(given))
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    all_told.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(all_told))
"""


@dataclass(frozen=True)
class Told:
    """What a command told, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Install:
    """The folder of an installation, and how its commands are run."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "pinvault.toml"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            softhsm.CONFIGURATION_VARIABLE: str(self.root / "token" / "softhsm2.conf"),
            "COLUMNS": "160",
        }

    def variables(self) -> dict[str, str]:
        """As a development environment gives them to its server."""
        return {softhsm.CONFIGURATION_VARIABLE: self.environment()["SOFTHSM2_CONF"]}

    @property
    def notice(self) -> Path:
        return self.root / "state" / "serving.json"

    @property
    def tls(self) -> Path:
        return self.root

    def run(
        self, *arguments: str, stdin: bytes | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run `pinvault` as a program does: no terminal, and nothing on standard input."""
        done = subprocess.run(
            [sys.executable, "-m", "pinvault", *arguments],
            env=self.environment(),
            input=stdin or b"",
            capture_output=True,
            timeout=60,
            start_new_session=True,
            check=False,
        )
        texts = (done.stdout.decode(), done.stderr.decode())
        assert done.returncode == code, (arguments, *texts)
        return subprocess.CompletedProcess(arguments, code, *texts)

    def key(
        self, verb: str, *arguments: str, stdin: bytes | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        return self.run("key", verb, str(self.config), *arguments, stdin=stdin, code=code)

    def spoken(self, *commands: Sequence[str], stdin: bytes = b"") -> list[Told]:
        """Run several commands in one process, which is quicker; give what each of them told."""
        done = subprocess.run(
            [sys.executable, "-c", _SEVERAL, json.dumps(commands)],
            env=with_allocator(self.environment()),
            input=stdin,
            capture_output=True,
            timeout=60,
            start_new_session=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return [Told(*told) for told in json.loads(done.stdout)]

    def keys(self, *commands: Sequence[str], stdin: bytes = b"") -> list[Told]:
        """Run several `pinvault key` commands in one process."""
        config = str(self.config)
        spoken = (["key", verb, config, *rest] for verb, *rest in commands)
        return self.spoken(*spoken, stdin=stdin)

    def good(self, *commands: Sequence[str]) -> None:
        """Run several `pinvault key` commands, none of which is refused."""
        for told in self.keys(*commands):
            assert told.code == 0, told

    def ring(self) -> dict[str, KeyEntry]:
        """The key ring as it stands in its file."""
        return {entry.id: entry for entry in keyring.load(self.root / "keyring.toml").keys}

    def records(self, method: str) -> list[dict[str, Any]]:
        """The records of what operators did."""
        lines = (self.root / "audit" / "worker-9999.audit.jsonl").read_text().splitlines()
        return [it for it in map(json.loads, lines) if it.get("method") == method]


OWN_KEYS = (("generate", "index"), ("generate", "audit-signing"))


def install(root: Path, *, mode: str = "development") -> Install:
    """Make what an operator has before the first key: token, certificates, configuration."""
    root.mkdir(parents=True)
    token = softhsm.prepare(
        root / "token",
        module=softhsm.find_module(os.environ, root=_unpacked()),
        label="pinvault-install",
        environ=os.environ,
    )
    authority = Authority.make("an installation's CA")
    (root / "ca.pem").write_bytes(authority.pem())
    write_pair(root, "server", authority.issue_server("an installation's server"))
    write_pair(root, "card-app", authority.issue_client("card-app", spiffe=CALLER))
    at = token.location
    text = CONFIGURATION.format(
        mode=mode,
        module=at.module,
        label=at.label,
        serial=at.serial,
        pin_file=at.pin_file,
        caller=CALLER,
    )
    (root / "pinvault.toml").write_text(text)
    return Install(root)


def _unpacked() -> Path | None:
    folder = os.environ.get("PINVAULT_DEV_DIR")
    return Path(folder) / "debian" if folder else None


@dataclass
class Session:
    """A command at a terminal of its own, as people see it."""

    process: subprocess.Popen[bytes]
    terminal: int
    screen: bytearray = field(default_factory=bytearray)
    _read: int = 0

    def wait_for(self, text: str, *, timeout_s: float = 30.0) -> str:
        """Wait until the screen shows a text, after those waited for; give what came with it."""
        end = time.monotonic() + timeout_s
        while True:
            at = self.screen.find(text.encode(), self._read)
            if at >= 0:
                came = self.screen[self._read : at + len(text)]
                self._read = at + len(text)
                return came.decode()
            assert time.monotonic() < end, (text, self.screen.decode())
            assert self._look(0.2), (text, self.screen.decode())

    def answer(self, prompt: str, text: str) -> None:
        """Wait for a prompt, and type."""
        self.wait_for(prompt)
        self.type(text)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode() + b"\n")

    def press(self, key: bytes) -> None:
        os.write(self.terminal, key)

    def end(self, *, timeout_s: float = 30.0) -> int:
        """Read to the end; give the exit code."""
        end = time.monotonic() + timeout_s
        while self._look(0.2):
            assert time.monotonic() < end, self.screen.decode()
        return self.process.wait(timeout_s)

    @property
    def shown(self) -> str:
        return self.screen.decode(errors="replace").replace("\r\n", "\n")

    def found(self, pattern: str) -> str:
        match = re.search(pattern, self.shown)
        assert match is not None, self.shown
        return match[1]

    def _look(self, timeout_s: float) -> bool:
        """Read what is there; False when the other end is closed."""
        if not select.select([self.terminal], [], [], timeout_s)[0]:
            return True
        try:
            came = os.read(self.terminal, 65_536)
        except OSError:
            return False
        self.screen += came
        return bool(came)


@contextmanager
def at_a_terminal(install: Install, *arguments: str) -> Iterator[Session]:
    """Run `pinvault` at a pseudo-terminal that is its controlling terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _UNDER_TERMINAL, *arguments],
        env=install.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        cwd=Path.cwd(),
    )
    os.close(theirs)
    try:
        yield Session(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


# The new session takes its standard input for its controlling terminal, as a login does.
_UNDER_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "pinvault", *sys.argv[1:]])
"""

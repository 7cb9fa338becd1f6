"""Qualification reports of SoftHSM, reached directly and through p11-kit, for docs/tokens.md.

`python -m tests.support.qualification`, in the environment of `./dev test`, writes them anew.

Rules:
- The command is the user's own; only the width of the table is set.
- What is stable in a report are its verdicts and its conclusion; times and answers are told as they
  were that day.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final

from hsm import provisioning, softhsm
from hsm.provisioning import KeySpec
from hsm.token import TokenLocation
from hsm.vocabulary import Algorithm, Mode, Usage

PAGE: Final = Path(__file__).parents[2] / "docs" / "tokens.md"
WIDTH: Final = "150"
DIRECT, PROXIED = "softhsm", "p11-kit"
KEY: Final = KeySpec(
    name="kept",
    version=1,
    usage=Usage.P0,
    algorithm=Algorithm.AES_128,
    mode=Mode.B,
    valid_from=date(2026, 1, 1),
)
"""A key that the token holds, to be found again."""
_CLIENTS: Final = (
    "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
    "/usr/lib64/pkcs11/p11-kit-client.so",
)
_VERDICT: Final = re.compile(r"^ (ok|limited|not usable) +(\S.*?)(?:  |$)", re.MULTILINE)


def client_module() -> Path | None:
    """p11-kit's client module, if it and the server are installed."""
    named = os.environ.get("PINVAULT_P11_KIT_CLIENT", "")
    found = [Path(path) for path in (named, *_CLIENTS) if path and Path(path).is_file()]
    return found[0] if found and shutil.which("p11-kit") else None


@contextmanager
def served(module: Path, folder: Path) -> Iterator[dict[str, str]]:
    """`module` in a process of its own; what its clients need in their environment."""
    socket = folder / "p11-kit.socket"
    command = ["p11-kit", "server", "--foreground", "--name", str(socket)]
    command += ["--provider", str(module), "pkcs11:"]
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=nowhere, stderr=nowhere) as server:
        try:
            while not socket.exists() and server.poll() is None:
                time.sleep(0.01)
            yield {"P11_KIT_SERVER_ADDRESS": f"unix:path={socket}"}
        finally:
            server.terminate()


def report(location: TokenLocation, *more: str, **environment: str) -> tuple[str, int]:
    """What the doctor says of a token, and its exit code."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hsm", "doctor", "--qualify"),
            *("--module", str(location.module), "--label", location.label),
            *("--serial", location.serial, "--pin-file", str(location.pin_file), *more),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "COLUMNS": WIDTH, **environment},
    )
    assert not done.stderr, done.stderr
    return "\n".join(
        line.rstrip() for line in done.stdout.strip("\n").splitlines()
    ), done.returncode


def verdicts(text: str) -> list[tuple[str, ...]]:
    """The stable part of a report: verdict and need, row by row, and the conclusion."""
    return [*(match.groups() for match in _VERDICT.finditer(text)), (text.splitlines()[-1],)]


def documented(name: str) -> str:
    """The report that the page shows under a name."""
    return re.split(_block(name), PAGE.read_text())[2]


def _block(name: str) -> str:
    return rf"(<!-- report: {name} -->\n```text\n)(.*?)(\n```\n)".replace(".*?", "(?s:.*?)")


def _write(name: str, text: str) -> None:
    written = re.sub(_block(name), lambda m: f"{m[1]}{text}{m[3]}", PAGE.read_text())
    PAGE.write_text(written)


def main() -> None:
    """Write both reports into the page."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made = softhsm.prepare(
            folder / "token",
            module=softhsm.find_module(os.environ),
            label="qualified",
            environ=os.environ,
        )
        os.environ.update(made.environment)
        provisioning.generate(made.location, KEY)
        _write(DIRECT, report(made.location)[0])
        client = client_module()
        if client is None:
            raise SystemExit("p11-kit and p11-kit-modules are not installed")
        with served(made.location.module, folder) as environment:
            _write(PROXIED, report(replace(made.location, module=client), **environment)[0])


if __name__ == "__main__":
    main()

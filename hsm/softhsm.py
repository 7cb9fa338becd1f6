"""A SoftHSM token for development: found, configured and initialised under one directory.

SoftHSM keeps keys in files. It is no secure cryptographic device and never one in production.

Rules:
- Nothing outside the given root is written, and the system's own SoftHSM configuration is not read.
- SoftHSM reads SOFTHSM2_CONF at C_Initialize: put `environment` into the environment before the
  library is loaded.
- A record is written last. A root without it was interrupted and is made again from nothing; a root
  with it is used as it is.
- Both PINs of the token are drawn at random and live in files of mode 0600.
"""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hsm.errors import ModuleUnusable, ProvisioningError
from hsm.token import TokenLocation

MODULE_VARIABLE: Final = "PINVAULT_PKCS11_MODULE"
"""Environment variable that names the module, before any search."""
CONFIGURATION_VARIABLE: Final = "SOFTHSM2_CONF"
MODULE_NAME: Final = "libsofthsm2.so"

_DIRECTORIES: Final = (
    "/usr/lib/softhsm",
    "/usr/lib/x86_64-linux-gnu/softhsm",
    "/usr/lib/aarch64-linux-gnu/softhsm",
    "/usr/lib64/pkcs11",
    "/usr/lib64",
    "/usr/local/lib/softhsm",
    "/opt/homebrew/lib/softhsm",
)
_UTILITY: Final = "softhsm2-util"
_UTILITY_TIMEOUT: Final = 30.0
_RECORD: Final = "token.json"
_CONFIGURATION: Final = """\
directories.tokendir = {tokens}
objectstore.backend = file
log.level = ERROR
slots.removable = false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentToken:
    """A token ready for use: where it is, and the configuration file that SoftHSM must see."""

    location: TokenLocation
    configuration: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """What to put into the environment of a process that uses the token."""
        return {CONFIGURATION_VARIABLE: str(self.configuration)}


def find_module(environ: Mapping[str, str], *, root: Path | None = None) -> Path:
    """SoftHSM's library: as the environment names it, under `root`, or where systems put it.

    ModuleUnusable with the way to install it when it is nowhere.
    """
    named = environ.get(MODULE_VARIABLE)
    for candidate in _candidates(root) if named is None else (Path(named),):
        if candidate.is_file():
            return candidate
    raise ModuleUnusable(
        "SoftHSM is not installed",
        remedy="apt-get install softhsm2 (Debian), dnf install softhsm (Fedora), brew install"
        f" softhsm (macOS), or set {MODULE_VARIABLE} to the path of {MODULE_NAME}",
    )


def prepare(
    root: Path, *, module: Path, label: str, environ: Mapping[str, str], fresh: bool = False
) -> DevelopmentToken:
    """The token under `root`, made if it is not there, or if `fresh` asks for a new one.

    `label` has at most 32 characters. ProvisioningError when SoftHSM's utility is missing or fails.
    """
    root = root.resolve()
    if fresh or not (root / _RECORD).is_file():
        _make(root, module=module, label=label, environ=environ)
    serial = json.loads((root / _RECORD).read_text(encoding="utf-8")).get(label)
    if serial is None:
        raise ProvisioningError("the directory holds another token", root=str(root), label=label)
    return DevelopmentToken(
        location=TokenLocation(
            module=module, label=label, serial=serial, pin_file=root / "user.pin"
        ),
        configuration=root / "softhsm2.conf",
    )


def _candidates(root: Path | None) -> Iterator[Path]:
    if root is not None and root.is_dir():
        yield from sorted(root.rglob(MODULE_NAME))
    for directory in _DIRECTORIES:
        yield Path(directory) / MODULE_NAME


def _make(root: Path, *, module: Path, label: str, environ: Mapping[str, str]) -> None:
    """Make the token from nothing; the record comes last."""
    utility = _find_utility(module, environ)
    tokens = root / "tokens"
    (root / _RECORD).unlink(missing_ok=True)
    shutil.rmtree(tokens, ignore_errors=True)
    tokens.mkdir(parents=True, mode=0o700)
    root.chmod(0o700)
    configuration = root / "softhsm2.conf"
    configuration.write_text(_CONFIGURATION.format(tokens=tokens), encoding="utf-8")
    pins = {role: _write_pin(root / f"{role}.pin") for role in ("so", "user")}
    _initialise(
        utility,
        module=module,
        label=label,
        pins=pins,
        environ={**environ, CONFIGURATION_VARIABLE: str(configuration)},
    )
    record = root / f"{_RECORD}.new"
    record.write_text(json.dumps({label: _serial(tokens)}), encoding="utf-8")
    record.replace(root / _RECORD)


def _initialise(
    utility: Path,
    *,
    module: Path,
    label: str,
    pins: Mapping[str, str],
    environ: Mapping[str, str],
) -> None:
    """C_InitToken and C_InitPIN by SoftHSM's own utility. It takes PINs only as arguments."""
    command = [str(utility), "--init-token", "--free", "--label", label]
    command += ["--module", str(module), "--so-pin", pins["so"], "--pin", pins["user"]]
    failed = False
    try:
        subprocess.run(
            command, env=environ, check=True, capture_output=True, timeout=_UTILITY_TIMEOUT
        )
    except (OSError, subprocess.SubprocessError):
        failed = True
    if failed:  # outside the handler, so that no error carries the command and its PINs
        raise ProvisioningError(
            "SoftHSM's utility did not initialise the token", utility=str(utility), label=label
        )


def _find_utility(module: Path, environ: Mapping[str, str]) -> Path:
    """softhsm2-util: in the same installation as the module, or on the path."""
    for parent in module.resolve().parents:
        candidate = parent.parent / "bin" / _UTILITY
        if parent.name in ("lib", "lib64") and candidate.is_file():
            return candidate
    found = shutil.which(_UTILITY, path=environ.get("PATH"))
    if found is None:
        raise ProvisioningError(
            "SoftHSM's utility is missing",
            utility=_UTILITY,
            remedy="apt-get install softhsm2 (Debian) or put it on the PATH",
        )
    return Path(found)


def _write_pin(path: Path) -> str:
    """A new random PIN, in a file that only its owner may read."""
    pin = secrets.token_hex(16)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(pin + "\n")
    return pin


def _serial(tokens: Path) -> str:
    """The serial number of the only token in the directory.

    SoftHSM names the token's directory by a UUID whose last 16 hex digits are the serial number.
    """
    (directory,) = tokens.iterdir()
    return directory.name.replace("-", "")[-16:]
